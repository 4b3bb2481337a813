// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log_writer: turns the lines of a host's shards into text and writes it, on a thread of its own.
///
/// **A reactor never waits for the log.** What blocks (a slow terminal, a full pipe, a disk) blocks this thread, which
/// starts with the first line and has no wake-ups while the process is silent.
///
///   unstarted --first line: start()--> awake --nothing new since the last pass--> asleep
///                                        ^----------the next line: notify-----------|
///
/// Affinity:   constructor and destructor by whoever owns the host, with no shard running; the rest on any thread.
/// Ownership:  owns the channels and the thread.
/// Invariants: (1) lines of one shard are written in the order they were logged; (2) what was queued before the
///             destructor is written before it returns. Lines of different shards may swap places within a pass: their
///             stamps tell.
/// Limits:     one buffer of 64 KiB and a longest line, allocated with the thread.
/// Errors:     none reach the shard. If no thread can be started, lines wait for the next try or the destructor. A
///             descriptor that fails (closed pipe, full disk) loses these lines and is tried again with the next ones.

#include <skerry/framework/observe/log.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include <sched.h>

namespace skerry {

/// Where finished lines go: called with one or more whole lines, returns when they are written or lost, never throws.
/// By one thread at a time, which may be blocked for as long as it takes.
using log_sink = std::function<void(std::string_view lines)>;

/// Writes to a descriptor that it does not own, blocking or not.
struct descriptor_sink {
  int fd;
  bool torn = false;  // the last write ended within a line; the next begins with a line feed of its own

  void operator()(std::string_view lines) noexcept;
};

class log_writer {
 public:
  /// A channel for each of `shards`; writes to descriptor 2 unless told otherwise.
  explicit log_writer(log_settings settings, shard_id shards, log_sink sink = descriptor_sink(2));
  log_writer(const log_writer&) = delete;
  log_writer& operator=(const log_writer&) = delete;
  /// Writes everything queued, for as long as the destination takes.
  ~log_writer();

  log_channel& channel(shard_id shard) noexcept { return channels_[shard]; }

  /// A line was pushed into a channel.
  void line_queued() noexcept;
  /// Renders and writes a line on this thread, which may therefore block.
  void write_now(const log_record& record) noexcept;

  /// Waits until everything queued before the call is written; false if `patience` ran out first. For the moment before
  /// `_exit`, when destructors will not run. Blocks: not for a reactor that has work.
  bool flush(std::chrono::milliseconds patience) noexcept;

  /// Threads that run no shard log here from now on, until the writer ends. One writer of a process does this; without
  /// one their lines go to descriptor 2 as text.
  void serve_other_threads() noexcept;

 private:
  friend void detail::log_line(log_level, fmt::string_view, fmt::format_args) noexcept;

  void start() noexcept;
  void run() noexcept;
  void drain() noexcept;
  void drain(log_channel& channel) noexcept;
  void write_batch() noexcept;

  const log_settings settings_;
  const log_sink sink_;
  std::mutex sink_mutex_;  // taken by the writer and by threads that run no shard, so waiting for it is allowed
  std::deque<log_channel> channels_;
  cpu_set_t cpus_{};  // where the constructing thread may run: the writer must not inherit a reactor's pinning
  std::thread thread_;
  std::string batch_;  // the consumer's: rendered lines not yet written

  // state_: bits, set by shards and the destructor, cleared by the writer before a pass; it sleeps while only `asleep`
  // is set. seq_cst with log_channel::published_: a shard that still reads `news` published before the writer cleared
  // it, and the writer looks for lines after that. Every line logged reads this cache line.
  enum bits : std::uint32_t { news = 1, asleep = 2, unstarted = 4, ending = 8 };
  alignas(64) std::atomic<std::uint32_t> state_{unstarted};

  // Passes that flush() asked for and the latest of them that is done, under the mutex.
  alignas(64) std::mutex passes_;
  std::uint64_t asked_ = 0, passed_ = 0;
  std::condition_variable passed_changed_;
};

}  // namespace skerry
