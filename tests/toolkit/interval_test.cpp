// SPDX-License-Identifier: Apache-2.0
/// Intervals on a real clock. What is compared is what was planned, never how long something took.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/toolkit/time/interval.hpp>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace skerry {
namespace {

using std::chrono::milliseconds;

void hold_the_shard_until(clock::time_point when) {
  while (clock::read() < when) {
  }
}

constexpr milliseconds period{4};

TEST(interval, ticks_are_a_period_apart_and_never_early) {
  block_on([]() -> task<> {
    const clock::time_point start = clock::now();
    interval ticks(period);
    for (int i = 1; i <= 5; ++i) {
      const clock::time_point planned = co_await ticks.tick();
      EXPECT_EQ(planned, start + i * period);
      EXPECT_GE(clock::now(), planned);
    }
  });
}

TEST(interval, burst_makes_up_for_every_tick_that_was_missed) {
  block_on([]() -> task<> {
    const clock::time_point start = clock::now();
    interval ticks(period, missed_tick::burst);
    co_await ticks.tick();
    hold_the_shard_until(start + 4 * period);
    for (int i = 2; i <= 5; ++i) EXPECT_EQ(co_await ticks.tick(), start + i * period);
  });
}

TEST(interval, skip_leaves_out_what_was_missed_and_stays_on_the_grid) {
  block_on([]() -> task<> {
    const clock::time_point start = clock::now();
    interval ticks(period, missed_tick::skip);
    // On a busy machine any tick may be late, so each says from when the next one counts.
    const auto first_after = [start](clock::time_point t) { return start + ((t - start) / period + 1) * period; };
    co_await ticks.tick();
    clock::time_point next = first_after(clock::now());
    hold_the_shard_until(next + 2 * period + milliseconds(1));
    EXPECT_EQ(co_await ticks.tick(), next);
    EXPECT_GT(clock::now(), next + 2 * period);
    next = first_after(clock::now());
    EXPECT_EQ(co_await ticks.tick(), next);
  });
}

TEST(interval, delay_counts_the_next_period_from_the_late_tick) {
  block_on([]() -> task<> {
    const clock::time_point start = clock::now();
    interval ticks(period, missed_tick::delay);
    co_await ticks.tick();
    const clock::time_point busy_until = start + 3 * period + milliseconds(1);
    hold_the_shard_until(busy_until);
    co_await ticks.tick();
    const clock::time_point late = clock::now();
    EXPECT_EQ(co_await ticks.tick(), late + period);
    EXPECT_GE(late, busy_until);
  });
}

TEST(interval, a_cancelled_wait_does_not_consume_its_tick) {
  block_on([]() -> task<> {
    const clock::time_point start = clock::now();
    interval ticks(milliseconds(20));
    {
      auto waiting = spawn(ticks.tick());
      co_await yield();
      EXPECT_EQ(stats().timers, 1u);
      waiting.abort();
      while (!waiting.is_finished()) co_await yield();
      EXPECT_EQ(stats().timers, 0u);
    }
    EXPECT_EQ(co_await ticks.tick(), start + milliseconds(20));
  });
}

TEST(every, calls_until_it_is_cancelled) {
  block_on([]() -> task<> {
    const std::size_t frames = this_shard().loop->frames().in_use();
    {
      int calls = 0;
      auto running = spawn(every(milliseconds(1), [&calls] { ++calls; }));
      while (calls < 3) co_await sleep_for(milliseconds(1));
      running.abort();
      while (!running.is_finished()) co_await yield();
      const int after = calls;
      co_await sleep_for(milliseconds(5));
      EXPECT_EQ(calls, after);
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), frames);
  });
}

TEST(every, awaits_a_task_and_ends_with_what_it_throws) {
  block_on([]() -> task<> {
    int calls = 0;
    auto count = [&calls]() -> task<> {
      co_await yield();
      if (++calls == 3) throw std::runtime_error("enough");
    };
    bool thrown = false;
    try {
      co_await every(milliseconds(1), count);
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    EXPECT_EQ(calls, 3);
  });
}

TEST(interval_death, a_period_of_zero_is_refused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(interval(clock::duration::zero()), "an interval has a period");
}

}  // namespace
}  // namespace skerry
