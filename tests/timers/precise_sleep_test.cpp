// SPDX-License-Identifier: Apache-2.0
/// Sleeping in nanoseconds, and the heap under it against a sorted set.
///
/// Replay a failing random test with the line it prints: SKERRY_TEST_SEED=<seed> precise_sleep_test

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/precise_sleep.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace skerry {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

struct named_timer final : timers::precise_timer {
  void expired() noexcept override {}
};

std::uint64_t seed_of_this_run() {
  if (const char* text = std::getenv("SKERRY_TEST_SEED")) return std::strtoull(text, nullptr, 0);
  return std::random_device{}();
}

TEST(precise_heap, behaves_like_a_sorted_set_over_random_operations) {
  const std::uint64_t seed = seed_of_this_run();
  std::cout << "replay with SKERRY_TEST_SEED=" << seed << "\n";
  std::mt19937_64 random(seed);
  using key = std::pair<std::int64_t, std::uint64_t>;  // deadline, number of the arming
  for (const std::size_t population : {3u, 50u, 2000u}) {
    timers::precise_heap heap;
    std::deque<named_timer> timers(population);
    std::vector<key> keys(population);  // number 0: not armed
    std::set<std::pair<key, std::size_t>> model;
    std::uint64_t armings = 0;
    for (int i = 0; i < 100'000; ++i) {
      const std::size_t which = random() % population;
      if (keys[which].second != 0) {
        heap.remove(timers[which]);
        model.erase({keys[which], which});
        keys[which] = {};
      } else {
        keys[which] = {static_cast<std::int64_t>(random() % 1000), ++armings};
        heap.add(timers[which], clock::time_point(nanoseconds(keys[which].first)));
        model.emplace(keys[which], which);
      }
      ASSERT_EQ(heap.empty(), model.empty());
      if (model.empty()) continue;
      ASSERT_EQ(heap.first(), &timers[model.begin()->second]) << "operation " << i;
      if (random() % 8 == 0) {
        heap.remove(*heap.first());
        keys[model.begin()->second] = {};
        model.erase(model.begin());
      }
    }
    while (!heap.empty()) {
      ASSERT_EQ(heap.first(), &timers[model.begin()->second]);
      heap.remove(*heap.first());
      model.erase(model.begin());
    }
    EXPECT_TRUE(model.empty());
  }
}

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
      EXPECT_FALSE(timers::this_precise_timers().empty());
      handle.abort();
      EXPECT_TRUE(timers::this_precise_timers().empty());
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
