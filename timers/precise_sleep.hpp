// SPDX-License-Identifier: Apache-2.0
#pragma once

/// precise_sleep_for, precise_sleep_until: sleeping in microseconds, for the few who need it.
///
///     co_await precise_sleep_for(std::chrono::microseconds(100));
///
/// The wheel counts in milliseconds because nearly every timer is a timeout that never fires. Here a deadline keeps its
/// nanoseconds: it waits in a pairing heap. A sleeping thread runs 10 to 100 us after the kernel's timer, so the shard
/// asks to be woken earlier, by as much as it was woken late in three of four cases so far (`margin_max` at most), and
/// looks at its clock until the time has come. The price: that CPU time, and O(log n) to disarm or expire a timer.
///
///     add: O(1)       remove: O(log n) amortised       first: O(1)
///
/// Affinity:     any task; resumes on its shard, behind what is ready.
/// Units:        nanoseconds. Never early; late by what else runs here, and by a wake-up that is later than most.
/// Cancellation: at once.
/// Limits:       none; a sleeper's node lives in its frame. The first one on a shard adds a poller to its reactor.
/// Invariants:   (1) no node is later than its children; (2) nodes of one deadline expire in the order they were added.
/// Source:       Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap", Algorithmica 1986.

#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/timers/timer.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>

namespace skerry {

namespace timers {

/// A node of the heap below.
class precise_timer {
 public:
  virtual void expired() noexcept = 0;
  precise_timer(const precise_timer&) = delete;
  precise_timer& operator=(const precise_timer&) = delete;

 protected:
  precise_timer() = default;
  ~precise_timer() { SKERRY_ASSERT(!armed_, "an armed timer is destroyed; cancel it first"); }

 private:
  friend class precise_heap;
  precise_timer* child_ = nullptr;    // its first child
  precise_timer* sibling_ = nullptr;  // the next child of its parent
  precise_timer* before_ = nullptr;   // the sibling before it, or the parent of a first child
  clock::time_point deadline_;
  std::uint64_t number_ = 0;
  bool armed_ = false;
};

/// Knows no clock and no reactor.
class precise_heap {
 public:
  bool empty() const noexcept { return root_ == nullptr; }
  /// The one that expires first; null when none is armed.
  precise_timer* first() const noexcept { return root_; }
  static clock::time_point deadline_of(const precise_timer& t) noexcept { return t.deadline_; }
  void add(precise_timer& t, clock::time_point deadline) noexcept;
  /// Nothing if it is not armed.
  void remove(precise_timer& t) noexcept;

 private:
  static bool before(const precise_timer& a, const precise_timer& b) noexcept {
    return a.deadline_ != b.deadline_ ? a.deadline_ < b.deadline_ : a.number_ < b.number_;
  }
  static precise_timer* merge(precise_timer* a, precise_timer* b) noexcept;
  static precise_timer* merge_siblings(precise_timer* first) noexcept;

  precise_timer* root_ = nullptr;
  std::uint64_t added_ = 0;
};

/// One shard's precise timers. Made on first use, ends with the shard's resources.
class precise_timer_service final : public poller {
 public:
  precise_timer_service();
  ~precise_timer_service();
  precise_heap& heap() noexcept { return heap_; }
  void poll() noexcept override;
  clock::time_point deadline() noexcept override;

  static constexpr std::chrono::microseconds margin_max{100};

 private:
  void learn_from_wake_up() noexcept;

  precise_heap heap_;
  clock::time_point asked_for_ = clock::time_point::max();  // when the shard is to run next, until it has
  clock::duration margin_{0};
};

precise_heap& this_precise_timers();

}  // namespace timers

namespace detail {

class [[nodiscard("co_await it")]] precise_sleep_awaiter final : public leaf, public timers::precise_timer {
 public:
  explicit precise_sleep_awaiter(clock::time_point deadline) noexcept : deadline_(deadline) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) {
    timers::this_precise_timers().add(*this, deadline_);
    suspend(resume_point);
  }
  void await_resume() const noexcept {}
  void expired() noexcept override { wake(); }
  void let_go() noexcept override {
    timers::this_precise_timers().remove(*this);
    wake();
  }
  const char* describe() const noexcept override { return "precise sleep"; }

 private:
  clock::time_point deadline_;
};

}  // namespace detail

/// Suspends until the shard's clock has reached `deadline`, to the nanosecond as far as the kernel can.
inline detail::precise_sleep_awaiter precise_sleep_until(clock::time_point deadline) noexcept {
  return detail::precise_sleep_awaiter(deadline);
}

/// Suspends for at least `d` from now, where now is read from the clock for the purpose.
inline detail::precise_sleep_awaiter precise_sleep_for(clock::duration d) noexcept {
  return detail::precise_sleep_awaiter(timers::saturating_add(clock::read(), d));
}

}  // namespace skerry
