// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/cpu_list.hpp>
#include <skerry/shards/detail/option.hpp>

#include <algorithm>
#include <bitset>
#include <charconv>

#include <fmt/core.h>

namespace skerry {

namespace {

using cpu_set = std::bitset<cpu_id_max + 1>;

/// Adds what a part such as "8" or "10-12:2" names.
void add_part(cpu_set& named, std::string_view part) {
  auto refuse = [part](const char* why) {
    throw startup_error(
        fmt::format("\"{}\" {}; a list of CPUs looks like 0-3,8,10-12:2", detail::printable(part), why));
  };
  const char* at = part.data();
  const char* end = at + part.size();
  auto number = [&] {
    unsigned value = 0;
    auto [next, error] = std::from_chars(at, end, value);
    if (next == at) refuse("is no CPU number or range");
    if (error != std::errc{} || value > cpu_id_max) refuse("is beyond the largest CPU number, 8191");
    at = next;
    return value;
  };
  auto skip = [&](char c) { return at != end && *at == c && ++at; };
  unsigned first = number(), last = first, stride = 1;
  if (skip('-')) {
    last = number();
    if (skip(':')) stride = number();
  }
  if (at != end) refuse("is no CPU number or range");
  if (last < first) refuse("runs backwards");
  if (stride == 0) refuse("has a stride of 0");
  for (unsigned cpu = first; cpu <= last; cpu += stride) named.set(cpu);
}

}  // namespace

cpu_list parse_cpu_list(std::string_view text) {
  cpu_set named;
  for (std::size_t begin = 0, end; begin <= text.size(); begin = end + 1) {
    end = std::min(text.find(',', begin), text.size());
    std::string_view part = text.substr(begin, end - begin);
    part.remove_prefix(std::min(part.find_first_not_of(" \t"), part.size()));
    add_part(named, part.substr(0, part.find_last_not_of(" \t") + 1));
  }
  cpu_list out;
  for (unsigned cpu = 0; cpu <= cpu_id_max; ++cpu) {
    if (named[cpu]) out.push_back(cpu);
  }
  SKERRY_ASSERT(!out.empty(), "a list that was accepted names a CPU");
  return out;
}

std::string format_cpu_list(const cpu_list& cpus) {
  SKERRY_ASSERT(std::ranges::is_sorted(cpus), "a cpu_list is ascending");
  std::string out;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!out.empty()) out += ',';
    out += fmt::format("{}", cpus[i]);
    if (last > i) out += fmt::format("-{}", cpus[last]);
    i = last + 1;
  }
  return out;
}

startup_error cpus_unavailable(const cpu_list& wanted, const cpu_list& allowed) {
  std::string list = format_cpu_list(allowed);
  return startup_error(
      fmt::format("CPU {} is not available: allowed are {}; use --cpuset {}", format_cpu_list(wanted), list, list));
}

}  // namespace skerry
