// SPDX-License-Identifier: Apache-2.0
/// Sleeping in nanoseconds, and the clocks.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/time/clocks.hpp>
#include <skerry/toolkit/time/precise_sleep.hpp>

#include <chrono>
#include <string>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::nanoseconds;
using test_support::let_others_run;
using test_support::manual_clock;
using test_support::quiet_options;
using test_support::run_shards;

task<> write_at(std::string& out, clock::time_point when, char name) {
  co_await precise_sleep_until(when);
  EXPECT_GE(clock::now(), when);
  out += name;
}

TEST(precise_sleep, sleepers_resume_by_deadline_and_those_of_one_deadline_in_the_order_they_began) {
  manual_clock time;
  const auto main = [&time]() -> task<> {
    std::string out;
    const clock::time_point now = clock::read();
    auto d = spawn(write_at(out, now + microseconds(900), 'd'));
    auto b = spawn(write_at(out, now + microseconds(700), 'b'));
    auto c = spawn(write_at(out, now + microseconds(700), 'c'));
    auto a = spawn(write_at(out, now + microseconds(300), 'a'));
    co_await let_others_run();
    EXPECT_EQ(out, "");
    time.pass(microseconds(900));
    co_await d;
    EXPECT_EQ(out, "abcd");
    co_await a;
    co_await b;
    co_await c;
  };
  run_shards(quiet_options(1), main, time);
}

TEST(precise_sleep, lasts_at_least_as_long_as_it_should) {
  block_on([]() -> task<> {
    for (const nanoseconds time : {nanoseconds(-1), nanoseconds(0), nanoseconds(1), nanoseconds(50'000)}) {
      const clock::time_point before = clock::read();
      co_await precise_sleep_for(time);
      EXPECT_GE(clock::now() - before, time);
    }
  });
}

TEST(precise_sleep, a_cancelled_sleeper_ends_at_once_and_leaves_no_timer) {
  block_on([]() -> task<> {
    const std::size_t frames = this_shard().loop->frames().in_use();
    {
      auto sleep = []() -> task<> { co_await precise_sleep_for(hours(1)); };
      auto handle = spawn(sleep());
      co_await yield();
      EXPECT_FALSE(timers::these_precise_timers().empty());
      handle.abort();
      EXPECT_TRUE(timers::these_precise_timers().empty());
      while (!handle.is_finished()) co_await yield();
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), frames);
  });
}

TEST(precise_sleep, a_sleeper_that_has_expired_and_is_cancelled_in_the_same_turn_completes) {
  block_on([]() -> task<> {
    bool went_on = false;
    auto sleep = [&went_on]() -> task<> {
      co_await precise_sleep_until(clock::now());
      went_on = true;
    };
    auto handle = spawn(sleep());
    co_await yield();  // it sleeps
    resource<timers::precise_timer_service>().poll();
    handle.abort();
    co_await handle;
    EXPECT_TRUE(went_on);
  });
}

static_assert(std::chrono::is_clock_v<coarse_clock> && std::chrono::is_clock_v<fine_clock>);

TEST(clocks, the_coarse_one_stands_still_within_a_step_until_the_fine_one_is_read) {
  block_on([]() -> task<> {
    const auto coarse = coarse_clock::now();
    while (kernel_clock().monotonic() == coarse.time_since_epoch()) {
    }
    EXPECT_EQ(coarse_clock::now(), coarse);
    const auto fine = fine_clock::now();
    EXPECT_GT(fine, coarse);
    EXPECT_EQ(coarse_clock::now(), fine);
    co_return;
  });
}

}  // namespace
}  // namespace skerry
