// SPDX-License-Identifier: Apache-2.0
#pragma once

/// interval, every: something that happens again and again at fixed distances.
///
///     interval heartbeat(std::chrono::seconds(1));
///     for (;;) {
///       co_await heartbeat.tick();
///       co_await greet_everybody();
///     }
///
/// A tick is missed when the task comes for it after the next one was due already. What then, the policy says (period
/// 10, the task is busy from 10 to 34):
///
///     on time     10   20   30   40   50
///     burst       10   34 34    40   50      makes up for every one at once, then on time
///     delay       10   34       44   54      a period from now on
///     skip        10   34       40   50      leaves out what was missed, stays on the grid
///
/// Affinity:     one task at a time, on the shard that made it.
/// Units:        any chrono duration, at least a nanosecond; a tick comes up to a millisecond late (see wheel.hpp).
/// Cancellation: at once; the tick is not consumed.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/timers/sleep.hpp>

#include <type_traits>
#include <utility>

namespace skerry {

enum class missed_tick { burst, delay, skip };

class interval {
 public:
  /// The first tick is one period from now.
  explicit interval(clock::duration period, missed_tick policy = missed_tick::burst)
      : period_(period), next_(timers::saturating_add(clock::now(), period)), policy_(policy) {
    SKERRY_ASSERT(period > clock::duration::zero(), "an interval has a period");
  }

  /// Waits for the next tick, and gives the moment for which it was planned.
  task<clock::time_point> tick() {
    co_await sleep_until(next_);
    const clock::time_point planned = next_;
    const clock::time_point now = clock::now();
    clock::time_point last = planned;
    if (policy_ == missed_tick::delay) last = now;
    if (policy_ == missed_tick::skip) last += (now - planned) / period_ * period_;
    next_ = timers::saturating_add(last, period_);
    co_return planned;
  }

 private:
  clock::duration period_;
  clock::time_point next_;
  missed_tick policy_;
};

/// Calls `fn` after every period until it is cancelled or `fn` throws; when `fn` returns a task, awaits it. Periods
/// that pass meanwhile are left out.
template <class Fn>
task<> every(clock::duration period, Fn fn) {
  interval ticks(period, missed_tick::skip);
  for (;;) {
    co_await ticks.tick();
    if constexpr (detail::any_task<std::invoke_result_t<Fn&>>) {
      co_await fn();
    } else {
      fn();
    }
  }
}

}  // namespace skerry
