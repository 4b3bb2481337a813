// SPDX-License-Identifier: Apache-2.0
#pragma once

/// byte_pool: blocks of bytes for what waits to be sent, in sizes from 512 bytes to 256 KiB, and `byte_queue` on top.
///
/// A connection holds a block only while bytes wait, so an idle one holds none. Free blocks are kept for the next user,
/// last in, first out; what is over goes back to malloc.
///
/// Affinity:   home shard.
/// Invariants: a free block is poisoned under ASan.
/// Limits:     a block holds at most 256 KiB; free blocks together at most `kept_bytes_max` (default 4 MiB). What is in
///             use is bounded by the streams' high-water marks.

#include <skerry/framework/assert.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace skerry::net {

class byte_pool {
 public:
  static constexpr std::size_t block_bytes_min = 512;
  static constexpr std::size_t block_bytes_max = 256 * 1024;

  explicit byte_pool(std::size_t kept_bytes_max = std::size_t{4} << 20) noexcept : kept_bytes_max_(kept_bytes_max) {}
  ~byte_pool();
  byte_pool(const byte_pool&) = delete;
  byte_pool& operator=(const byte_pool&) = delete;

  /// A block of at least `bytes`; its real size is the next power of two. Throws std::bad_alloc.
  std::span<std::byte> allocate(std::size_t bytes);
  void release(std::span<std::byte> block) noexcept;

  std::size_t bytes_in_use() const noexcept { return bytes_in_use_; }

 private:
  struct free_block {
    free_block* next;
  };
  free_block*& free_of(std::size_t block_bytes) noexcept {
    return free_[static_cast<std::size_t>(std::countr_zero(block_bytes / block_bytes_min))];
  }

  std::array<free_block*, std::bit_width(block_bytes_max / block_bytes_min)> free_{};
  std::size_t kept_bytes_ = 0;
  std::size_t kept_bytes_max_;
  std::size_t bytes_in_use_ = 0;
};

/// This shard's pool; made on first use.
byte_pool& this_bytes();

/// Bytes appended at the end and dropped from the front, contiguous, in one block.
class byte_queue {
 public:
  byte_queue() noexcept = default;
  ~byte_queue() { SKERRY_ASSERT(block_.empty(), "a byte_queue is released to its pool before it goes away"); }
  byte_queue(const byte_queue&) = delete;
  byte_queue& operator=(const byte_queue&) = delete;

  bool empty() const noexcept { return begin_ == end_; }
  std::size_t size() const noexcept { return end_ - begin_; }
  std::span<const std::byte> bytes() const noexcept { return block_.subspan(begin_, size()); }

  /// Appends; grows up to block_bytes_max. Throws std::bad_alloc.
  void append(byte_pool& pool, std::span<const std::byte> more);
  /// Drops from the front; gives the block back when nothing is left.
  void consume(byte_pool& pool, std::size_t bytes) noexcept;
  void clear(byte_pool& pool) noexcept { consume(pool, size()); }
  void swap(byte_queue& other) noexcept;

 private:
  std::span<std::byte> block_;
  std::uint32_t begin_ = 0;
  std::uint32_t end_ = 0;
};

}  // namespace skerry::net
