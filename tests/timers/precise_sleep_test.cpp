// SPDX-License-Identifier: Apache-2.0
/// Sleeping in nanoseconds.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <string>

#include <gtest/gtest.h>

namespace skerry {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

task<> write_at(std::string& out, clock::time_point when, char name) {
  co_await precise_sleep_until(when);
  EXPECT_GE(clock::now(), when);
  out += name;
}

TEST(precise_sleep, sleepers_resume_by_deadline_and_those_of_one_deadline_in_the_order_they_began) {
  block_on([]() -> task<> {
    std::string out;
    const clock::time_point now = clock::read();
    auto d = spawn(write_at(out, now + microseconds(900), 'd'));
    auto b = spawn(write_at(out, now + microseconds(700), 'b'));
    auto c = spawn(write_at(out, now + microseconds(700), 'c'));
    auto a = spawn(write_at(out, now + microseconds(300), 'a'));
    co_await d;
    EXPECT_EQ(out, "abcd");
    co_await a;
    co_await b;
    co_await c;
  });
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

}  // namespace
}  // namespace skerry
