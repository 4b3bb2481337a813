// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/process_memory.hpp>

#include <algorithm>
#include <cstddef>
#include <span>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names, where there is such a section.
extern "C" {
[[gnu::weak, gnu::visibility("hidden")]] extern char __start_skerry_process[];
[[gnu::weak, gnu::visibility("hidden")]] extern char __stop_skerry_process[];
}

namespace skerry::sim::detail {

namespace {
std::span<char> section() noexcept {
  char *const begin = __start_skerry_process, *const end = __stop_skerry_process;
  if (begin == nullptr) return {};
  return {begin, static_cast<std::size_t>(end - begin)};
}
}  // namespace
// NOLINTEND(bugprone-reserved-identifier)

process_memory::process_memory() : bytes_(section().begin(), section().end()) {}

void process_memory::save() noexcept { std::ranges::copy(section(), bytes_.begin()); }

void process_memory::load() const noexcept { std::ranges::copy(bytes_, section().begin()); }

}  // namespace skerry::sim::detail
