// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/cpu_list.hpp>
#include <skerry/shards/detail/option.hpp>

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/core.h>

namespace skerry {

cpu_list parse_cpu_list(std::string_view text) {
  std::set<unsigned> named;
  const char* at = text.data();
  const char* end = at + text.size();
  auto refuse = [text](const char* why) {
    throw startup_error(
        fmt::format("\"{}\" {}; a list of CPUs looks like 0-3,8,10-12:2", detail::printable(text), why));
  };
  auto skip = [&](char c) { return at != end && *at == c && ++at; };
  auto number = [&] {
    unsigned value = 0;
    auto [next, error] = std::from_chars(at, end, value);
    if (next == at) refuse("is not made of CPU numbers and ranges");
    if (error != std::errc{} || value > cpu_id_max) refuse("goes beyond the largest CPU number, 8191");
    at = next;
    return value;
  };
  do {
    while (skip(' ')) continue;
    unsigned first = number(), last = first, stride = 1;
    if (skip('-')) {
      last = number();
      if (skip(':')) stride = number();
    }
    if (last < first) refuse("has a range that runs backwards");
    if (stride == 0) refuse("has a stride of 0");
    for (unsigned cpu = first; cpu <= last; cpu += stride) named.insert(cpu);
    while (skip(' ')) continue;
  } while (skip(','));
  if (at != end) refuse("is not made of CPU numbers and ranges");
  return {named.begin(), named.end()};
}

std::string format_cpu_list(const cpu_list& cpus) {
  SKERRY_ASSERT(std::ranges::is_sorted(cpus), "a cpu_list is ascending");
  std::string out;
  for (std::size_t first = 0, i = 0; i < cpus.size(); ++i) {
    if (i + 1 < cpus.size() && cpus[i + 1] == cpus[i] + 1) continue;  // the range goes on
    out += fmt::format("{}{}", out.empty() ? "" : ",", cpus[first]);
    if (i > first) out += fmt::format("-{}", cpus[i]);
    first = i + 1;
  }
  return out;
}

startup_error cpus_unavailable(const cpu_list& wanted, const cpu_list& allowed) {
  std::string list = format_cpu_list(allowed);
  return startup_error(
      fmt::format("CPU {} is not available: allowed are {}; use --cpuset {}", format_cpu_list(wanted), list, list));
}

}  // namespace skerry
