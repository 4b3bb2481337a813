// SPDX-License-Identifier: Apache-2.0
#pragma once

/// precise_sleep_for, precise_sleep_until: sleeping in microseconds, for the few who need it.
///
///     co_await precise_sleep_for(std::chrono::microseconds(100));
///
/// The shard's wheel counts in milliseconds because nearly every timer is a timeout that never fires. Precise sleepers
/// wait in a second one, whose tick is a nanosecond. A sleeping thread runs 10 to 100 us after the kernel's timer, so
/// the shard asks to be woken earlier, by as much as it was woken late in three of four cases so far (`margin_max` at
/// most), and looks at its clock until the time has come. That CPU time is the price.
///
/// Rejected: a heap. It never wakes a shard in vain (a wheel does up to four times per sleeper, when many wait), but is
/// a second structure that orders deadlines, and takes O(log n) to disarm.
///
/// Affinity:     any task; resumes on its shard, behind what is ready.
/// Units:        any chrono duration, rounded up to a nanosecond. Never early; late by what else runs here, and by a
///               wake-up that is later than most. Sleepers of one deadline resume in the order in which they began.
/// Cancellation: at once; the timer is disarmed.
/// Errors:       the first sleeper on a shard may get std::bad_alloc.
/// Limits:       none. The first precise sleeper on a shard makes the second wheel (17 KiB) and adds it to the
///               reactor's pollers; it goes with the shard's resources.

#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/timers/wheel.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>

namespace skerry {

namespace timers {

/// One shard's precise timers. Made on first use, ends with the shard's resources.
class precise_timer_service final : public poller {
 public:
  precise_timer_service();
  ~precise_timer_service();
  void arm(timer& t, clock::time_point deadline) noexcept { wheel_.arm(t, tick(deadline)); }
  void cancel(timer& t) noexcept { wheel_.cancel(t); }
  bool empty() const noexcept { return wheel_.empty(); }
  void poll() noexcept override;
  clock::time_point deadline() noexcept override;

  static constexpr std::chrono::microseconds margin_max{100};

 private:
  /// A time before the clock's origin is as past as the origin.
  static std::uint64_t tick(clock::time_point when) noexcept {
    const auto ns = when.time_since_epoch().count();
    return ns < 0 ? 0 : static_cast<std::uint64_t>(ns);
  }
  void learn_from_wake_up() noexcept;

  wheel wheel_{tick(clock::now())};
  clock::time_point asked_for_ = clock::time_point::max();  // when the shard is to run next, until it has
  clock::duration margin_{0};
};

precise_timer_service& these_precise_timers();

}  // namespace timers

namespace detail {

class [[nodiscard("co_await it")]] precise_sleep_awaiter final : public leaf, public timers::timer {
 public:
  explicit precise_sleep_awaiter(clock::time_point deadline) noexcept : deadline_(deadline) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) {
    timers::these_precise_timers().arm(*this, deadline_);
    suspend(resume_point);
  }
  void await_resume() const noexcept {}
  void expired() noexcept override { wake(); }
  void let_go() noexcept override {
    timers::these_precise_timers().cancel(*this);
    wake();
  }
  const char* describe() const noexcept override { return "precise sleep"; }

 private:
  clock::time_point deadline_;
};

}  // namespace detail

/// Suspends until the shard's clock has reached `deadline`, to the nanosecond as far as the kernel can.
inline auto precise_sleep_until(clock::time_point deadline) noexcept { return detail::precise_sleep_awaiter(deadline); }

/// Suspends for at least `d` from now, where now is read from the clock for the purpose.
inline auto precise_sleep_for(clock::duration d) noexcept {
  return precise_sleep_until(timers::saturating_add(clock::read(), d));
}

}  // namespace skerry
