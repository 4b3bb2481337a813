// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/symbols.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>

namespace skerry::observe {

namespace {

/// Where the program's own file was loaded.
std::uintptr_t load_address() {
  std::uintptr_t base = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        *static_cast<std::uintptr_t*>(out) = info->dlpi_addr;
        return 1;  // the first one is the program
      },
      &base);
  return base;
}

template <class T>
bool read_at(std::ifstream& file, std::uint64_t offset, T* into, std::size_t count) {
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(into), static_cast<std::streamsize>(count * sizeof(T)));
  return static_cast<bool>(file);
}

/// g++ gives a coroutine's resume function a parameter whose type is named after the coroutine:
/// "f(f(int)::_Z1fi.Frame*)". What is wanted stands before the "::_Z".
std::string coroutine_name(const std::string& name) {
  const std::size_t frame = name.rfind("::_Z");
  if (frame == std::string::npos || name.find(".Frame*", frame) == std::string::npos) return name;
  std::size_t begin = frame;
  for (int depth = 0; begin > 0; --begin) {
    const char c = name[begin - 1];
    if (c == '(' && depth-- == 0) break;
    if (c == ')') ++depth;
  }
  return name.substr(begin, frame - begin);
}

}  // namespace

std::string readable_name(std::string_view mangled) {
  // "_Z1fi.resume" (clang) and "_Z1fP…Frame.actor" (g++): what follows the last dot is the part of the coroutine.
  std::string plain(mangled);
  for (const std::string_view part : {".actor", ".destroy", ".resume", ".cleanup", ".cold"}) {
    if (const std::size_t at = plain.find(part); at != std::string::npos) plain.resize(at);
  }
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(plain.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? coroutine_name(demangled.get()) : plain;
}

symbol_table::symbol_table() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  ElfW(Ehdr) header;
  if (!read_at(file, 0, &header, 1) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return;
  std::vector<ElfW(Shdr)> sections(header.e_shnum);
  if (!read_at(file, header.e_shoff, sections.data(), sections.size())) return;
  const auto symbols = std::ranges::find(sections, SHT_SYMTAB, &ElfW(Shdr)::sh_type);
  if (symbols == sections.end() || symbols->sh_link >= sections.size()) return;
  const auto& strings = sections[symbols->sh_link];
  std::vector<ElfW(Sym)> all(symbols->sh_size / sizeof(ElfW(Sym)));
  names_.resize(strings.sh_size);
  if (!read_at(file, symbols->sh_offset, all.data(), all.size())) return;
  if (!read_at(file, strings.sh_offset, names_.data(), names_.size())) return;
  const std::uintptr_t base = load_address();
  for (const ElfW(Sym) & s : all) {
    if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || s.st_size == 0 || s.st_name >= names_.size()) continue;
    functions_.push_back({base + s.st_value, s.st_size, s.st_name});
  }
  std::ranges::sort(functions_, {}, &function::begin);
}

std::string symbol_table::name_of(const void* code) const {
  const auto address = reinterpret_cast<std::uintptr_t>(code);
  const auto after = std::ranges::upper_bound(functions_, address, {}, &function::begin);
  if (after != functions_.begin()) {
    const function& f = *std::prev(after);
    if (address - f.begin < f.size) return readable_name(names_.c_str() + f.name);
  }
  Dl_info info;
  if (dladdr(code, &info) == 0) return fmt::format("{}", code);
  if (info.dli_sname != nullptr) return readable_name(info.dli_sname);
  const std::uintptr_t offset = address - reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  return fmt::format("{}+{:#x}", info.dli_fname, offset);
}

}  // namespace skerry::observe
