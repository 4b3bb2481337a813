// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log_channel: a shard's way to the log writer; it never makes the shard wait.
///
///   shard (producer)                           writer thread (consumer)
///   push -> copy into the queue, publish --->  take -> render -> write
///        -> queue full: drop and count          space is free again
///
/// The queue is a ring of bytes: a header and the two texts of a line, split over the end where they fall. Stamps,
/// escapes and field names are the writer's work, so the shard pays for formatting its message and a copy. Bytes and
/// not `boost::lockfree::spsc_queue`: lines differ in length by a factor of a hundred.
///
/// Affinity:   `push`, `set_level` on the shard; `take`, `report_drops` on the writer; `dropped` anywhere.
/// Ownership:  the writer owns its channels; they live as long as it does.
/// Invariants: (1) consumed <= published <= consumed + capacity; (2) lines leave in the order they came; (3) a line is
///             in the queue whole or counted as dropped.
/// Limits:     64 KiB by default, about 450 lines of 100 characters; a line that does not fit is dropped and counted,
///             and the next line that gets through says how many are missing before it.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log_record.hpp>
#include <skerry/framework/this_shard.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace skerry {

class log_writer;

/// A line taken out of a channel: the record and the bytes its views show.
struct taken_line {
  log_record record;
  std::array<char, log_task_max + log_message_max> bytes;
};

class log_channel {
 public:
  static constexpr std::size_t default_capacity = 64 * 1024;

  /// `capacity` is a power of two and at least 8 KiB, so that the longest line fits an empty queue.
  log_channel(log_writer& writer, log_level level, shard_id shard, std::size_t capacity);
  log_channel(const log_channel&) = delete;
  log_channel& operator=(const log_channel&) = delete;

  /// Whether lines of this level are wanted.
  bool enabled(log_level level) const noexcept { return level >= level_; }
  void set_level(log_level level) noexcept { level_ = level; }
  shard_id shard() const noexcept { return shard_; }
  log_writer& writer() const noexcept { return writer_; }

  /// Queues the line and returns true, or drops and counts it and returns false.
  bool push(const log_record& record) noexcept;
  /// Takes the oldest line; false when there is none.
  bool take(taken_line& line) noexcept;
  /// Whether `take` would find nothing.
  bool empty() const noexcept { return consumed() == published(); }
  /// Where the newest line ends; `consumed()` reaches it when that line was taken.
  std::uint64_t published() const noexcept { return published_.load(std::memory_order_seq_cst); }
  std::uint64_t consumed() const noexcept { return consumed_.load(std::memory_order_acquire); }

  /// How many lines were dropped.
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_acquire); }
  /// How many of them no line has been written about; counts them as reported.
  std::uint64_t report_drops(std::uint64_t dropped_so_far) noexcept;

 private:
  friend class log_writer;
  struct header;

  /// Copy to or from the ring and return the position behind.
  std::uint64_t copy_in(std::uint64_t position, const void* from, std::size_t size) noexcept;
  std::uint64_t copy_out(std::uint64_t position, void* to, std::size_t size) const noexcept;

  // Read by both sides, written by neither once the channel is open (`level_`: the shard only).
  log_writer& writer_;
  log_channel* next_ = nullptr;  // the writer's list, complete before the channel is published
  const std::size_t capacity_;
  const std::unique_ptr<std::byte[]> bytes_;
  const shard_id shard_;
  log_level level_;

  // The producer's line: taking a line must not cost the shard a cache miss.
  //
  // published_: bytes ever queued. Written by the shard, read by the writer. seq_cst: the shard's store here and its
  // load of the writer's state pair with the writer's store of that state and its load here; one of them sees the
  // other, so no line waits beside a sleeping writer. It also releases the bytes.
  alignas(64) std::atomic<std::uint64_t> published_{0};
  std::uint64_t consumed_seen_ = 0;  // the shard's latest reading of consumed_, refreshed when the queue looks full
  // dropped_: lines ever dropped. Written by the shard, read by anybody. release/acquire: a writer that sees a drop
  // sees every line that was published before it.
  std::atomic<std::uint64_t> dropped_{0};

  // The consumer's line.
  //
  // consumed_: bytes ever taken. Written by the writer, read by the shard. release/acquire: the shard overwrites bytes
  // only after the writer has read them.
  alignas(64) std::atomic<std::uint64_t> consumed_{0};
  std::uint64_t reported_ = 0;  // drops that a written line has told about
};

}  // namespace skerry
