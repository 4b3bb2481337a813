// SPDX-License-Identifier: Apache-2.0
/// What crosses between shards, counted, and the assertion that holds a piece of work to so many messages.
#include <skerry/framework/task/combine.hpp>
#include <skerry/shards/sharded.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/flow/hops.hpp>

#include <cstdint>
#include <string>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using test_support::run_shards;

constexpr auto nothing = [] {};
/// From the shard where it runs to each of the following ones in turn.
constexpr auto walk = [](shard_id to) -> task<> {
  for (; to < shard_count(); ++to) co_await submit_to(to, nothing);
};

TEST(hops, are_the_messages_that_work_takes) {
  run_shards(3, []() -> task<> {
    SKERRY_EXPECT_HOPS_LE(0, co_await submit_to(0, nothing));
    SKERRY_EXPECT_HOPS_LE(1, co_await submit_to(2, nothing));
    SKERRY_EXPECT_HOPS_LE(2, co_await submit_to(1, walk, shard_id{2}));
    SKERRY_EXPECT_HOPS_LE(2, co_await walk(1));
    SKERRY_EXPECT_HOPS_LE(4, co_await when_all(walk(1), walk(1)));
  });
}

TEST(hops, of_a_shard_other_than_the_first_are_counted_alike) {
  run_shards(3, []() -> task<> {
    const auto measure = []() -> task<> {
      SKERRY_EXPECT_HOPS_LE(0, co_await submit_to(1, nothing));
      SKERRY_EXPECT_HOPS_LE(2, co_await when_all(submit_to(0, nothing), submit_to(2, nothing)));
    };
    co_await submit_to(1, measure);
  });
}

TEST(hops, beyond_the_expected_number_are_told_by_pair) {
  run_shards(3, []() -> task<> {
    testing::TestPartResultArray failures;
    {
      const testing::ScopedFakeTestPartResultReporter catches(
          testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &failures);
      SKERRY_EXPECT_HOPS_LE(2, co_await submit_to(1, walk, shard_id{0}));
    }
    EXPECT_EQ(failures.size(), 1);
    if (failures.size() != 1) co_return;
    const std::string text = failures.GetTestPartResult(0).message();
    EXPECT_NE(text.find("submit_to(1, walk"), text.npos) << text;
    EXPECT_NE(text.find("  1 from shard 0 to shard 1\n  1 from shard 1 to shard 0\n  1 from shard 1 to shard 2\n"),
              text.npos)
        << text;
  });
}

TEST(hops, are_data_for_every_ordered_pair) {
  run_shards(2, []() -> task<> {
    const hop_matrix before = co_await hops();
    for (int i = 0; i < 100; ++i) co_await submit_to(1, nothing);
    const hop_matrix after = co_await hops();
    EXPECT_EQ(after.size(), 2u);
    EXPECT_EQ(after[0].size(), 2u);
    EXPECT_EQ(after[1][0].requests - before[1][0].requests, 101u);
    EXPECT_EQ(after[0][1].requests, before[0][1].requests);
    EXPECT_GE(after[1][0].batches, before[1][0].batches + 100);
    EXPECT_GE(after[1][0].queue_wait, before[1][0].queue_wait);
  });
}

/// The handler's own time, however long its caller or the queue takes besides.
TEST(hops, tell_how_long_a_handler_took) {
  run_shards(2, []() -> task<> {
    const hop_matrix before = co_await hops();
    for (int i = 0; i < 10; ++i) co_await submit_to(1, nothing);
    const hop_matrix between = co_await hops();
    co_await submit_to(1, []() -> task<> { co_await sleep_for(std::chrono::milliseconds(3)); });
    const hop_matrix after = co_await hops();
    auto answered = [](const hop_matrix& then, const hop_matrix& now, std::size_t digits) {
      std::uint64_t sum = 0;
      for (; digits < now[1][0].services.size(); ++digits)
        sum += now[1][0].services[digits] - then[1][0].services[digits];
      return sum;
    };
    EXPECT_EQ(answered(before, between, 0), 11u) << "with the first question";
    EXPECT_EQ(answered(between, after, 0), 2u) << "with the second";
    EXPECT_EQ(answered(between, after, 22), 1u) << "2 ms have 21 digits in nanoseconds, 3 ms 22";
    EXPECT_GE(after[1][0].service_time - between[1][0].service_time, std::chrono::milliseconds(3));
    EXPECT_EQ(after[0][1].service_time, before[0][1].service_time);
  });
}

TEST(hops, of_a_fan_out_to_a_sharded_service_are_one_for_each_other_shard) {
  run_shards(4, []() -> task<> {
    sharded<std::uint64_t> counters;
    co_await counters.start();
    SKERRY_EXPECT_HOPS_LE(3, co_await counters.invoke_on_all([](std::uint64_t& c) { ++c; }));
    co_await counters.stop();
  });
}

}  // namespace
}  // namespace skerry
