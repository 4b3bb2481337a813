// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/exposition.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <string_view>
#include <variant>
#include <vector>

#include <fmt/format.h>

namespace skerry::net::admin {

namespace {

using observe::histogram;
using observe::sample;

/// Counts by power of two: [k] has the values below 2^k that are not below 2^(k-1).
struct merged {
  std::array<std::uint64_t, 65> counts{};
  std::uint64_t count = 0;
  std::uint64_t sum = 0;

  void add(const histogram& more) {
    count += more.count();
    sum += more.sum();
    for (std::size_t bucket = 0; bucket < histogram::bucket_count; ++bucket) {
      const auto power = static_cast<std::size_t>(std::bit_width(histogram::lowest_in(bucket)));
      counts[power] += more.count_in(bucket);
    }
  }
};

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '\\' || (quotes && c == '"')) out += '\\';
      out += c;
    }
  }
  return out;
}

/// `{a="b",c="d"}`, or nothing when there are none.
std::string labels_text(const std::vector<observe::label>& labels, std::string_view more) {
  std::string out;
  for (const observe::label& each : labels) {
    fmt::format_to(std::back_inserter(out), "{}{}=\"{}\"", out.empty() ? "" : ",", each.name,
                   escaped(each.value, true));
  }
  if (!more.empty()) out.append(out.empty() ? "" : ",").append(more);
  return out.empty() ? out : "{" + out + "}";
}

std::string in_unit(observe::unit unit, std::uint64_t value) {
  if (unit != observe::unit::nanoseconds) return std::to_string(value);
  return fmt::format("{}.{:09}", value / 1'000'000'000, value % 1'000'000'000);
}
std::string in_unit(observe::unit unit, std::int64_t value) {
  const std::string size = in_unit(unit, static_cast<std::uint64_t>(value < 0 ? -value : value));
  return value < 0 ? "-" + size : size;
}

void write_histogram(std::string& out, const observe::metric_info& info, const merged& all) {
  const auto used = [](std::uint64_t n) { return n != 0; };
  const auto first = static_cast<std::size_t>(std::ranges::find_if(all.counts, used) - all.counts.begin());
  std::size_t last = all.counts.size();
  while (last > first && all.counts[last - 1] == 0) --last;
  std::uint64_t below = 0;
  for (std::size_t power = 0; power < std::min<std::size_t>(last + 1, 64); ++power) {
    below += all.counts[power];
    if (power < first || power % 2 != 0) continue;
    const std::uint64_t highest = (std::uint64_t{1} << power) - 1;
    fmt::format_to(std::back_inserter(out), "{}_bucket{} {}\n", info.name,
                   labels_text(info.labels, fmt::format("le=\"{}\"", in_unit(info.unit, highest))), below);
  }
  fmt::format_to(std::back_inserter(out), "{}_bucket{} {}\n", info.name, labels_text(info.labels, "le=\"+Inf\""),
                 all.count);
  fmt::format_to(std::back_inserter(out), "{}_sum{} {}\n", info.name, labels_text(info.labels, ""),
                 in_unit(info.unit, all.sum));
  fmt::format_to(std::back_inserter(out), "{}_count{} {}\n", info.name, labels_text(info.labels, ""), all.count);
}

}  // namespace

std::string prometheus_text(std::span<const observe::snapshot> shards) {
  // Metrics of one name stand together, in the order in which the names were first seen.
  struct family {
    std::vector<std::pair<std::size_t, const sample*>> samples;
  };
  std::vector<std::string_view> order;
  std::map<std::string_view, family> families;
  for (std::size_t shard = 0; shard < shards.size(); ++shard) {
    for (const sample& each : shards[shard]) {
      auto [place, added] = families.try_emplace(each.info.name);
      if (added) order.push_back(each.info.name);
      place->second.samples.emplace_back(shard, &each);
    }
  }
  std::string out;
  constexpr std::array<std::string_view, 3> kinds{"counter", "gauge", "histogram"};
  for (const std::string_view name : order) {
    const auto& samples = families[name].samples;
    const observe::metric_info& shared = samples.front().second->info;
    fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, escaped(shared.help, false), name,
                   kinds[samples.front().second->value.index()]);
    std::vector<std::pair<const observe::metric_info*, merged>> histograms;
    for (const auto& [shard, each] : samples) {
      const std::string of_shard = fmt::format("shard=\"{}\"", shard);
      if (const auto* counter = std::get_if<0>(&each->value)) {
        fmt::format_to(std::back_inserter(out), "{}{} {}\n", name, labels_text(each->info.labels, of_shard),
                       in_unit(shared.unit, *counter));
      } else if (const auto* gauge = std::get_if<1>(&each->value)) {
        fmt::format_to(std::back_inserter(out), "{}{} {}\n", name, labels_text(each->info.labels, of_shard),
                       in_unit(shared.unit, *gauge));
      } else {
        auto same =
            std::ranges::find_if(histograms, [&](const auto& h) { return h.first->labels == each->info.labels; });
        if (same == histograms.end()) same = histograms.emplace(same, &each->info, merged());
        same->second.add(**std::get_if<2>(&each->value));
      }
    }
    for (const auto& [info, all] : histograms) write_histogram(out, *info, all);
  }
  return out;
}

}  // namespace skerry::net::admin
