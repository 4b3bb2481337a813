// SPDX-License-Identifier: Apache-2.0
#pragma once

/// symbol_table: names of functions, for a person who reads where a task stands.
///
/// The dynamic linker knows exported names only, and a coroutine's resume function is local, so this program's own are
/// read from the symbol table of its file, once, when the table is made. A stripped program gives addresses.
///
///     0x55…a3f0 -> "serve(skerry::net::stream)"
///
/// Affinity: any. Made where it is needed and dropped after: reading the file takes a few milliseconds.
/// Errors:   none; what cannot be read has no name.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::observe {

class symbol_table {
 public:
  symbol_table();
  /// The function that `code` lies in; for a coroutine its own name, whatever the compiler made of it. An address with
  /// the file it is in when there is no name.
  std::string name_of(const void* code) const;

 private:
  struct function {
    std::uintptr_t begin;
    std::uintptr_t size;
    const char* mangled;
  };
  std::shared_ptr<void> file_;       // mapped; the names lie in it
  std::vector<function> functions_;  // by address
};

/// "serve(stream)" of what a compiler makes of a coroutine's mangled name.
std::string readable_name(std::string_view mangled);

}  // namespace skerry::observe
