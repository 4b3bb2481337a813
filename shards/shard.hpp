// SPDX-License-Identifier: Apache-2.0
#pragma once

/// shard: one thread's reactor with its wheel, mailboxes and buffers, put together.
///
/// Affinity:   made by the host; `start`, `run` and `stop` on the shard's own thread.
/// Ownership:  owns everything of the shard but the backend, which the host made early to find out whether it can.
/// Invariants: (1) the parts are made before any shard runs, so a neighbour may ring at any time; (2) between start and
///             stop the thread's `this_shard()` is this one.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/mailbox.hpp>
#include <skerry/timers/timer.hpp>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace skerry {

/// Something that has to finish what it serves before the shard may end (listeners, streams).
class drainable {
 public:
  /// Take in nothing new; let what is in flight finish. Called once.
  virtual void begin_drain() noexcept = 0;
  /// Whether nothing that was accepted is left.
  virtual bool drained() const noexcept = 0;
  /// Whether nothing at all is left: the shard's loop may stop.
  virtual bool empty() const noexcept = 0;

 protected:
  ~drainable() = default;
};

/// Something that runs until the end of the app unless it is stopped before (sharded<T>).
class service {
 public:
  virtual ~service() = default;
  virtual task<> stop() = 0;
};

/// Everything one shard counts, as plain data.
struct shard_stats {
  using crosses_shards = shard_stats;
  shard_id id = 0;
  reactor_stats loop;
  backend_stats kernel;
  std::size_t tasks = 0;  ///< in the root scope now
  std::uint64_t tasks_started = 0;
  std::size_t timers = 0;  ///< armed now
  std::uint64_t timers_expired = 0;
  std::size_t frames_in_use = 0;
  std::size_t frame_bytes_reserved = 0;
  buffer_pool_stats buffers;
  std::size_t messages_outstanding = 0;
  std::uint64_t messages_sent = 0;        ///< to other shards
  std::vector<pair_stats> received_from;  ///< by sender
  std::uint64_t log_lines_dropped = 0;
};

class shard final : private poller {
 public:
  shard(host& owner, shard_id id, shard_id count, backend& kernel, clock_source& time, std::uint64_t seed,
        const reactor_options& options);

  /// Connects the mailboxes; `peers` are all reactors of the host.
  void connect(detail::queue_matrix& queues, const std::vector<reactor*>& peers) {
    boxes_ = std::make_unique<detail::mailboxes>(core_, queues, peers);
  }
  /// Makes the calling thread this shard. Throws std::system_error.
  void start(log_channel& log);
  /// Turns until `exit_when_flushed` was called and everything is out.
  void run() noexcept;
  void stop() noexcept;

  reactor& loop() noexcept { return reactor_; }
  scope& control() noexcept { return control_; }
  shard_stats stats() const;
  /// Records what happens here from now on and keeps the latest `events`, a power of two.
  observe::trace_buffer& start_trace(std::size_t events = observe::trace_buffer::default_capacity);
  /// What was recorded stays readable until the next start.
  void stop_trace() noexcept { core_.trace = nullptr; }

  /// The loop ends after this turn's messages are out.
  void exit_when_flushed() noexcept { exiting_ = true; }

  void add_drainable(drainable& d) { drainables_.push_back(&d); }
  void remove_drainable(drainable& d) noexcept { std::erase(drainables_, &d); }
  void begin_drain() noexcept;
  bool draining() const noexcept { return draining_; }
  /// A drainable's answer has changed.
  void drain_progressed() noexcept { drain_progress_->set(); }
  /// Waits until all drainables say that it is so.
  task<> until_drained(bool (drainable::*is_so)() const noexcept);

  /// Kept until remove_service or the end of the app, which stops the last added first.
  service& add_service(std::unique_ptr<service> added) { return *services_.emplace_back(std::move(added)); }
  void remove_service(service& stopped) noexcept {
    std::erase_if(services_, [&](const auto& each) { return each.get() == &stopped; });
  }
  task<> stop_services();

 private:
  void poll() noexcept override;
  /// Registers everything that stats() gives.
  void publish();

  host& host_;
  shard_core core_;
  random_source random_;
  reactor reactor_;
  timers::timer_service timers_;
  std::unique_ptr<detail::mailboxes> boxes_;
  scope control_;
  std::vector<drainable*> drainables_;
  std::vector<std::unique_ptr<service>> services_;
  std::optional<event> drain_progress_;  // made on the shard's thread
  bool draining_ = false;
  bool exiting_ = false;
  observe::registry metrics_;
  std::vector<observe::registration> published_;
  std::unique_ptr<observe::trace_buffer> trace_;
};

/// The shard of this thread, as its assembler sees it.
shard& this_assembled_shard() noexcept;
/// What this shard has counted since its start. Another shard's: `co_await submit_to(s, [] { return stats(); })`.
inline shard_stats stats() { return this_assembled_shard().stats(); }

}  // namespace skerry
