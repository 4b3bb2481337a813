// SPDX-License-Identifier: Apache-2.0
#pragma once

/// host: the shards of one machine, and what they have in common: log, options, the queues between them, the stop.
///
/// Nothing here is process-global, so that several simulated machines fit in one process. A host is started once:
///
///     starting --all shards run--> running --request_stop()--> draining --streams closed--> cancelling --roots empty--> stopped
///
///     draining      acceptors stop, streams give their readers an end of stream, requests in flight finish
///     cancelling    what is left in the root scopes is cancelled; services stop in reverse order of start
///     stopped       no message is in flight anywhere, then all loops end
///
/// The stages are driven by one task in shard 0's control scope, which tells the shards by message. Past the deadline the
/// tasks that are left are listed and the process exits with status 2.
///
/// Affinity:   made, run and destroyed on one thread, which becomes shard 0; `request_stop` and `abandon` on any, also in a signal handler.
/// Ownership:  owns shards, backends, queues and the log writer.
/// Errors:     startup_error for what the machine refuses.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/observe/log_writer.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/mailbox.hpp>
#include <skerry/shards/placement.hpp>

namespace skerry {

class shard;

/// How a run ended.
enum class stop_outcome { ended, drained, deadline_passed };

class host {
 public:
  /// Makes backends, queues and shards; nothing runs yet.
  host(const app_options& options, placement where, clock_source& time = kernel_clock());
  ~host();
  host(const host&) = delete;
  host& operator=(const host&) = delete;

  /// Runs `main` on shard 0 (this thread) and all shards until everything has ended, or a stop has. Rethrows what main
  /// throws, after the stop. With `auto_shutdown` the end of main and of all root scopes is the end; otherwise a stop is needed.
  stop_outcome run(std::function<task<>()> main, bool auto_shutdown);

  /// Begins the graceful stop. Idempotent; any thread, async-signal-safe.
  void request_stop() noexcept;
  bool stop_requested() const noexcept { return stop_requested_.load(std::memory_order_acquire); }

  shard_id size() const noexcept { return static_cast<shard_id>(shards_.size()); }
  shard& at(shard_id id) noexcept { return *shards_[id]; }
  const app_options& options() const noexcept { return options_; }
  const placement& where() const noexcept { return where_; }
  std::uint64_t seed() const noexcept { return seed_; }
  log_writer& log() noexcept { return log_; }

 private:
  task<> control(std::function<task<>()> main, bool auto_shutdown);
  task<> wait_until_quiet();
  task<> drain();
  task<> cancel_everything();
  void run_thread(shard_id id) noexcept;
  void list_tasks() noexcept;

  app_options options_;
  placement where_;
  std::uint64_t seed_;
  log_writer log_;
  std::unique_ptr<detail::queue_matrix, detail::free_queue_matrix> queues_;
  std::vector<std::unique_ptr<backend>> backends_;
  std::vector<std::unique_ptr<shard>> shards_;
  std::exception_ptr main_error_;
  stop_outcome outcome_ = stop_outcome::ended;
  // Written by request_stop (release), read by shard 0 (acquire) after its doorbell rang.
  std::atomic<bool> stop_requested_{false};
};

}  // namespace skerry
