// SPDX-License-Identifier: Apache-2.0
/// Sleeping and deadlines as tasks see them. What is waited for is time itself, a few milliseconds of it.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <coroutine>
#include <stdexcept>
#include <string>
#include <system_error>

#include <gtest/gtest.h>

namespace skerry {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

task<> write_at(std::string& out, clock::time_point when, char name) {
  co_await sleep_until(when);
  out += name;
}

/// Counts its destruction.
struct guard {
  explicit guard(int& destroyed) noexcept : destroyed_(destroyed) {}
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { ++destroyed_; }
  int& destroyed_;
};

task<int> sleep_then(clock::duration time, int result, int& destroyed) {
  guard here(destroyed);
  co_await sleep_for(time);
  co_return result;
}

task<> let_others_run() {
  for (int i = 0; i < 4; ++i) co_await yield();
}

TEST(sleep, lasts_at_least_as_long_as_it_should) {
  block_on([]() -> task<> {
    for (const milliseconds time : {milliseconds(0), milliseconds(1), milliseconds(7)}) {
      const clock::time_point before = clock::now();
      co_await sleep_for(time);
      EXPECT_GE(clock::now() - before, time);
    }
  });
}

TEST(sleep, sleepers_resume_in_the_order_of_their_deadlines) {
  block_on([]() -> task<> {
    std::string out;
    const clock::time_point now = clock::now();
    auto c = spawn(write_at(out, now + milliseconds(12), 'c'));
    auto a = spawn(write_at(out, now + milliseconds(4), 'a'));
    auto b = spawn(write_at(out, now + milliseconds(8), 'b'));
    co_await c;
    co_await a;
    co_await b;
    EXPECT_EQ(out, "abc");
  });
}

TEST(sleep, sleepers_of_one_deadline_resume_in_the_order_they_began) {
  block_on([]() -> task<> {
    std::string out;
    const clock::time_point when = clock::now() + milliseconds(3);
    auto a = spawn(write_at(out, when, 'a'));
    auto b = spawn(write_at(out, when, 'b'));
    auto c = spawn(write_at(out, when, 'c'));
    co_await c;
    EXPECT_EQ(out, "abc");
    co_await a;
    co_await b;
  });
}

TEST(sleep, a_deadline_in_the_past_does_not_hang) {
  block_on([]() -> task<> { co_await sleep_until(clock::now() - hours(1)); });
}

TEST(sleep, a_cancelled_sleeper_ends_at_once_and_leaves_no_timer) {
  block_on([]() -> task<> {
    int destroyed = 0;
    const clock::time_point before = clock::now();
    auto handle = spawn(sleep_then(hours(1), 0, destroyed));
    co_await let_others_run();
    handle.abort();
    bool cancelled = false;
    try {
      co_await handle;
    } catch (const std::system_error& error) {
      cancelled = error.code() == std::errc::operation_canceled;
    }
    EXPECT_TRUE(cancelled);
    EXPECT_EQ(destroyed, 1);
    EXPECT_LT(clock::now() - before, std::chrono::minutes(1));
  });
}

TEST(with_timeout, a_task_in_time_gives_its_result) {
  block_on([]() -> task<> {
    int destroyed = 0;
    EXPECT_EQ(co_await with_timeout(hours(1), sleep_then(milliseconds(2), 5, destroyed)), 5);
    EXPECT_EQ(destroyed, 1);
  });
}

TEST(with_timeout, a_task_that_is_late_has_let_go_when_the_exception_comes) {
  block_on([]() -> task<> {
    int destroyed = 0;
    bool late = false;
    try {
      co_await with_timeout(milliseconds(2), sleep_then(hours(1), 5, destroyed));
    } catch (const timeout_error& error) {
      late = error.code() == std::errc::timed_out;
      EXPECT_EQ(destroyed, 1);
    }
    EXPECT_TRUE(late);
  });
}

task<> throw_after(clock::duration time) {
  co_await sleep_for(time);
  throw std::runtime_error("from inside");
}

TEST(with_timeout, what_the_task_throws_passes_through) {
  EXPECT_THROW(block_on([]() -> task<> { co_await with_timeout(hours(1), throw_after(milliseconds(1))); }),
               std::runtime_error);
}

TEST(with_timeout, an_outer_deadline_ends_an_inner_one) {
  block_on([]() -> task<> {
    int destroyed = 0;
    auto inner = [&destroyed]() -> task<int> {
      co_return co_await with_timeout(hours(2), sleep_then(hours(1), 1, destroyed));
    };
    bool late = false;
    try {
      co_await with_timeout(milliseconds(2), inner());
    } catch (const timeout_error&) {
      late = true;
    }
    EXPECT_TRUE(late);
    EXPECT_EQ(destroyed, 1);
  });
}

TEST(with_timeout, cancelling_the_caller_cancels_the_branch_first) {
  block_on([]() -> task<> {
    int destroyed = 0;
    bool went_on = false;
    auto handle = spawn([&]() -> task<> {
      try {
        co_await with_timeout(hours(2), sleep_then(hours(1), 1, destroyed));
      } catch (...) {
        went_on = true;
      }
      went_on = true;
    });
    co_await let_others_run();
    handle.abort();
    while (!handle.is_finished()) co_await yield();
    EXPECT_EQ(destroyed, 1);
    EXPECT_FALSE(went_on);
  });
}

TEST(with_timeout, cancelled_at_any_step_nothing_is_left) {
  for (int steps = 0; steps < 4; ++steps) {
    block_on([steps]() -> task<> {
      const std::size_t frames = this_shard().loop->frames().in_use();
      const std::size_t timers = timers::this_timers().size();
      int started_and_destroyed = 0;
      auto handle = spawn([&]() -> task<> {
        co_await with_timeout(hours(2), sleep_then(hours(1), 1, started_and_destroyed));
        ADD_FAILURE() << "went on after a cancelled wait";
      });
      for (int i = 0; i < steps; ++i) co_await yield();
      handle.abort();
      while (!handle.is_finished()) co_await yield();
      EXPECT_EQ(started_and_destroyed, steps < 2 ? 0 : 1);
      handle = {};
      EXPECT_EQ(this_shard().loop->frames().in_use(), frames);
      EXPECT_EQ(timers::this_timers().size(), timers);
    });
  }
}

TEST(with_timeout, takes_any_awaitable_and_any_function_that_returns_a_task) {
  block_on([]() -> task<> {
    int destroyed = 0;
    EXPECT_EQ(co_await with_timeout(hours(1), [&] { return sleep_then(milliseconds(1), 6, destroyed); }), 6);
    auto joined = spawn(sleep_then(milliseconds(1), 7, destroyed));
    EXPECT_EQ(co_await with_timeout(hours(1), joined), 7);
    bool late = false;
    try {
      co_await with_timeout(milliseconds(1), sleep_for(hours(1)));
    } catch (const timeout_error&) {
      late = true;
    }
    EXPECT_TRUE(late);
  });
}

/// A wait whose timer is armed before anybody waits, so that it expires before timers of the same tick armed later.
class armed_early final : public detail::leaf, public timers::timer {
 public:
  explicit armed_early(clock::time_point deadline) { timers::this_timers().arm(*this, deadline); }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept { suspend(resume_point); }
  void await_resume() const noexcept {}
  void expired() noexcept override { wake(); }
  void let_go() noexcept override {
    timers::this_timers().cancel(*this);
    wake();
  }
  const char* describe() const noexcept override { return "armed early"; }
};

task<int> wait_for(armed_early& wait) {
  co_await wait;
  co_return 8;
}

// Of what debug builds know, node and timer are larger.
#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(__clang__) && !defined(SKERRY_HOME_STAMPS)
task<> nap() { co_await sleep_for(hours(1)); }

/// Node, frame, promise and timer; so 10 million fit in 2.5 GiB (scripts/bench sleeping_tasks makes them).
TEST(sleep, of_a_task_that_does_nothing_else_takes_256_bytes) {
  block_on([]() -> task<> {
    constexpr std::size_t many = 200'000;
    const frame_pool& frames = this_shard().loop->frames();
    const std::size_t before = frames.bytes_reserved();
    for (std::size_t i = 0; i < many; ++i) spawn(nap());
    co_await yield();
    const std::size_t chunk = 1 << 20;  // the pool's, the last of which is not full
    EXPECT_LE(frames.bytes_reserved() - before, many * 257 + chunk);
  });
}
#endif

TEST(with_timeout, completion_in_the_turn_of_the_deadline_wins) {
  block_on([]() -> task<> {
    const clock::time_point deadline = clock::now() + milliseconds(5);
    armed_early completion(deadline);
    EXPECT_EQ(co_await with_deadline(deadline, wait_for(completion)), 8);
  });
}

TEST(with_timeout, a_deadline_before_the_completion_of_the_same_tick_wins) {
  block_on([]() -> task<> {
    const clock::time_point deadline = clock::now() + milliseconds(5);
    auto body = [deadline]() -> task<int> {
      co_await sleep_until(deadline);
      co_return 1;
    };
    bool late = false;
    try {
      co_await with_deadline(deadline, body());
    } catch (const timeout_error&) {
      late = true;
    }
    EXPECT_TRUE(late);
  });
}

}  // namespace
}  // namespace skerry
