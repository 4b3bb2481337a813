// SPDX-License-Identifier: Apache-2.0
#pragma once

/// work_deque: what one thread has put aside; it takes the latest back, others steal the oldest.
///
///     steal (any thread) <- top | oldest ... latest | bottom <-> push, pop (owner)
///
/// push and pop of the owner meet the thieves only over the last item, and there `top` decides: who moves it on has it.
///
///     top     moved on by compare-exchange: by thieves, and by the owner for the last item
///     bottom  written by the owner; its store in push releases the item to whoever acquires it in steal
///     slots   relaxed: a thief that reads a slot which the owner fills anew has read an old `top`, and its exchange
///     fails
///
/// pop writes `bottom` and then reads `top`; steal reads `top` and then `bottom`. Both would take the last item if each
/// read what was before the other's write, so these four are sequentially consistent, and of the published forms that
/// is the one with accesses and no stand-alone fence, which ThreadSanitizer does not model. push stores `bottom` the
/// same way: whoever goes to sleep announces it and then looks here (compute_pool.hpp), and one of the two must see the
/// other's write. (tests/models/work_deque.pml)
///
/// Rejected: an array that grows. It must be kept as long as a thief may read it; and forks nest as deep as recursion
/// does, so a full deque says that there is work for everybody: push declines, and the owner does it at once.
///
/// Affinity: push and pop the owner's thread; steal and looks_empty any.
/// Limits:   `capacity` items; push declines.
/// Source:   Chase and Lev, "Dynamic circular work-stealing deque", 2005; memory orders after Le, Pop, Cohen and Zappa
///           Nardelli, "Correct and efficient work-stealing for weak memory models", 2013.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace skerry::detail {

template <class T, std::size_t Capacity = 1024>
class work_deque {
 public:
  static constexpr std::size_t capacity = Capacity;
  static_assert((Capacity & (Capacity - 1)) == 0, "a power of two, so that an index is a mask away");

  work_deque() noexcept = default;
  work_deque(const work_deque&) = delete;
  work_deque& operator=(const work_deque&) = delete;

  /// False: it is full.
  [[nodiscard]] bool push(T& item) noexcept {
    const std::int64_t b = bottom_.load(std::memory_order_relaxed);
    if (b - top_seen_ >= static_cast<std::int64_t>(Capacity)) [[unlikely]] {
      top_seen_ = top_.load(std::memory_order_acquire);
      if (b - top_seen_ >= static_cast<std::int64_t>(Capacity)) return false;
    }
    slot(b).store(&item, std::memory_order_relaxed);
    bottom_.store(b + 1, std::memory_order_seq_cst);
    return true;
  }

  /// The latest; null when there is none.
  T* pop() noexcept {
    const std::int64_t b = bottom_.load(std::memory_order_relaxed) - 1;
    bottom_.store(b, std::memory_order_seq_cst);
    std::int64_t t = top_.load(std::memory_order_seq_cst);
    if (t < b) [[likely]]
      return slot(b).load(std::memory_order_relaxed);
    T* last = nullptr;
    if (t == b) {
      last = slot(b).load(std::memory_order_relaxed);
      if (!top_.compare_exchange_strong(t, t + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) last = nullptr;
    }
    bottom_.store(b + 1, std::memory_order_relaxed);
    return last;
  }

  /// The oldest; null when there is none, or another thread was faster.
  T* steal() noexcept {
    std::int64_t t = top_.load(std::memory_order_seq_cst);
    const std::int64_t b = bottom_.load(std::memory_order_seq_cst);
    if (t >= b) return nullptr;
    T* oldest = slot(t).load(std::memory_order_relaxed);
    if (!top_.compare_exchange_strong(t, t + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) return nullptr;
    return oldest;
  }

  /// Whether it was, at some moment since the call.
  bool looks_empty() const noexcept {
    const std::int64_t t = top_.load(std::memory_order_seq_cst);
    return t >= bottom_.load(std::memory_order_seq_cst);
  }

 private:
  std::atomic<T*>& slot(std::int64_t index) noexcept {
    return slots_[static_cast<std::size_t>(index) & (Capacity - 1)];
  }

  // Thieves write this line, the owner the next one.
  alignas(64) std::atomic<std::int64_t> top_{0};
  alignas(64) std::atomic<std::int64_t> bottom_{0};
  std::int64_t top_seen_ = 0;  // owner's: top is this or more
  alignas(64) std::array<std::atomic<T*>, Capacity> slots_{};
};

}  // namespace skerry::detail
