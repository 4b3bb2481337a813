// SPDX-License-Identifier: Apache-2.0
/// How long tasks of a group wait for the CPU.

#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/observe/group_meter.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::let_others_run;
using test_support::manual_clock;
using test_support::quiet_options;
using test_support::run_shards;

/// A step that takes as long as the clock says.
task<> work(manual_clock& time, std::chrono::milliseconds how_long) {
  time.pass(how_long);
  co_return;
}

TEST(group_meter, measures_what_a_task_waits_behind_those_of_its_group_and_of_others) {
  manual_clock time;
  const auto main = [&time]() -> task<> {
    const scheduling_group batch = this_shard().ready->add_group("batch", 100);
    auto& meter = resources().emplace<group_meter>(1h);
    EXPECT_EQ(meter.waits_of(batch), nullptr);
    std::array<join_handle<>, 3> before;
    for (auto& each : before) each = spawn(work(time, 10ms), "work", batch);
    meter.probe();
    meter.probe();  // one under way is enough
    for (auto& each : before) co_await each;
    co_await let_others_run();
    EXPECT_EQ(meter.waits_of(batch)->count(), 1u);
    EXPECT_GE(meter.waits_of(batch)->max(), 30'000'000u);
    EXPECT_EQ(meter.waits_of(scheduling_group::main)->count(), 1u);
    EXPECT_LE(meter.waits_of(scheduling_group::main)->max(), meter.waits_of(batch)->max());
    meter.probe();
    while (meter.waits_of(batch)->count() < 2) {
      time.pass(10ms);  // charged to this group, so that it is the other's turn
      co_await yield();
    }
  };
  run_shards(quiet_options(1), main, time);
}

TEST(group_meter, sends_probes_by_itself_on_every_shard_and_shows_the_histogram) {
  run_shards(2, []() -> task<> {
    co_await meter_groups(1ms);
    co_await meter_groups(1ms);
    for (shard_id s = 0; s < shard_count(); ++s) {
      const auto until_some = []() -> task<std::size_t> {
        auto& meter = resource<group_meter>();
        const auto* waits = meter.waits_of(scheduling_group::main);
        while (waits == nullptr || waits->count() < 5) {
          co_await sleep_for(1ms);
          waits = meter.waits_of(scheduling_group::main);
        }
        const observe::snapshot all = this_shard().metrics->take_snapshot();
        co_return static_cast<std::size_t>(
            std::ranges::count(all, "skerry_group_wait_seconds", [](const auto& each) { return each.info.name; }));
      };
      EXPECT_EQ(co_await submit_to(s, until_some), 1u);
    }
  });
}

}  // namespace
}  // namespace skerry
