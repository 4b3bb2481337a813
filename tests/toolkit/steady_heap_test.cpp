// SPDX-License-Identifier: Apache-2.0
/// What a server does all the time takes nothing from the heap once it has done it before.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/retry.hpp>
#include <skerry/toolkit/time/interval.hpp>
#include <skerry/toolkit/time/precise_sleep.hpp>

#include <chrono>
#include <cstdint>
#include <system_error>

#include <gtest/gtest.h>
#include <support/heap_count.hpp>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::heap_allocations;

/// `body` again and again: what it takes in the first rounds (a chunk of frames, a table, a slot of the kernel's) is
/// there for the others.
template <class Body>
void expect_nothing_from_the_heap(Body body) {
  block_on([&body]() -> task<> {
    std::uint64_t before = 0;
    for (int round = 0; round < 50; ++round) {
      if (round == 10) before = heap_allocations();
      co_await body();
    }
    EXPECT_EQ(heap_allocations(), before);
  });
}

task<int> later() {
  co_await yield();
  co_return 7;
}

TEST(steady_heap, of_tasks_spawned_joined_aborted_and_dropped) {
  expect_nothing_from_the_heap([]() -> task<> {
    auto joined = spawn(later(), "joined");
    auto aborted = spawn(later(), "aborted");
    {
      auto dropped = spawn([] { return later(); }, "dropped");
    }
    aborted.abort();
    EXPECT_EQ(co_await joined, 7);
  });
}

TEST(steady_heap, of_yields) {
  expect_nothing_from_the_heap([]() -> task<> {
    for (int i = 0; i < 10; ++i) {
      co_await yield();
      co_await maybe_yield();
    }
  });
}

task<> sleep_long() { co_await sleep_for(1h); }

TEST(steady_heap, of_sleeps) {
  expect_nothing_from_the_heap([]() -> task<> {
    auto other = spawn(sleep_long(), "long");
    co_await sleep_for(1us);
    co_await sleep_until(clock::now() + 1ms);
    other.abort();
  });
}

TEST(steady_heap, of_timeouts_that_do_not_pass) {
  expect_nothing_from_the_heap([]() -> task<> {
    EXPECT_EQ(co_await with_timeout(1h, later()), 7);
    EXPECT_EQ(co_await with_deadline(clock::now() + 1h, later()), 7);
    co_await with_timeout(1h, yield());
  });
}

TEST(steady_heap, of_precise_sleeps) {
  expect_nothing_from_the_heap([]() -> task<> {
    co_await precise_sleep_for(1us);
    co_await precise_sleep_until(clock::read() + 10us);
  });
}

TEST(steady_heap, of_ticks) {
  expect_nothing_from_the_heap([]() -> task<> {
    interval often(1us, missed_tick::skip);
    co_await often.tick();
    co_await often.tick();
  });
}

task<> count_to(int& left, join_handle<>& counting) {
  auto count = [&left, &counting] {
    if (--left == 0) counting.abort();
  };
  co_await every(1us, count);
}

TEST(steady_heap, of_every_period) {
  expect_nothing_from_the_heap([]() -> task<> {
    int left = 3;
    join_handle<> counting;
    counting = spawn(count_to(left, counting), "counting");
    while (!counting.is_finished()) co_await yield();
    EXPECT_EQ(left, 0);
  });
}

/// Attempts that need no second one: an exception is the heap's.
TEST(steady_heap, of_attempts) {
  expect_nothing_from_the_heap([]() -> task<> {
    auto attempt = [] { return later(); };
    EXPECT_EQ(co_await retry(retry_policy(), attempt), 7);
  });
}

}  // namespace
}  // namespace skerry
