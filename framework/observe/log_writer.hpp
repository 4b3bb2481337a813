// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log_writer: turns the lines of a host's shards into text and writes it, on a thread of its own.
///
/// **A reactor never waits for the log.** It copies its line into its channel and, if the writer sleeps, wakes it; what
/// blocks (a slow terminal, a full pipe, a disk) blocks the writer's thread. The thread starts with the first line, so
/// a process that logs nothing has no such thread, and one that has logged and fell silent has no wake-ups.
///
///   unstarted --first line: start()--> awake --all channels empty: sleep()--> sleeping
///                                        ^------the next line: wake()-----------|
///   awake --~log_writer() asked--> one last pass, then the thread ends
///
/// Only the first line after a sleep pays for a wake. Going to sleep is announce, look once more, wait.
///
/// A batch is rendered into one buffer from all channels and leaves in one write: rendering separates the text from the
/// queues anyway, so gathering the pieces (`writev`) would only save what is already done.
///
/// In simulation, and where a test wants it, lines are delivered `at_once`: rendered and given to the sink by the
/// thread that logs. There is no thread then, no queue and nothing that depends on timing.
///
/// Affinity:   `open` by any thread, preferably the shard's own (the channel's memory is then local); `flush` by any;
///             constructor and destructor by whoever owns the host, with no shard running.
/// Ownership:  owns the channels and the thread; borrows the sink.
/// Invariants: (1) lines of one shard are written in the order they were logged; (2) what was queued before the
///             destructor is written before it returns. Lines of different shards may swap places within a batch: their
///             stamps tell.
/// Limits:     one batch buffer of 64 KiB and one longest line, allocated with the thread.
/// Errors:     none reach the shard. If no thread can be started the lines wait, the next line tries again, and the
///             destructor writes them. A descriptor that fails (closed pipe, full disk) loses these lines, counts their
///             bytes and is tried again with the next ones: logging is no reason to stop.

#include <skerry/framework/observe/log_channel.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include <sched.h>

namespace skerry {

/// Where finished lines go. A test or a simulated machine gives its own sink and keeps them.
class log_sink {
 public:
  /// Takes one or more whole lines, each ended by a line feed. Returns when they are written or lost. Called by one
  /// thread at a time, which may be blocked for as long as it takes.
  virtual void write(std::string_view lines) noexcept = 0;

  log_sink(const log_sink&) = delete;
  log_sink& operator=(const log_sink&) = delete;

 protected:
  log_sink() = default;
  ~log_sink() = default;
};

/// Writes to a descriptor that it does not own, blocking or not.
class descriptor_sink final : public log_sink {
 public:
  explicit descriptor_sink(int fd) noexcept : fd_(fd) {}

  void write(std::string_view lines) noexcept override;

  /// Bytes that the descriptor refused. Ask where nobody writes.
  std::uint64_t lost_bytes() const noexcept { return lost_bytes_; }

 private:
  std::size_t write_some(std::string_view bytes) noexcept;

  int fd_;
  bool torn_ = false;  // the last write ended within a line; the next begins with a line feed of its own
  std::uint64_t lost_bytes_ = 0;
};

class log_writer {
 public:
  enum class delivery : std::uint8_t { by_thread, at_once };

  /// Writes to descriptor 2 through a thread.
  explicit log_writer(log_settings settings = {}) : log_writer(settings, standard_error_) {}
  log_writer(log_settings settings, log_sink& sink, delivery how = delivery::by_thread);
  log_writer(const log_writer&) = delete;
  log_writer& operator=(const log_writer&) = delete;
  /// Writes everything queued, for as long as the destination takes.
  ~log_writer();

  const log_settings& settings() const noexcept { return settings_; }

  /// A channel for a shard; it lives as long as the writer.
  log_channel& open(shard_id shard, std::size_t capacity = log_channel::default_capacity);

  /// Takes a line from a channel's shard; it is written, queued or counted as dropped.
  void submit(log_channel& from, const log_record& record) noexcept;
  /// Renders and writes a line on this thread, which runs no shard and may therefore block.
  void write_now(const log_record& record) noexcept;

  /// Waits until everything queued before the call is written; false if `patience` ran out first. For the moment before
  /// `_exit`, when destructors will not run. Blocks: not for a reactor that has work.
  bool flush(std::chrono::milliseconds patience) noexcept;

  /// Threads that run no shard log here from now on, until the writer ends. One writer of a process does this; without
  /// one their lines go to descriptor 2 as text.
  void serve_other_threads() noexcept;

 private:
  enum state : std::uint32_t { unstarted, awake, sleeping };

  void line_queued() noexcept {
    if (state_.load(std::memory_order_seq_cst) != awake) [[unlikely]]
      wake();
  }
  void wake() noexcept;
  void start() noexcept;
  void run() noexcept;
  void drain() noexcept;
  void drain(log_channel& channel) noexcept;
  void write_batch() noexcept;
  bool anything_queued() const noexcept;

  const log_settings settings_;
  const delivery delivery_;
  descriptor_sink standard_error_{2};
  log_sink& sink_;
  std::mutex sink_mutex_;  // taken by the writer and by threads that run no shard, so waiting for it is allowed
  cpu_set_t cpus_;         // where the constructing thread may run: the writer must not inherit a reactor's pinning
  bool cpus_known_;
  std::thread thread_;
  std::string batch_;  // the consumer's: rendered lines not yet written

  // channels_: the newest channel, linked to the older ones. Written by open() (never removed), read by the writer.
  // seq_cst, as published_: a writer that missed a channel has announced its sleep before that channel's first line.
  std::atomic<log_channel*> channels_{nullptr};

  // state_: unstarted, awake, sleeping; the writer sleeps on it. Written by the writer (awake -> sleeping and back), by
  // one shard (unstarted -> awake) and by whoever wakes (sleeping -> awake; the exchange picks one payer). seq_cst, see
  // log_channel::published_. On a line of its own: every line logged reads it, and it rarely changes.
  alignas(64) std::atomic<std::uint32_t> state_{unstarted};

  // asked_: how many passes flush() asked for, or last_pass by the destructor. Read by the writer. seq_cst like a
  // published line, so that a sleeping writer is seen asleep.
  static constexpr std::uint64_t last_pass = ~std::uint64_t{0};
  alignas(64) std::atomic<std::uint64_t> asked_{0};

  // passed_: the latest of those passes that is done. Under the mutex, which the writer holds for an assignment.
  std::uint64_t passed_ = 0;
  std::mutex passed_mutex_;
  std::condition_variable passed_changed_;
};

}  // namespace skerry
