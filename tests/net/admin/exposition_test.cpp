// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/exposition.hpp>

#include <chrono>
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

TEST(exposition, openmetrics_names_families_without_total_tells_units_and_ends) {
  std::uint64_t busy = 1'500'000'001;
  std::int64_t held = 5;
  histogram sizes;
  sizes.record(3);
  registry shard;
  auto first = shard.add(busy, {.name = "busy_seconds_total", .help = "A \"word\".", .unit = unit::nanoseconds});
  auto second = shard.add(held, {.name = "held_bytes", .help = "Held.", .unit = unit::bytes});
  auto third = shard.add(sizes, {.name = "sizes", .help = "Sizes."});
  std::vector<snapshot> all;
  all.push_back(shard.take_snapshot());
  EXPECT_EQ(openmetrics_text(all, {}),
            "# HELP busy_seconds A \\\"word\\\".\n# TYPE busy_seconds counter\n# UNIT busy_seconds seconds\n"
            "busy_seconds_total{shard=\"0\"} 1.500000001\n"
            "# HELP held_bytes Held.\n# TYPE held_bytes gauge\n# UNIT held_bytes bytes\nheld_bytes{shard=\"0\"} 5\n"
            "# HELP sizes Sizes.\n# TYPE sizes histogram\n"
            "sizes_bucket{le=\"3.0\"} 1\nsizes_bucket{le=\"+Inf\"} 1\nsizes_sum 3\nsizes_count 1\n# EOF\n");
}

TEST(exposition, a_bucket_has_the_latest_exemplar_of_its_own_histogram_and_range) {
  histogram one, other;
  one.record(10);
  one.record(100);
  other.record(10);
  registry shard;
  auto first = shard.add(one, {.name = "t_seconds", .help = "T.", .unit = unit::nanoseconds, .labels = {{"k", "a"}}});
  auto second =
      shard.add(other, {.name = "t_seconds", .help = "T.", .unit = unit::nanoseconds, .labels = {{"k", "b"}}});
  std::vector<snapshot> all;
  all.push_back(shard.take_snapshot());
  using namespace std::chrono_literals;
  const std::vector<exemplar> named{
      {.metric = "t_seconds", .labels = {{"k", "a"}}, .is = {"trace_id", "old"}, .value = 10, .at = 1s},
      {.metric = "t_seconds", .labels = {{"k", "a"}}, .is = {"trace_id", "new"}, .value = 9, .at = 2500ms},
      {.metric = "t_seconds", .labels = {{"k", "a"}}, .is = {"trace_id", "long"}, .value = 100, .at = 1s},
      {.metric = "other_seconds", .labels = {{"k", "a"}}, .is = {"trace_id", "wrong"}, .value = 10, .at = 9s}};
  const std::string text = openmetrics_text(all, named);
  EXPECT_NE(text.find("t_seconds_bucket{k=\"a\",le=\"0.000000015\"} 1 # {trace_id=\"new\"} 0.000000009 2.500\n"),
            text.npos)
      << text;
  EXPECT_NE(text.find("t_seconds_bucket{k=\"a\",le=\"+Inf\"} 2\n"), text.npos) << text;
  EXPECT_NE(text.find("le=\"0.000000255\"} 2 # {trace_id=\"long\"} 0.000000100 1.000\n"), text.npos) << text;
  EXPECT_NE(text.find("t_seconds_bucket{k=\"b\",le=\"0.000000015\"} 1\n"), text.npos) << text;
  EXPECT_EQ(text.find("wrong"), text.npos) << text;
  EXPECT_EQ(prometheus_text(all).find("trace_id"), std::string::npos);
}

TEST(exposition, openmetrics_is_for_those_who_name_it_and_like_nothing_plainer_better) {
  for (const char* yes :
       {"application/openmetrics-text", "Application/OpenMetrics-Text; version=1.0.0; q=0.5, text/plain;q=0.3",
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "text/plain;q=0.75, application/openmetrics-text;q=0.75"}) {
    EXPECT_TRUE(prefers_openmetrics(yes)) << yes;
  }
  for (const char* no : {"", "*/*", "text/plain", "application/*", "application/openmetrics-text;q=0",
                         "application/openmetrics-text;q=x", "text/plain, application/openmetrics-text;q=0.999",
                         "application/openmetrics-text;version=0.0.1", "application/openmetrics-text;version=2.0.0",
                         ",;,", "application/openmetrics-text;q=1.5.2"}) {
    EXPECT_FALSE(prefers_openmetrics(no)) << no;
  }
}

TEST(exposition, histograms_are_json_with_the_buckets_that_have_something) {
  histogram one, two;
  one.record(3);
  two.record(3);
  two.record(17);
  registry a, b;
  const observe::metric_info info{
      .name = "t_seconds", .help = "A \"T\".", .unit = unit::nanoseconds, .labels = {{"k", "v"}}};
  auto first = a.add(one, info);
  auto second = b.add(two, info);
  std::vector<snapshot> all;
  all.push_back(a.take_snapshot());
  all.push_back(b.take_snapshot());
  EXPECT_EQ(histograms_as_json(all),
            R"([{"name":"t_seconds","help":"A \"T\".","unit":"nanoseconds","labels":{"k":"v"},"count":3,"sum":23,)"
            R"("buckets":[[3,2],[16,1]]}])"
            "\n");
}

}  // namespace
}  // namespace skerry::net::admin
