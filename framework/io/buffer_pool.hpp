// SPDX-License-Identifier: Apache-2.0
#pragma once

/// buffer_pool: the receive buffers of one shard, lent to the kernel and to readers in turn.
///
///     provided to the kernel --recv completion--> taken, shared by slices --last one goes--> provided again
///
/// The pool starts small and grows only when the kernel runs out. At the limit a receive ends with ENOBUFS: its
/// endpoint parks in `wait_for_buffer` and is told when one comes back. That is back-pressure, not an error.
///
/// Buffers lie `stride` apart, a little more than their size: a stride of a power of two would put the first lines of
/// all of them into one set of the L1 cache.
///
/// Affinity:   home shard.
/// Ownership:  the pool owns the memory; a `buffer` holds a reference to one slot.
/// Invariants: (1) a slot is either provided or referenced; (2) a provided slot is poisoned under ASan.
/// Limits:     `buffers_max` buffers of 8 KiB (16 MiB; fewer where RLIMIT_MEMLOCK is low); endpoints wait in turn.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/backend/buffer_ring.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/this_shard.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace skerry {

class backend;
class buffer_pool;

struct buffer_pool_stats {
  std::uint32_t buffers = 0;    ///< made so far
  std::uint32_t taken = 0;      ///< held by readers
  std::uint64_t exhausted = 0;  ///< times a receiver had to wait for a buffer
};

/// A run of received bytes, borrowed from the pool of this shard. Copies share the bytes; the last one gives them back.
/// Affinity: the shard that received it (asserted). 24 bytes, no allocation.
class buffer {
 public:
  buffer() noexcept = default;
  buffer(const buffer& other) noexcept;
  buffer(buffer&& other) noexcept : run_(std::exchange(other.run_, {})) {}
  buffer& operator=(buffer other) noexcept {
    std::swap(run_, other.run_);
    return *this;
  }
  ~buffer();

  std::byte* data() noexcept { return run_.data; }
  const std::byte* data() const noexcept { return run_.data; }
  std::size_t size() const noexcept { return run_.size; }
  bool empty() const noexcept { return run_.size == 0; }
  const std::byte* begin() const noexcept { return run_.data; }
  const std::byte* end() const noexcept { return run_.data + run_.size; }

  /// The same bytes from `offset`, at most `bytes` of them. Shares, copies nothing.
  buffer slice(std::size_t offset, std::size_t bytes) const noexcept {
    SKERRY_ASSERT(offset <= size(), "a slice lies inside its buffer");
    buffer part = *this;
    part.run_.data += offset;
    part.run_.size = static_cast<std::uint32_t>(std::min(bytes, size() - offset));
    return part;
  }

 private:
  friend class buffer_pool;
  struct run {
    buffer_pool* pool = nullptr;
    std::byte* data = nullptr;
    std::uint32_t size = 0;
    std::uint16_t slot = 0;
  };
  explicit buffer(const run& taken) noexcept : run_(taken) {}

  run run_;
};

/// Somebody who could not receive for lack of buffers.
class buffer_waiter : public detail::list_hook<buffer_waiter> {
 public:
  virtual void buffer_available() noexcept = 0;

 protected:
  ~buffer_waiter() = default;
};

class buffer_pool {
 public:
  static constexpr std::uint16_t group = buffer_ring::group;
  static constexpr std::uint32_t buffer_bytes = 8192;
  static constexpr std::uint32_t buffers_max = 2048;

  /// Fills the backend's ring, whose capacity may bound it below `buffers_max`. Throws std::bad_alloc.
  explicit buffer_pool(backend& kernel, const shard_core* home = detail::current_shard);
  ~buffer_pool();

  /// The buffer that a completion names, holding the `bytes` it received.
  buffer take(std::uint16_t number, std::uint32_t bytes) noexcept;
  /// Where the kernel goes on when it has filled this one, which was not given back since.
  std::uint16_t after(std::uint16_t number) const noexcept { return after_[number]; }
  /// The kernel had no buffer: true when more were provided (receive again), else `who` is told when one comes back.
  bool wait_for_buffer(buffer_waiter& who) noexcept;
  /// Called by a receiver that ends: if it was woken for a buffer and took none, the next one may.
  void pass_on() noexcept {
    if (!waiting_.empty() && taken_ < made_) waiting_.pop_front().buffer_available();
  }

  buffer_pool_stats stats() const noexcept { return {made_, taken_, exhausted_}; }

 private:
  friend class buffer;
  static constexpr std::uint32_t buffers_per_block = 16;
  static constexpr std::uint32_t buffers_per_growth_max = 128;
  static constexpr std::uint32_t stride = buffer_bytes + 64;
  struct alignas(64) block {
    std::byte bytes[buffers_per_block][stride];
  };

  std::byte* address_of(std::uint32_t number) noexcept {
    return blocks_[number / buffers_per_block]->bytes[number % buffers_per_block];
  }
  std::uint32_t& references_of(std::uint16_t number) noexcept {
    SKERRY_ASSERT(home_ == detail::current_shard, "a buffer is copied and dropped on the shard that received it");
    return references_[number];
  }
  void drop_reference(std::uint16_t number) noexcept {
    SKERRY_ASSERT(references_of(number) > 0, "a buffer is given back once");
    if (--references_[number] == 0) give_back(number);
  }
  void give_back(std::uint16_t number) noexcept;
  void provide(std::byte* data, std::uint16_t number) noexcept {
    after_[std::exchange(last_, number)] = number;
    ring_.provide(data, buffer_bytes, number);
  }
  bool grow() noexcept;

  buffer_ring& ring_;
  const shard_core* const home_;
  const std::uint32_t limit_;
  std::vector<std::unique_ptr<block>> blocks_;
  std::vector<std::uint32_t> references_;
  std::vector<std::uint16_t> after_;  // which one was provided behind each
  std::uint16_t last_ = 0;
  std::uint32_t made_ = 0;
  std::uint32_t taken_ = 0;
  std::uint64_t exhausted_ = 0;
  detail::intrusive_list<buffer_waiter, buffer_waiter> waiting_;
};

inline buffer::buffer(const buffer& other) noexcept : run_(other.run_) {
  if (run_.pool != nullptr) ++run_.pool->references_of(run_.slot);
}

inline buffer::~buffer() {
  if (run_.pool != nullptr) run_.pool->drop_reference(run_.slot);
}

}  // namespace skerry
