// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/metrics.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace skerry::observe;

std::vector<std::string> names_in(const registry& metrics) {
  std::vector<std::string> names;
  for (const sample& each : metrics.take_snapshot()) names.push_back(each.info.name);
  return names;
}

TEST(metrics, a_snapshot_follows_the_order_of_registration) {
  registry metrics;
  std::uint64_t b = 0;
  std::int64_t a = 0;
  histogram c;
  auto rb = metrics.add(b, {.name = "skerry_b_total", .help = "B."});
  auto ra = metrics.add(a, {.name = "skerry_a", .help = "A."});
  auto rc = metrics.add(c, {.name = "skerry_c_seconds", .help = "C.", .unit = unit::nanoseconds});
  EXPECT_EQ(names_in(metrics), (std::vector<std::string>{"skerry_b_total", "skerry_a", "skerry_c_seconds"}));
  ra.reset();
  EXPECT_FALSE(ra);
  EXPECT_EQ(names_in(metrics), (std::vector<std::string>{"skerry_b_total", "skerry_c_seconds"}));
  ra = metrics.add(a, {.name = "skerry_a", .help = "A."});
  EXPECT_EQ(names_in(metrics).back(), "skerry_a");
}

TEST(metrics, dropping_a_registration_takes_out_its_metric_and_no_other) {
  registry metrics;
  std::uint64_t one = 0, two = 0;
  auto kept = metrics.add(one, {.name = "one_total", .help = "One."});
  {
    auto dropped = metrics.add(two, {.name = "two_total", .help = "Two."});
    EXPECT_EQ(names_in(metrics).size(), 2u);
  }
  EXPECT_EQ(names_in(metrics), std::vector<std::string>{"one_total"});
}

TEST(metrics, a_moved_registration_takes_out_its_metric_once) {
  registry metrics;
  std::uint64_t one = 0, two = 0;
  registration outer;
  {
    auto inner = metrics.add(one, {.name = "one_total", .help = "One."});
    outer = std::move(inner);
  }
  EXPECT_EQ(names_in(metrics).size(), 1u);
  registration third(std::move(outer));
  EXPECT_EQ(names_in(metrics).size(), 1u);
  third = metrics.add(two, {.name = "two_total", .help = "Two."});
  EXPECT_EQ(names_in(metrics), std::vector<std::string>{"two_total"});
}

TEST(metrics, a_snapshot_is_data_that_later_counting_does_not_change) {
  registry metrics;
  std::uint64_t events = 0;
  std::int64_t level = 0;
  histogram sizes;
  auto r1 = metrics.add(events, {.name = "events_total", .help = "Events.", .labels = {{"kind", "x"}}});
  auto r2 = metrics.add(level, {.name = "level", .help = "Level."});
  auto r3 = metrics.add(sizes, {.name = "sizes_bytes", .help = "Sizes.", .unit = unit::bytes});
  events += 3;
  ++events;
  level = 5;
  level -= 9;
  ++level;
  for (std::uint64_t v : {3u, 3u, 1000u}) sizes.record(v);

  const snapshot taken = metrics.take_snapshot();
  ++events;
  level = 0;
  sizes.record(1);

  ASSERT_EQ(taken.size(), 3u);
  EXPECT_EQ(taken[0].info.labels, (std::vector<label>{{"kind", "x"}}));
  EXPECT_EQ(std::get<std::uint64_t>(taken[0].value), 4u);
  EXPECT_EQ(std::get<std::int64_t>(taken[1].value), -3);
  const histogram& data = *std::get<2>(taken[2].value);
  EXPECT_EQ(taken[2].info.unit, unit::bytes);
  EXPECT_EQ(data.count(), 3u);
  EXPECT_EQ(data.sum(), 1006u);
  EXPECT_EQ(data.min(), 3u);
  EXPECT_EQ(data.max(), 1000u);
  EXPECT_EQ(data.count_in(histogram::bucket_of(3)), 2u);
  EXPECT_EQ(data.count_in(histogram::bucket_of(1000)), 1u);
}

TEST(metrics, metrics_of_one_name_differ_by_label) {
  registry metrics;
  std::uint64_t a = 0, b = 0;
  auto r1 = metrics.add(a, {.name = "events_total", .help = "Events.", .labels = {{"kind", "a"}}});
  auto r2 = metrics.add(b, {.name = "events_total", .help = "Events.", .labels = {{"kind", "b"}}});
  EXPECT_EQ(names_in(metrics).size(), 2u);
}

TEST(metrics_death, a_name_that_breaks_the_rules_is_a_bug) {
  registry metrics;
  std::uint64_t c = 0;
  std::int64_t g = 0;
  EXPECT_DEATH((void)metrics.add(c, {.name = "events", .help = "x"}), "ends in _total");
  EXPECT_DEATH((void)metrics.add(g, {.name = "level_total", .help = "x"}), "ends in _total");
  EXPECT_DEATH((void)metrics.add(g, {.name = "", .help = "x"}), "lower case");
  EXPECT_DEATH((void)metrics.add(g, {.name = "1level", .help = "x"}), "lower case");
  EXPECT_DEATH((void)metrics.add(g, {.name = "skerry-level", .help = "x"}), "lower case");
  EXPECT_DEATH((void)metrics.add(g, {.name = "Level", .help = "x"}), "lower case");
  EXPECT_DEATH((void)metrics.add(g, {.name = "level", .help = "x", .unit = unit::bytes}), "_bytes");
  EXPECT_DEATH((void)metrics.add(c, {.name = "wait_total", .help = "x", .unit = unit::nanoseconds}), "_seconds");
  EXPECT_DEATH((void)metrics.add(g, {.name = "wait_seconds", .help = "x"}), "_seconds");
  EXPECT_DEATH((void)metrics.add(g, {.name = "level"}), "sentence of help");
}

TEST(metrics_death, labels_that_break_the_rules_are_bugs) {
  registry metrics;
  std::int64_t g = 0;
  EXPECT_DEATH((void)metrics.add(g, {.name = "g", .help = "x", .labels = {{"le", "1"}}}), "exporter");
  EXPECT_DEATH((void)metrics.add(g, {.name = "g", .help = "x", .labels = {{"shard", "1"}}}), "exporter");
  EXPECT_DEATH((void)metrics.add(g, {.name = "g", .help = "x", .labels = {{"__a", "1"}}}), "Prometheus");
  EXPECT_DEATH((void)metrics.add(g, {.name = "g", .help = "x", .labels = {{"a", "1"}, {"a", "2"}}}), "once");
}

TEST(metrics_death, two_metrics_of_one_name_and_labels_are_a_bug) {
  registry metrics;
  std::int64_t a = 0, b = 0;
  histogram h;
  auto r = metrics.add(a, {.name = "g", .help = "x"});
  EXPECT_DEATH((void)metrics.add(b, {.name = "g", .help = "x"}), "already");
  EXPECT_DEATH((void)metrics.add(b, {.name = "g", .help = "other", .labels = {{"a", "1"}}}), "share their help");
  EXPECT_DEATH((void)metrics.add(h, {.name = "g", .help = "x", .labels = {{"a", "1"}}}), "one kind");
}

TEST(metrics_death, a_registration_that_outlives_its_registry_is_a_bug) {
  EXPECT_DEATH(
      {
        std::uint64_t c = 0;
        registration outlives;
        registry metrics;
        outlives = metrics.add(c, {.name = "c_total", .help = "x"});
      },
      "registrations end before");
}

}  // namespace
