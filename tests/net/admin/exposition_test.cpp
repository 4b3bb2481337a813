// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/exposition.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace skerry::net::admin {
namespace {

using observe::histogram;
using observe::registry;
using observe::snapshot;
using observe::unit;

/// The snapshots of some registries, in order.
template <class... Registry>
std::string text_of(const Registry&... shards) {
  std::vector<snapshot> all;
  (all.push_back(shards.take_snapshot()), ...);
  return prometheus_text(all);
}

TEST(exposition, tells_counters_and_gauges_of_each_shard_under_one_head) {
  std::uint64_t sent[2] = {7, std::numeric_limits<std::uint64_t>::max()};
  std::int64_t level[2] = {-3, 4};
  registry a, b;
  auto first = a.add(sent[0], {.name = "sent_total", .help = "Messages sent."});
  auto second = a.add(level[0], {.name = "level", .help = "A level."});
  auto third = b.add(level[1], {.name = "level", .help = "A level."});
  auto fourth = b.add(sent[1], {.name = "sent_total", .help = "Messages sent."});
  EXPECT_EQ(text_of(a, b),
            "# HELP sent_total Messages sent.\n# TYPE sent_total counter\n"
            "sent_total{shard=\"0\"} 7\nsent_total{shard=\"1\"} 18446744073709551615\n"
            "# HELP level A level.\n# TYPE level gauge\nlevel{shard=\"0\"} -3\nlevel{shard=\"1\"} 4\n");
}

TEST(exposition, times_are_seconds_and_labels_are_escaped) {
  std::uint64_t busy = 1'500'000'001;
  registry shard;
  auto shown = shard.add(busy, {.name = "busy_seconds_total",
                                .help = "Back\\slash and\nline.",
                                .unit = unit::nanoseconds,
                                .labels = {{"path", "a\"b\\c\nd"}}});
  EXPECT_EQ(text_of(shard),
            "# HELP busy_seconds_total Back\\\\slash and\\nline.\n# TYPE busy_seconds_total counter\n"
            "busy_seconds_total{path=\"a\\\"b\\\\c\\nd\",shard=\"0\"} 1.500000001\n");
}

TEST(exposition, histograms_are_merged_over_the_shards_and_cumulative) {
  histogram one, two;
  one.record(3);
  one.record(15);
  two.record(16);
  two.record(1'000);
  registry a, b;
  auto first = a.add(one, {.name = "sizes", .help = "Sizes."});
  auto second = b.add(two, {.name = "sizes", .help = "Sizes."});
  EXPECT_EQ(text_of(a, b),
            "# HELP sizes Sizes.\n# TYPE sizes histogram\n"
            "sizes_bucket{le=\"3\"} 1\nsizes_bucket{le=\"15\"} 2\nsizes_bucket{le=\"63\"} 3\n"
            "sizes_bucket{le=\"255\"} 3\nsizes_bucket{le=\"1023\"} 4\nsizes_bucket{le=\"+Inf\"} 4\n"
            "sizes_sum 1034\nsizes_count 4\n");
}

TEST(exposition, histograms_that_differ_in_labels_stay_apart_and_extremes_are_told) {
  histogram none, most;
  most.record(0);
  most.record(std::numeric_limits<std::uint64_t>::max());
  registry shard;
  auto first = shard.add(none, {.name = "t_seconds", .help = "T.", .unit = unit::nanoseconds, .labels = {{"k", "a"}}});
  auto second = shard.add(most, {.name = "t_seconds", .help = "T.", .unit = unit::nanoseconds, .labels = {{"k", "b"}}});
  const std::string text = text_of(shard);
  EXPECT_NE(text.find("t_seconds_bucket{k=\"a\",le=\"+Inf\"} 0\nt_seconds_sum{k=\"a\"} 0.000000000\n"), text.npos)
      << text;
  EXPECT_NE(text.find("t_seconds_bucket{k=\"b\",le=\"0.000000000\"} 1\n"), text.npos) << text;
  EXPECT_NE(text.find("t_seconds_bucket{k=\"b\",le=\"+Inf\"} 2\n"), text.npos) << text;
  EXPECT_EQ(text.find("t_seconds", text.find("# TYPE t_seconds") + 20) == text.npos, false);
}

}  // namespace
}  // namespace skerry::net::admin
