// SPDX-License-Identifier: Apache-2.0
#pragma once

/// timer: the wheel of one shard as a poller, and what may be armed in it.
///
///     armed --deadline's tick has come, poll()--> expired() --> not armed
///
/// A deadline in nanoseconds is rounded up to the next millisecond tick: never early, at most one tick late plus the
/// delay of the loop. `expired()` runs inside the poll phase; it wakes a task or does a few instructions' work.
///
/// Affinity:   home shard.
/// Ownership:  a timer belongs to whoever waits; it is cancelled or has expired before it goes (asserted).
/// Limits:     none: a timer is 40 bytes inside the object that waits.

#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/timers/wheel.hpp>

namespace skerry::timers {

/// Something that happens at a time.
class timer : public timer_node {
 public:
  virtual void expired() noexcept = 0;
  timer& at_home() noexcept { return home_.check("a timer is used on the shard that made it"), *this; }

 protected:
  using timer_node::timer_node;
  ~timer() = default;
  [[no_unique_address]] skerry::detail::home_mark home_;
};

/// `when + d` without overflow: the far future stays the far future.
constexpr clock::time_point saturating_add(clock::time_point when, clock::duration d) noexcept {
  if (d > clock::duration::zero() && when > clock::time_point::max() - d) return clock::time_point::max();
  return when + d;
}

class timer_service final : public poller {
 public:
  explicit timer_service(clock::time_point now) noexcept : wheel_(tick_before(now)) {}

  void arm(timer& t, clock::time_point deadline) noexcept {
    std::uint64_t tick = tick_after(deadline);
    overdue_ |= tick <= wheel_.now();
    wheel_.arm(t.at_home(), tick);
  }
  void cancel(timer& t) noexcept { wheel_.cancel(t.at_home()); }

  void poll() noexcept override {
    const std::uint64_t tick = tick_before(clock::now());
    if (tick <= wheel_.now() && !overdue_) return;
    overdue_ = false;
    expired_total_ += wheel_.advance(tick, [](timer_node& node) noexcept {
      observe::trace(observe::trace_kind::timer, 0, node.deadline_tick());
      static_cast<timer&>(node).expired();
    });
  }
  clock::time_point deadline() noexcept override {
    const std::optional<std::uint64_t> tick = wheel_.next_deadline();
    if (!tick || *tick > static_cast<std::uint64_t>(INT64_MAX / tick_ns)) return clock::time_point::max();
    return clock::time_point{clock::duration(static_cast<std::int64_t>(*tick) * tick_ns)};
  }

  std::size_t size() const noexcept { return wheel_.size(); }
  std::uint64_t expired_total() const noexcept { return expired_total_; }

 private:
  static constexpr std::int64_t tick_ns = 1'000'000;
  static std::uint64_t tick_before(clock::time_point t) noexcept {
    return static_cast<std::uint64_t>(t.time_since_epoch().count() / tick_ns);
  }
  static std::uint64_t tick_after(clock::time_point t) noexcept {
    std::int64_t ns = t.time_since_epoch().count();
    return ns <= 0 ? 0 : static_cast<std::uint64_t>((ns - 1) / tick_ns + 1);
  }

  wheel wheel_;
  bool overdue_ = false;  // something was armed for a tick that has begun: the next poll fires it without a new tick
  std::uint64_t expired_total_ = 0;
};

inline timer_service& this_timers() noexcept {
  SKERRY_ASSERT(this_shard().timers != nullptr, "this shard has no timers");
  return *this_shard().timers;
}

}  // namespace skerry::timers
