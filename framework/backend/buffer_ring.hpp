// SPDX-License-Identifier: Apache-2.0
#pragma once

/// buffer_ring: the receive buffers that the kernel may fill, as a ring of (address, length, number) entries.
///
/// The producer is the buffer pool; the consumer is whichever backend is in use. On io_uring the memory is shared with
/// the kernel, which keeps its own place in it; another backend reads the same entries from the first one on.
///
/// Affinity:   home shard.
/// Ownership:  the ring owns its entries' memory, not the buffers.
/// Invariants: at most `capacity` entries are provided and not taken.
/// Limits:     capacity a power of two, at most 32768 (the kernel's).

#include <skerry/framework/assert.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <linux/io_uring.h>

namespace skerry {

class buffer_ring {
 public:
  /// Its number in receive operations; a backend has one.
  static constexpr std::uint16_t group = 0;

  /// Throws std::bad_alloc.
  explicit buffer_ring(std::uint32_t capacity)
      : pages_(std::make_unique<page[]>((capacity * sizeof(io_uring_buf) + sizeof(page) - 1) / sizeof(page))),
        capacity_(capacity) {
    SKERRY_ASSERT(std::has_single_bit(capacity), "the kernel takes powers of two");
    SKERRY_ASSERT(capacity <= 32768, "the kernel takes at most 32768 buffers in a ring");
  }

  /// Lends one buffer; the kernel may fill it from now on.
  void provide(void* data, std::uint32_t bytes, std::uint16_t number) noexcept {
    io_uring_buf& entry = static_cast<io_uring_buf*>(memory())[tail_ & (capacity_ - 1)];
    // The first entry shares its last two bytes with the ring's tail, so the fields are written one by one.
    entry.addr = reinterpret_cast<std::uint64_t>(data);
    entry.len = bytes;
    entry.bid = number;
    // The kernel reads the tail with acquire inside the entry that follows on this thread; release costs nothing.
    __atomic_store_n(&static_cast<io_uring_buf_ring*>(memory())->tail, ++tail_, __ATOMIC_RELEASE);
  }

  /// For a backend that is its own consumer: the buffer to fill next, if there is one, and that it is taken.
  const io_uring_buf* front() const noexcept {
    return head_ == tail_ ? nullptr : &static_cast<const io_uring_buf*>(memory())[head_ & (capacity_ - 1)];
  }
  void pop() noexcept { ++head_; }

  std::uint32_t capacity() const noexcept { return capacity_; }
  void* memory() const noexcept { return pages_.get(); }

 private:
  struct alignas(4096) page {
    std::byte bytes[4096];
  };

  std::unique_ptr<page[]> pages_;
  std::uint32_t capacity_;
  std::uint16_t tail_ = 0;
  std::uint16_t head_ = 0;
};

}  // namespace skerry
