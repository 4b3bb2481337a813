// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/configuration_error.hpp>
#include <skerry/shards/cpu_list.hpp>
#include <skerry/shards/detail/option_text.hpp>

#include <algorithm>
#include <charconv>

#include <fmt/core.h>

namespace skerry {

namespace {

[[noreturn]] void refuse(std::string_view part, const char* why) {
  throw configuration_error(
      fmt::format("\"{}\" {}; a list of CPUs looks like 0-3,8,10-12:2", detail::printable(part), why));
}

unsigned parse_number(std::string_view text, std::string_view part) {
  unsigned value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || end != text.data() + text.size()) refuse(part, "is no CPU number or range");
  if (error != std::errc{} || value > cpu_id_max) refuse(part, "is beyond the largest CPU number, 8191");
  return value;
}

void append_part(cpu_list& out, std::string_view part) {
  std::string_view range = part;
  unsigned stride = 1;
  auto dash = range.find('-');
  if (auto colon = range.find(':'); colon != range.npos) {
    if (dash == range.npos || dash > colon) refuse(part, "has a stride but no range");
    stride = parse_number(range.substr(colon + 1), part);
    if (stride == 0) refuse(part, "has a stride of 0");
    range = range.substr(0, colon);
  }
  unsigned first = parse_number(range.substr(0, dash), part);
  unsigned last = dash == range.npos ? first : parse_number(range.substr(dash + 1), part);
  if (last < first) refuse(part, "runs backwards");
  for (unsigned cpu = first; cpu <= last; cpu += stride) out.push_back(cpu);
}

}  // namespace

cpu_list parse_cpu_list(std::string_view text) {
  cpu_list out;
  for (std::size_t begin = 0; begin <= text.size();) {
    std::size_t end = std::min(text.find(',', begin), text.size());
    append_part(out, detail::trimmed(text.substr(begin, end - begin)));
    // Kept short at each step: a long text of overlapping ranges never holds more than two full sets.
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    begin = end + 1;
  }
  SKERRY_ASSERT(!out.empty(), "a list that was accepted names a CPU");
  SKERRY_ASSERT(out.back() <= cpu_id_max, "each number was checked against the largest one");
  return out;
}

std::string format_cpu_list(const cpu_list& cpus) {
  SKERRY_ASSERT(std::is_sorted(cpus.begin(), cpus.end()), "a cpu_list is ascending");
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

}  // namespace skerry
