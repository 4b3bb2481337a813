// SPDX-License-Identifier: Apache-2.0
/// Time limits that progress puts off. Time passes when the tests say so.

#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/watchdog.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <functional>
#include <system_error>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using namespace test_support;
using namespace std::chrono_literals;

class watched : public testing::Test {
 protected:
  void run(const std::function<task<>()>& body) { run_shards(quiet_options(1), body, time_); }
  task<> pass(std::chrono::nanoseconds time) {
    time_.pass(time);
    for (int i = 0; i < 10; ++i) co_await turn();
  }

 private:
  manual_clock time_;
};

TEST_F(watched, what_makes_progress_goes_on_and_what_stands_still_is_cancelled) {
  run([this]() -> task<> {
    net::watchdog dog;
    event never;
    bool cancelled = false;
    auto waiting = spawn([&]() -> task<> {
      try {
        co_await with_cancel(dog.token(), [&]() -> task<> { co_await never.wait(); }());
      } catch (const std::system_error& error) {
        cancelled = error.code() == std::errc::operation_canceled;
      }
    });
    for (int i = 0; i < 50; ++i) {
      dog.give(10s);
      co_await pass(9900ms);  // and the turns, which take some milliseconds in a simulation
      EXPECT_FALSE(dog.fired());
    }
    co_await pass(200ms);
    EXPECT_TRUE(dog.fired());
    co_await waiting;
    EXPECT_TRUE(cancelled);
  });
}

TEST_F(watched, a_shorter_limit_takes_the_place_of_a_longer_one_and_the_other_way_round) {
  run([this]() -> task<> {
    net::watchdog dog;
    dog.give(1h);
    dog.give(10ms);
    dog.give(1h);
    co_await pass(1min);
    EXPECT_FALSE(dog.fired());
    dog.give(10ms);
    co_await pass(12ms);
    EXPECT_TRUE(dog.fired());
  });
}

TEST_F(watched, putting_a_deadline_off_arms_no_timer) {
  run([]() -> task<> {
    net::watchdog dog;
    const std::size_t before = stats().timers;
    dog.give(1h);
    for (int i = 0; i < 1000; ++i) dog.give(1h + std::chrono::milliseconds(i));
    EXPECT_EQ(stats().timers, before + 1);
    co_return;
  });
}

TEST_F(watched, all_the_time_there_is_never_passes) {
  run([this]() -> task<> {
    net::watchdog dog;
    dog.give(std::chrono::nanoseconds::max());
    co_await pass(24h);
    EXPECT_FALSE(dog.fired());
  });
}

}  // namespace
}  // namespace skerry
