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
///             destructor writes them.

#include <skerry/framework/observe/log_channel.hpp>
#include <skerry/framework/observe/log_sink.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include <sched.h>

namespace skerry {

class log_writer {
 public:
  enum class delivery : std::uint8_t { by_thread, at_once };

  /// Writes to descriptor 2 through a thread.
  explicit log_writer(log_settings settings = {});
  log_writer(log_settings settings, log_sink& sink, delivery how = delivery::by_thread);
  log_writer(const log_writer&) = delete;
  log_writer& operator=(const log_writer&) = delete;
  /// Writes everything queued, for as long as the destination takes.
  ~log_writer();

  const log_settings& settings() const noexcept { return settings_; }

  /// A channel for a shard; it lives as long as the writer.
  log_channel& open(shard_id shard, std::size_t capacity = log_channel::default_capacity);

  /// Takes a line from a channel's shard. False: dropped and counted.
  bool submit(log_channel& from, const log_record& record) noexcept;
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

  void line_queued() noexcept;
  void start() noexcept;
  void wake() noexcept;
  void run() noexcept;
  void sleep() noexcept;
  void drain() noexcept;
  void drain(log_channel& channel) noexcept;
  void write_batch() noexcept;
  void write_locked(std::string_view lines) noexcept;
  bool anything_queued() const noexcept;
  bool anything_asked() const noexcept;

  const log_settings settings_;
  const delivery delivery_;
  descriptor_sink standard_error_{2};
  log_sink& sink_;
  cpu_set_t cpus_;  // where the constructing thread may run: the writer must not inherit a reactor's pinning
  bool cpus_known_;
  std::thread thread_;
  std::string batch_;  // the consumer's: rendered lines not yet written

  // channels_: the newest channel, linked to the older ones. Written by open() (never removed), read by the writer.
  // seq_cst, as published_: a writer that missed a channel has announced its sleep before that channel's first line.
  std::atomic<log_channel*> channels_{nullptr};

  // state_: unstarted, awake, sleeping; also the futex the writer sleeps on. Written by the writer (awake -> sleeping
  // and back), by one shard (unstarted -> awake) and by whoever wakes (sleeping -> awake; the exchange picks one
  // payer). seq_cst, see log_channel::published_. On a line of its own: every line logged reads it, and it rarely
  // changes.
  alignas(64) std::atomic<std::uint32_t> state_{unstarted};

  // flush_wanted_: how many flushes were asked for; written by flush(), read by the writer. seq_cst like a published
  // line, so that a sleeping writer is seen asleep. flush_done_: the latest of them that is done, and the futex flush()
  // waits on; written by the writer, read by flush(). release/acquire: nothing but the number itself is passed.
  alignas(64) std::atomic<std::uint32_t> flush_wanted_{0};
  std::atomic<std::uint32_t> flush_done_{0};

  // stop_: set by the destructor, read by the writer. seq_cst for the same reason.
  std::atomic<bool> stop_{false};

  // sink_busy_: held while a thread is inside sink_.write. acquire/release hand the sink over. Only the writer and
  // threads that run no shard take it, so waiting for it is allowed.
  std::atomic_flag sink_busy_;
};

inline void log_writer::line_queued() noexcept {
  if (state_.load(std::memory_order_seq_cst) != awake) [[unlikely]]
    wake();
}

}  // namespace skerry
