// SPDX-License-Identifier: Apache-2.0
#pragma once

/// ring: items in the order they came, in storage that is taken once and grows only when told to.
///
/// Rejected: std::deque, which allocates and frees a block every 512 bytes that pass through it.
///
/// Affinity:   one shard.
/// Invariants: slots from `first_` to `end_`, counted without wrapping, hold items; the others are raw memory.
/// Limits:     `slot_count`, a power of two.

#include <skerry/framework/assert.hpp>

#include <bit>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace skerry::detail {

template <class T>
class ring {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T>, "an item must move without throwing, or it could get lost");

  /// Room for at least `capacity` items. Throws std::bad_alloc.
  explicit ring(std::size_t capacity)
      : slots_(std::allocator<T>().allocate(std::bit_ceil(capacity))), mask_(std::bit_ceil(capacity) - 1) {}
  ~ring() {
    while (!empty()) drop();
    std::allocator<T>().deallocate(slots_, slot_count());
  }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  bool empty() const noexcept { return first_ == end_; }
  std::size_t size() const noexcept { return end_ - first_; }
  std::size_t slot_count() const noexcept { return mask_ + 1; }

  void push(T&& item) noexcept {
    SKERRY_ASSERT(size() <= mask_, "a ring takes as many items as it has slots");
    std::construct_at(&slots_[end_++ & mask_], std::move(item));
  }
  /// The oldest item; it stays, in a slot to be given up with `drop`.
  T& front() noexcept { return (*this)[0]; }
  void drop() noexcept {
    SKERRY_ASSERT(!empty(), "a ring gives up what is in it");
    std::destroy_at(&slots_[first_++ & mask_]);
  }
  /// The item that came `index` after the oldest.
  T& operator[](std::size_t index) noexcept {
    SKERRY_ASSERT(index < size(), "a ring gives what is in it");
    return slots_[(first_ + index) & mask_];
  }
  /// Twice the slots. Throws std::bad_alloc.
  void grow() {
    ring larger(2 * slot_count());
    for (; !empty(); drop()) larger.push(std::move(front()));
    std::swap(slots_, larger.slots_);
    std::swap(mask_, larger.mask_);
    first_ = std::exchange(larger.first_, 0);
    end_ = std::exchange(larger.end_, 0);
  }

 private:
  T* slots_;
  std::size_t mask_;
  std::size_t first_ = 0;
  std::size_t end_ = 0;
};

}  // namespace skerry::detail
