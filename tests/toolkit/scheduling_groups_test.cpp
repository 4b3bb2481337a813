// SPDX-License-Identifier: Apache-2.0
/// Who gets how much of the CPU, and when, in time that only the test lets pass.

#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/scheduling_groups.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using test_support::let_others_run;
using test_support::manual_clock;
using test_support::quiet_options;
using test_support::run_shards;
using test_support::was_cancelled;

constexpr auto step = 10us;

/// What a test's tasks used, in the order of their steps.
struct usage {
  std::array<nanoseconds, run_queue::groups_max> of{};
  std::vector<scheduling_group> steps;
  nanoseconds& operator[](scheduling_group g) { return of[static_cast<std::size_t>(g)]; }
};

/// One step of `step`, charged to the group that it runs in.
void use(manual_clock& time, usage& used) {
  time.pass(step);
  used[current_scheduling_group()] += step;
  used.steps.push_back(current_scheduling_group());
}

/// Busy until `end`.
task<> saturate(manual_clock& time, usage& used, clock::time_point end) {
  while (clock::now() < end) {
    use(time, used);
    co_await yield();
  }
}

void on_one_shard(const std::function<task<>(manual_clock&)>& main) {
  manual_clock time;
  run_shards(quiet_options(1), [&]() -> task<> { co_await main(time); }, time);
}

double ratio(nanoseconds a, nanoseconds b) { return static_cast<double>(a.count()) / static_cast<double>(b.count()); }

TEST(scheduling_groups, ten_times_the_shares_are_ten_times_the_cpu_within_5_percent) {
  on_one_shard([](manual_clock& time) -> task<> {
    const auto much = co_await create_scheduling_group("much", 1000);
    const auto little = co_await create_scheduling_group("little", 100);
    usage used;
    const auto end = clock::now() + 1s;
    std::vector<join_handle<>> all;
    all.push_back(spawn(saturate(time, used, end), "little", little));
    for (int i = 0; i < 3; ++i) all.push_back(spawn(saturate(time, used, end), "much", much));
    all.push_back(spawn(saturate(time, used, end), "little", little));
    for (auto& each : all) co_await each;
    EXPECT_NEAR(ratio(used[much], used[little]), 10, 0.5);
    EXPECT_NEAR(ratio(this_shard().ready->cpu_time(much), used[much]), 1, 0.01);
  });
}

TEST(scheduling_groups, one_that_was_idle_wakes_within_a_task_budget_and_cannot_spend_what_it_did_not_use) {
  on_one_shard([](manual_clock& time) -> task<> {
    const auto batch = co_await create_scheduling_group("batch", 1000);
    const auto other = co_await create_scheduling_group("other", 1000);
    usage used;
    const auto end = clock::now() + 5s;
    std::array all = {spawn(saturate(time, used, end), "batch", batch), spawn(saturate(time, used, end), "b", batch)};
    while (used[batch] < 1s) {  // main gets its share meanwhile, other nothing
      time.pass(1us);
      co_await yield();
    }
    const auto woken = clock::now();
    auto first = spawn(
        [&](clock::time_point ready_since) -> task<> {
          EXPECT_LE(clock::now() - ready_since, 500us);
          co_return;
        }(woken),
        "other", other);
    co_await first;
    const nanoseconds before = used[batch];
    auto late = spawn(saturate(time, used, woken + 200ms), "other", other);
    co_await late;
    EXPECT_NEAR(ratio(used[other], used[batch] - before), 1, 0.05);
    for (auto& each : all) co_await each;
  });
}

TEST(scheduling_groups, one_that_comes_back_when_nobody_is_busy_has_nothing_saved_either) {
  on_one_shard([](manual_clock& time) -> task<> {
    const auto batch = co_await create_scheduling_group("batch", 1000);
    usage used;
    co_await saturate(time, used, clock::now() + 1s);  // main alone, while batch has never run
    const auto end = clock::now() + 200ms;
    auto busy = spawn(saturate(time, used, end), "batch", batch);
    used = {};
    co_await saturate(time, used, end);
    co_await busy;
    EXPECT_NEAR(ratio(used[batch], used[scheduling_group::main]), 1, 0.05);
  });
}

