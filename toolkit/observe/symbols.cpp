// SPDX-License-Identifier: Apache-2.0
#include <skerry/toolkit/observe/symbols.hpp>

#include <algorithm>
#include <iterator>
#include <span>

#include <boost/core/demangle.hpp>
#include <boost/interprocess/file_mapping.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <dlfcn.h>
#include <fmt/core.h>
#include <link.h>

namespace skerry::observe {

std::string readable_name(std::string_view mangled) {
  // "_Z1fi.resume" (clang) and "_Z1fP…Frame.actor" (g++): what follows the last dot is the part of the coroutine.
  std::string name(mangled);
  for (const std::string_view part : {".actor", ".destroy", ".resume", ".cleanup", ".cold"}) {
    name.resize(std::min(name.find(part), name.size()));
  }
  name = boost::core::demangle(name.c_str());
  // g++ gives a coroutine's resume function a parameter whose type is named after the coroutine:
  // "f(f(int)::_Z1fi.Frame*)". What is wanted stands before the "::_Z".
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

symbol_table::symbol_table() {
  namespace ipc = boost::interprocess;
  std::shared_ptr<ipc::mapped_region> mapped;
  try {
    mapped = std::make_shared<ipc::mapped_region>(ipc::file_mapping("/proc/self/exe", ipc::read_only), ipc::read_only);
  } catch (const ipc::interprocess_exception&) {
    return;  // the file cannot be read: no names
  }
  file_ = mapped;
  const char* file = static_cast<const char*>(mapped->get_address());
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(file);
  const std::span sections(reinterpret_cast<const ElfW(Shdr)*>(file + header.e_shoff), header.e_shnum);
  const auto table = std::ranges::find(sections, SHT_SYMTAB, &ElfW(Shdr)::sh_type);
  if (table == sections.end()) return;
  const char* names = file + sections[table->sh_link].sh_offset;
  const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(file + table->sh_offset);
  for (const ElfW(Sym) & s : std::span(symbols, table->sh_size / sizeof *symbols)) {
    if (ELF64_ST_TYPE(s.st_info) == STT_FUNC) functions_.push_back({s.st_value, s.st_size, names + s.st_name});
  }
  std::ranges::sort(functions_, {}, &function::begin);
}

std::string symbol_table::name_of(const void* code) const {
  Dl_info info;
  link_map* object = nullptr;
  if (dladdr1(code, &info, reinterpret_cast<void**>(&object), RTLD_DL_LINKMAP) == 0) return fmt::format("{}", code);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(code) - object->l_addr;
  const auto after = std::ranges::upper_bound(functions_, offset, {}, &function::begin);
  if (*object->l_name == '\0' && after != functions_.begin()) {  // the program itself has no name there
    const function& f = *std::prev(after);
    if (offset - f.begin < f.size) return readable_name(f.mangled);
  }
  if (info.dli_sname != nullptr) return readable_name(info.dli_sname);
  return fmt::format("{}+{:#x}", info.dli_fname, offset);
}

}  // namespace skerry::observe
