// SPDX-License-Identifier: Apache-2.0
#pragma once

/// sleep_for, sleep_until: let time pass on this shard without holding it.
///
///     co_await sleep_for(std::chrono::milliseconds(50));
///
/// Affinity:     any task; resumes on its shard, behind what is ready.
/// Units:        any chrono duration, rounded up to a millisecond tick. Timers of one tick resume in arming order.
/// Cancellation: at once; the timer is disarmed.
/// Limits:       none.

#include <skerry/framework/task/chain.hpp>
#include <skerry/timers/timer.hpp>

#include <coroutine>

namespace skerry {

namespace detail {

class [[nodiscard("co_await it")]] sleep_awaiter final : public leaf, public timers::timer {
 public:
  /// The timer keeps the deadline until it is armed: 8 bytes less of a sleeping task's frame.
  explicit sleep_awaiter(clock::time_point deadline) noexcept
      : timer(static_cast<std::uint64_t>(deadline.time_since_epoch().count())) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    const clock::duration deadline(static_cast<std::int64_t>(deadline_tick()));
    timers::this_timers().arm(*this, clock::time_point(deadline));
    suspend(resume_point);
  }
  void await_resume() const noexcept {}
  void expired() noexcept override { wake(); }
  void let_go() noexcept override {
    timers::this_timers().cancel(*this);
    wake();
  }
  const char* describe() const noexcept override { return "sleep"; }
};

}  // namespace detail

/// Suspends until the shard's clock has reached `deadline`; one in the past lets a poll phase pass.
inline auto sleep_until(clock::time_point deadline) noexcept { return detail::sleep_awaiter(deadline); }

/// Suspends for at least `d`.
inline auto sleep_for(clock::duration d) noexcept { return sleep_until(timers::saturating_add(clock::now(), d)); }

}  // namespace skerry