TEST(scheduling_groups, the_latency_class_goes_first_as_soon_as_the_step_that_runs_has_ended) {
  on_one_shard([](manual_clock& time) -> task<> {
    const auto replies = co_await create_scheduling_group("replies", 100, 500us);
    const auto batch = co_await create_scheduling_group("batch", 1000);
    usage used;
    auto_reset_event wanted;
    auto answers = spawn(
        [&]() -> task<> {
          for (int i = 0; i < 20; ++i) {
            co_await wanted.wait();
            use(time, used);
          }
        },
        "replies", replies);
    // Tasks that are ready all the time; one more wakes the other group in the middle of its slice.
    const auto end = clock::now() + 100ms;
    std::vector<join_handle<>> all;
    for (int i = 0; i < 3; ++i) all.push_back(spawn(saturate(time, used, end), "batch", batch));
    all.push_back(spawn(
        [&]() -> task<> {
          for (int i = 0; i < 20; ++i) {
            co_await yield();
            wanted.set();
            const std::size_t then = used.steps.size();
            co_await yield();
            EXPECT_EQ(used.steps.at(then), replies);
          }
        },
        "batch", batch));
    for (auto& each : all) co_await each;
    co_await answers;
  });
}

TEST(scheduling_groups, the_latency_class_takes_its_share_and_its_bound_and_no_more) {
  on_one_shard([](manual_clock& time) -> task<> {
    const auto replies = co_await create_scheduling_group("replies", 100, 2ms);
    const auto batch = co_await create_scheduling_group("batch", 900);
    usage used;
    const auto begun = clock::now();
    const auto end = begun + 1s;
    auto busy = spawn(saturate(time, used, end), "batch", batch);
    co_await let_others_run();
    // Goes idle and wakes after each step: every time it would be first.
    auto_reset_event again;
    auto greedy = spawn(
        [&]() -> task<> {
          while (clock::now() < end) {
            use(time, used);
            co_await again.wait();
          }
        },
        "replies", replies);
    auto wakes = spawn(
        [&]() -> task<> {
          while (!greedy.is_finished()) {
            again.set();
            time.pass(1us);
            co_await yield();
          }
        },
        "batch", batch);
    co_await busy;
    co_await wakes;
    co_await greedy;
    EXPECT_LE(used[replies], (clock::now() - begun) / 10 + 2ms + 200us);
    EXPECT_GE(used[replies], (clock::now() - begun) / 20);
  });
}

TEST(scheduling_groups, are_the_same_on_every_shard_also_when_many_make_them_at_once) {
  run_shards(2, []() -> task<> {
    constexpr auto make_two = []() -> task<std::pair<scheduling_group, scheduling_group>> {
      const static_name names[] = {"a0", "b0", "a1", "b1"};
      const std::size_t mine = 2 * this_shard_id();
      const auto a = co_await create_scheduling_group(names[mine], 10);
      const auto b = co_await create_scheduling_group(names[mine + 1], 10, 1us);
      co_return std::pair(a, b);
    };
    auto there = spawn([make_two]() -> task<std::pair<scheduling_group, scheduling_group>> {
      co_return co_await submit_to(1, make_two);
    });
    const auto here = co_await make_two();
    const auto others = co_await there;
    for (const auto& [group, name] : {std::pair(here.first, "a0"), std::pair(here.second, "b0"),
                                      std::pair(others.first, "a1"), std::pair(others.second, "b1")}) {
      EXPECT_STREQ(this_shard().ready->name(group), name);
      const auto name_there = [](scheduling_group g) { return std::string(this_shard().ready->name(g)); };
      EXPECT_EQ(co_await submit_to(1, name_there, group), name);
    }
  });
}

template <class Error>
task<bool> refused(task<scheduling_group> making) {
  try {
    co_await std::move(making);
  } catch (const Error&) {
    co_return true;
  }
  co_return false;
}

TEST(scheduling_groups, that_make_no_sense_are_refused) {
  run_shards(1, []() -> task<> {
    EXPECT_TRUE(co_await refused<std::invalid_argument>(create_scheduling_group("none", 0)));
    EXPECT_TRUE(co_await refused<std::invalid_argument>(create_scheduling_group("", 1)));
    EXPECT_TRUE(co_await refused<std::invalid_argument>(create_scheduling_group("back", 1, -1us)));
    EXPECT_TRUE(co_await refused<std::invalid_argument>(create_scheduling_group("main", 1)));
    constexpr static_name names[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"};
    for (const static_name name : names) co_await create_scheduling_group(name, 1);
    EXPECT_TRUE(co_await refused<std::length_error>(create_scheduling_group("one more", 1)));
  });
}

TEST(scheduling_groups, one_whose_maker_is_cancelled_is_made_everywhere_or_nowhere) {
  run_shards(2, []() -> task<> {
    for (int turns = 0; turns < 12; ++turns) {
      static constexpr static_name names[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"};
      auto making = spawn(create_scheduling_group(names[turns], 1));
      for (int i = 0; i < turns; ++i) co_await yield();
      making.abort();
      co_await was_cancelled(making);
    }
    const auto last = co_await create_scheduling_group("last", 1);  // asserts that the numbers agree
    EXPECT_STREQ(this_shard().ready->name(last), "last");
  });
}

}  // namespace
}  // namespace skerry
