// SPDX-License-Identifier: Apache-2.0
#pragma once

/// host: the shards of one machine, and what they have in common: log, options, the queues between them, the stop.
///
/// Nothing here is process-global, so that several simulated machines fit in one process. A host runs once:
///
///     running --request_stop()--> draining --what was accepted is gone--> cancelling --root scopes empty--> stopped
///        '----main and all root scopes have ended (auto_shutdown)-------------^
///
///     draining      acceptors stop, streams give their readers an end of stream, requests in flight finish
///     cancelling    what is left in the root scopes is cancelled, services stop, streams close, messages come home
///     stopped       nothing is in flight anywhere; all loops end
///
/// One task in shard 0's control scope drives the stages and tells the shards by message. Past the drain deadline,
/// counted from the first stage, each shard lists the tasks it has left, and the process exits with status 2.
///
/// Affinity:   made, run and destroyed on one thread, which is shard 0 meanwhile; `request_stop` on any, also in a
///             signal handler.
/// Errors:     startup_error for what the machine refuses; run() rethrows what main throws. Once other threads run, a
///             shard that cannot start ends the process with status 1: the others cannot run without it.

#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/observe/log_writer.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/mailbox.hpp>
#include <skerry/shards/placement.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skerry {

class shard;
namespace sim {
class machine;
}
/// Opens the endpoint that --admin names, before main. net has it, and so has who links net; else it is null.
[[gnu::weak]] task<> open_admin_endpoint();

class host {
 public:
  /// Makes queues and shards, and backends where none are given (tests put faults between); nothing runs yet.
  host(const app_options& options, placement where, clock_source& time = kernel_clock(),
       std::vector<std::unique_ptr<backend>> backends = {});
  ~host();
  host(const host&) = delete;
  host& operator=(const host&) = delete;

  /// Runs `main` on shard 0, in this thread, and the other shards in threads of their own. Returns when everything has
  /// ended: by itself if `auto_shutdown`, else after request_stop.
  void run(const std::function<task<>()>& main, bool auto_shutdown);

  /// Begins the graceful stop. Idempotent; any thread, async-signal-safe.
  void request_stop() noexcept;
  bool stop_requested() const noexcept { return stop_requested_.load(std::memory_order_acquire); }

  const app_options& options() const noexcept { return options_; }
  const placement& where() const noexcept { return where_; }
  log_writer& log() noexcept { return log_; }
  /// Which backend was chosen and why, in a line; whether io_uring was refused.
  const std::string& backend_reason() const noexcept { return backend_reason_; }
  bool io_uring_refused() const noexcept { return io_uring_refused_; }

 private:
  friend class shard;
  friend class sim::machine;  // a simulator runs the shards in turns, in one thread

  void start(shard_id id);
  void run_first(const std::function<task<>()>& main, bool auto_shutdown);
  task<> control(const std::function<task<>()>& main, bool auto_shutdown);
  task<> drain();
  task<> end_everything();
  void run_thread(shard_id id) noexcept;
  /// Shard 0's doorbell was rung from outside.
  void noticed_outside() noexcept {
    if (stop_requested() && stop_) stop_->set();
  }

  app_options options_;
  placement where_;
  log_writer log_;
  std::string backend_reason_;
  bool io_uring_refused_ = false;
  std::shared_ptr<detail::queue_matrix> queues_;
  std::vector<std::unique_ptr<backend>> backends_;
  std::vector<std::unique_ptr<shard>> shards_;
  std::optional<event> stop_;  // what stop_requested_ is to tasks of shard 0
  std::exception_ptr main_error_;
  // Set by request_stop (release), read by shard 0 (acquire) after its doorbell rang.
  std::atomic<bool> stop_requested_{false};
};

}  // namespace skerry
