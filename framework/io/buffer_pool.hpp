// SPDX-License-Identifier: Apache-2.0
#pragma once

/// buffer_pool: the receive buffers of one shard, lent to the kernel and to readers in turn.
///
///     provided to the kernel --recv completion--> taken, shared by slices --last one goes--> provided again
///
/// The pool starts small and grows only when the kernel runs out, so an idle shard keeps a few warm buffers and a busy
/// one up to the limit. At the limit a receive ends with ENOBUFS: its endpoint parks in `wait_for_buffer` and is told
/// when one comes back. That is back-pressure, not an error.
///
/// Buffers lie `stride` apart, a little more than their size: a stride of a power of two would put the first lines of
/// all of them into one set of the L1 cache.
///
/// Affinity:   home shard.
/// Ownership:  the pool owns the memory; a `buffer` holds a reference to one slot.
/// Invariants: (1) a slot is either provided or referenced; (2) a provided slot is poisoned under ASan until it is
///             taken.
/// Limits:     `buffers_max` buffers of `buffer_bytes` (default 2048 of 8 KiB: 16 MiB; fewer where RLIMIT_MEMLOCK is
///             low); endpoints wait in turn.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/backend/buffer_ring.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace skerry {

class backend;
class buffer_pool;

struct buffer_pool_options {
  std::uint32_t buffer_bytes = 8192;
  std::uint32_t buffers_initial = 16;
  std::uint32_t buffers_max = 2048;
};

struct buffer_pool_stats {
  std::uint32_t buffers = 0;    ///< made so far
  std::uint32_t taken = 0;      ///< held by readers
  std::uint64_t exhausted = 0;  ///< times a receiver had to wait for a buffer
};

/// A run of received bytes, borrowed from the pool of this shard. Copies share the bytes; the last one gives them back.
/// Affinity: the shard that received it. 24 bytes, no allocation.
class buffer {
 public:
  buffer() noexcept = default;
  buffer(const buffer& other) noexcept;
  buffer(buffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        slot_(other.slot_) {}
  buffer& operator=(buffer other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~buffer();

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const std::byte* begin() const noexcept { return data_; }
  const std::byte* end() const noexcept { return data_ + size_; }

  /// The same bytes from `offset`, at most `bytes` of them. Shares, copies nothing.
  buffer slice(std::size_t offset, std::size_t bytes) const noexcept {
    SKERRY_ASSERT(offset <= size_, "a slice lies inside its buffer");
    buffer part = *this;
    part.remove_prefix(offset);
    if (bytes < part.size_) part.size_ = static_cast<std::uint32_t>(bytes);
    return part;
  }
  /// Drops the first bytes from this view.
  void remove_prefix(std::size_t bytes) noexcept {
    SKERRY_ASSERT(bytes <= size_, "cannot drop more bytes than there are");
    data_ += bytes;
    size_ -= static_cast<std::uint32_t>(bytes);
  }

 private:
  friend class buffer_pool;
  buffer(buffer_pool* pool, std::byte* data, std::uint32_t size, std::uint16_t slot) noexcept
      : pool_(pool), data_(data), size_(size), slot_(slot) {}

  buffer_pool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint16_t slot_ = 0;
};

struct buffer_waiter_tag;

/// Somebody who could not receive for lack of buffers.
class buffer_waiter : public detail::list_hook<buffer_waiter_tag> {
 public:
  virtual void buffer_available() noexcept = 0;

 protected:
  ~buffer_waiter() = default;
};

class buffer_pool {
 public:
  static constexpr std::uint16_t group = buffer_ring::group;

  /// Fills the backend's ring, whose capacity bounds `buffers_max`.
  buffer_pool(backend& kernel, const buffer_pool_options& options);
  ~buffer_pool();
  buffer_pool(const buffer_pool&) = delete;
  buffer_pool& operator=(const buffer_pool&) = delete;

  /// The buffer that a completion names, holding the `bytes` it received.
  buffer take(std::uint16_t number, std::uint32_t bytes) noexcept;
  /// The kernel had no buffer: true when more were provided (receive again at once), else `who` is told when one comes
  /// back.
  bool wait_for_buffer(buffer_waiter& who) noexcept;
  /// Called by a receiver that ends: if it was woken for a buffer and took none, the next one may.
  void pass_on() noexcept {
    if (!waiting_.empty() && taken_ < made_) waiting_.pop_front().buffer_available();
  }

  buffer_pool_stats stats() const noexcept { return {made_, taken_, exhausted_}; }
  std::uint32_t buffer_bytes() const noexcept { return options_.buffer_bytes; }

 private:
  friend class buffer;
  struct free_memory {
    void operator()(std::byte* memory) const noexcept;
  };
  static constexpr std::uint32_t buffers_per_block = 16;
  static constexpr std::uint32_t buffers_per_growth_max = 128;

  std::uint32_t stride() const noexcept { return options_.buffer_bytes + 64; }
  std::byte* address_of(std::uint16_t number) noexcept {
    return blocks_[number / buffers_per_block].get() + std::size_t{number % buffers_per_block} * stride();
  }
  void add_reference(std::uint16_t number) noexcept { ++references_[number]; }
  void drop_reference(std::uint16_t number) noexcept {
    SKERRY_ASSERT(references_[number] > 0, "a buffer is given back once");
    if (--references_[number] == 0) give_back(number);
  }
  void give_back(std::uint16_t number) noexcept;
  bool grow() noexcept;

  buffer_pool_options options_;
  buffer_ring& ring_;
  std::vector<std::unique_ptr<std::byte, free_memory>> blocks_;
  std::vector<std::uint32_t> references_;
  std::uint32_t made_ = 0;
  std::uint32_t taken_ = 0;
  std::uint64_t exhausted_ = 0;
  detail::intrusive_list<buffer_waiter, buffer_waiter_tag> waiting_;
};

inline buffer::buffer(const buffer& other) noexcept
    : pool_(other.pool_), data_(other.data_), size_(other.size_), slot_(other.slot_) {
  if (pool_ != nullptr) pool_->add_reference(slot_);
}

inline buffer::~buffer() {
  if (pool_ != nullptr) pool_->drop_reference(slot_);
}

}  // namespace skerry
