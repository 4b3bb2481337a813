// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log: says what happens, without ever making a reactor wait.
///
///     skerry::log::info("listening on port {}", 6379);
///     skerry::log::warning("{} of {} connections refused", 3, 100);
///
///   shard                                          writer thread
///   format -> push: copy into the channel ------>  take -> render -> write
///          -> channel full: drop and count
///
/// A shard formats its message and copies it into its channel; stamps, escapes and field names are the work of the
/// host's `log_writer`. A thread that runs no shard writes its line before the call returns. A line below the host's
/// level costs a comparison, though its arguments have been evaluated.
///
/// A channel is a ring of bytes and no `boost::lockfree::spsc_queue`: lines differ in length by a factor of a hundred.
///
/// Affinity:   logging on any thread; `push` on the channel's shard, `take` on the writer, `dropped` anywhere.
/// Invariants: (1) consumed <= published <= consumed + capacity; (2) lines leave in the order they came; (3) a line is
///             in the channel whole or counted as dropped.
/// Limits:     4096 bytes per message, the rest is cut and the line says so; 64 KiB per channel, about 350 lines of 100
///             characters, and the next line that fits says how many are missing before it.
/// Errors:     none, and no throw: an argument that cannot be formatted makes a line that says so.

#include <skerry/framework/observe/log_record.hpp>
#include <skerry/framework/this_shard.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <fmt/core.h>

namespace skerry {

class log_writer;

/// A line taken out of a channel: the record and the bytes its views show.
struct taken_line {
  log_record record;
  std::array<char, log_task_max + log_message_max> bytes;
};

/// A shard's way to the log writer, which owns it.
class log_channel {
 public:
  /// `capacity` is a power of two and at least 8 KiB, so that the longest line fits an empty channel.
  log_channel(log_writer& writer, log_level level, shard_id shard, std::size_t capacity);
  log_channel(const log_channel&) = delete;
  log_channel& operator=(const log_channel&) = delete;
  ~log_channel() { SKERRY_ASSERT(empty(), "everything queued is written before the log ends"); }

  bool enabled(log_level level) const noexcept { return level >= level_; }
  log_writer& writer() const noexcept { return writer_; }
  /// How many lines were dropped.
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_acquire); }

  /// Queues the line and returns true, or drops and counts it and returns false.
  bool push(log_record record) noexcept;
  /// Takes the oldest line; false when there is none.
  bool take(taken_line& line) noexcept;
  /// Whether `take` would find nothing.
  bool empty() const noexcept { return consumed_.load(std::memory_order_acquire) == published_.load(); }

 private:
  friend class log_writer;

  /// Copy to or from the ring and return the position behind.
  std::uint64_t copy_in(std::uint64_t position, std::string_view from) noexcept;
  std::uint64_t copy_out(std::uint64_t position, char* to, std::size_t size) const noexcept;

  log_writer& writer_;
  const std::size_t capacity_;
  const std::unique_ptr<char[]> bytes_;
  const shard_id shard_;
  const log_level level_;

  // The producer's cache line. published_: bytes ever queued; the shard writes, the writer reads. It releases the
  // bytes, and seq_cst makes it pair with log_writer::state_: no line waits beside a sleeping writer.
  alignas(64) std::atomic<std::uint64_t> published_{0};
  std::uint64_t consumed_seen_ = 0;  // the shard's latest reading of consumed_, refreshed when the ring looks full
  // Lines ever dropped; the shard writes, anybody reads. release/acquire: who sees a drop sees every line before it.
  std::atomic<std::uint64_t> dropped_{0};

  // The consumer's. consumed_: bytes ever taken; the writer writes, the shard reads. release/acquire: the shard
  // overwrites bytes only after the writer has read them.
  alignas(64) std::atomic<std::uint64_t> consumed_{0};
  std::uint64_t reported_ = 0;  // drops that a written line has told about
};

namespace detail {

/// Names the running task, "" when none runs. Set once by whoever defines tasks, which the log must not know.
using task_name_hook = std::string_view (*)() noexcept;
extern constinit task_name_hook current_task_name;

void log_line(log_level level, fmt::string_view format, fmt::format_args args) noexcept;

template <log_level Level>
struct log_at {
  template <typename... Args>
  void operator()(fmt::format_string<Args...> format, Args&&... args) const noexcept {
    const shard_core* shard = current_shard;
    if (shard != nullptr && shard->log != nullptr && !shard->log->enabled(Level)) return;
    log_line(Level, format, fmt::make_format_args(args...));
  }
};

}  // namespace detail

namespace log {

/// For whoever looks for a fault.
inline constexpr detail::log_at<log_level::debug> debug{};
/// What an operator wants to read back later.
inline constexpr detail::log_at<log_level::info> info{};
/// Something went wrong and was dealt with.
inline constexpr detail::log_at<log_level::warning> warning{};
/// Something went wrong and somebody lost by it.
inline constexpr detail::log_at<log_level::error> error{};

}  // namespace log

}  // namespace skerry
