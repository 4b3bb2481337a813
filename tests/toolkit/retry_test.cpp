// SPDX-License-Identifier: Apache-2.0
/// retry: how often, how long in between, what ends it. Time is the test's own.

#include <skerry/framework/random.hpp>
#include <skerry/toolkit/retry.hpp>

#include <chrono>
#include <system_error>
#include <vector>

#include <support/run_shards.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;
using std::chrono::milliseconds;

std::system_error passing_trouble() { return std::system_error(std::make_error_code(std::errc::connection_refused)); }

/// Fails until the given attempt; remembers when each was made.
struct trouble {
  unsigned succeeds_at;
  std::vector<clock::time_point> made = {};
  task<int> attempt() {
    made.push_back(clock::now());
    co_await yield();
    if (made.size() < succeeds_at) throw passing_trouble();
    co_return static_cast<int>(made.size());
  }
};

/// Lets time pass, a millisecond at a time, until the task has ended.
template <class T>
task<> let_time_pass(manual_clock& time, join_handle<T>& handle) {
  while (!handle.is_finished()) {
    time.pass(milliseconds(1));
    co_await let_others_run();
  }
}

template <class Fn>
void run_in(manual_clock& time, Fn body) {
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        const std::size_t before = frames_in_use();
        co_await body();
        co_await let_others_run();
        EXPECT_EQ(frames_in_use(), before);
      },
      time);
}

TEST(retry, gives_the_first_result_and_sleeps_longer_each_time) {
  manual_clock time;
  run_in(time, [&]() -> task<> {
    trouble t{5};
    retry_policy policy;
    policy.first_delay = milliseconds(100);
    policy.delay_max = milliseconds(300);
    auto handle = spawn([&]() -> task<int> { co_return co_await retry(policy, [&] { return t.attempt(); }); });
    co_await let_time_pass(time, handle);
    EXPECT_EQ(co_await handle, 5);
    const milliseconds longest[] = {milliseconds(100), milliseconds(200), milliseconds(300), milliseconds(300)};
    bool jitter = false;
    for (std::size_t i = 0; i < 4; ++i) {
      const auto slept = t.made[i + 1] - t.made[i];
      EXPECT_GE(slept, longest[i] / 2);
      EXPECT_LE(slept, longest[i] + milliseconds(10)) << "a tick, and what the loop takes to go round";
      jitter |= slept < longest[i] - milliseconds(1);
    }
    EXPECT_TRUE(jitter) << "four draws at the very end of their range";
  });
}

TEST(retry, the_last_attempts_failure_leaves) {
  manual_clock time;
  run_in(time, [&]() -> task<> {
    trouble t{100};
    retry_policy policy;
    policy.attempts_max = 3;
    auto attempt = [&] { return t.attempt(); };
    auto handle = spawn([&]() -> task<bool> {
      try {
        co_await retry(policy, attempt);
      } catch (const std::system_error& error) {
        co_return error.code() == std::errc::connection_refused;
      }
      co_return false;
    });
    co_await let_time_pass(time, handle);
    EXPECT_TRUE(co_await handle);
    EXPECT_EQ(t.made.size(), 3u);
  });
}

TEST(retry, what_is_not_worth_it_leaves_at_once) {
  manual_clock time;
  run_in(time, [&]() -> task<> {
    int attempts = 0;
    auto fails = [&]() -> task<> {
      co_await retry(retry_policy(), [&] {
        ++attempts;
        return fail_now(3);
      });
    };
    EXPECT_EQ(co_await failure_of(fails()), 3);
    EXPECT_EQ(attempts, 1);
    trouble t{2};
    retry_policy never;
    never.worth_retrying = [](const std::system_error& error) { return error.code() == std::errc::timed_out; };
    bool left = false;
    try {
      co_await retry(never, [&] { return t.attempt(); });
    } catch (const std::system_error&) {
      left = true;
    }
    EXPECT_TRUE(left);
    EXPECT_EQ(t.made.size(), 1u);
  });
}

TEST(retry, a_cancel_ends_the_attempt_or_the_sleep) {
  for (int milliseconds_passed : {0, 3, 30}) {
    manual_clock time;
    run_in(time, [&]() -> task<> {
      trouble t{100};
      auto handle = spawn([&]() -> task<> { co_await retry(retry_policy(), [&] { return t.attempt(); }); });
      for (int i = 0; i < milliseconds_passed; ++i) {
        time.pass(milliseconds(1));
        co_await let_others_run();
      }
      handle.abort();
      EXPECT_TRUE(co_await ends_cancelled(handle));
    });
  }
}

TEST(retry, delays_stay_within_their_bounds_and_do_not_overflow) {
  manual_clock time;
  run_in(time, [&]() -> task<> {
    retry_policy policy;
    policy.first_delay = milliseconds(1);
    policy.factor = 1e6;
    policy.delay_max = clock::duration::max();
    clock::duration delay = policy.first_delay;
    for (int i = 0; i < 100; ++i) EXPECT_GE(detail::draw_delay(policy, delay), clock::duration::zero());
    EXPECT_GE(detail::draw_delay(policy, delay), clock::duration::max() / 2);
    policy.delay_max = delay = clock::duration::zero();
    EXPECT_EQ(detail::draw_delay(policy, delay), clock::duration::zero());
    co_return;
  });
}

}  // namespace
}  // namespace skerry
