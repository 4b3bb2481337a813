// SPDX-License-Identifier: Apache-2.0
#pragma once

/// reactor: the loop of one shard.
///
/// The rule it enforces: everything on a shard runs in one of these phases, one after the other, in one thread, and
/// none of them blocks but `wait`.
///
///     run_once()          tasks -> poll -> flush -> wake targets -> one kernel entry
///     announce_sleep()    tell the neighbours that a wake-up is needed from now on
///     look_again()        did something arrive before they could know?
///     wait()              sleep until the next deadline; submits what is queued in the same kernel entry, which
///                         run_once leaves to it when nothing is ready
///
/// A thread's loop calls run_once, and `idle()` when nothing is ready: spin, or the last three. A simulator calls the
/// phases itself, with other shards' steps in between.
///
/// A busy shard answers its neighbours: a ring of the doorbell ends the task phase after the present step. Completions
/// end it when the clock is read next (10 us at the latest while tasks are short) and `completion_batch` tasks have
/// run, or tasks would be served one by one with a kernel entry each. The task budget ends it in any case.
///
/// Affinity:   made anywhere, then attached to one thread; everything else there.
/// Ownership:  owns run queue, frame pool and root scope; pollers and backend belong to the shard that assembles them.
/// Invariants: (1) `shard().now` never goes back; (2) after `announce_sleep` returned true, exactly one sender of any
///             number pays for a wake-up.
/// Limits:     none of its own; a turn asks every poller, so a layer adds one.

#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/reactor/doorbell.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/this_shard.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

namespace skerry {

struct reactor_options {
  std::chrono::microseconds task_budget{500};  ///< how long tasks may run before everything else gets a look
  std::chrono::microseconds idle_spin{0};      ///< how long an idle shard looks for work before it sleeps
  bool park = true;                            ///< false: never sleeps
};

/// What a reactor has done since its start.
struct reactor_stats {
  std::uint64_t turns = 0;           ///< each polls once
  std::uint64_t tasks_run = 0;       ///< steps of tasks; asked by a task, as of the last look at the clock
  std::uint64_t sleeps = 0;          ///< times the shard slept
  std::uint64_t wakes_received = 0;  ///< sleeps that another shard or the outside ended
  std::uint64_t unseen_errors = 0;   ///< exceptions of spawned tasks that nobody awaited
  std::chrono::nanoseconds idle{0};  ///< time asleep
  std::chrono::nanoseconds uptime{0};
};

class reactor {
 public:
  static constexpr unsigned completion_batch = 64;
  static constexpr std::chrono::microseconds flush_interval{10};

  /// `core` is the shard's anchor: the reactor fills in what it owns; the caller has set id, count, time and random.
  reactor(shard_core& core, backend& kernel, const reactor_options& options);
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;

  /// Adds a poller behind those that are there; phases call them in this order.
  void add(poller& p) { pollers_.push_back(&p); }
  void remove(poller& p) noexcept {
    SKERRY_ASSERT(std::erase(pollers_, &p) == 1, "only a poller that was added can be removed");
  }

  /// True when more is ready.
  bool run_once() noexcept;
  /// Spins, or sleeps through the three phases below.
  void idle() noexcept;
  [[nodiscard]] bool announce_sleep() noexcept { return bell_.announce_sleep(); }
  /// True when there is work after all.
  bool look_again() noexcept;
  void wait() noexcept;

  /// The bits that were rung before the first poller of this phase asked; the mailboxes look into these inboxes.
  std::uint64_t rung() noexcept {
    if (!std::exchange(bits_taken_, true)) rung_ = bell_.take();
    return rung_;
  }
  doorbell& bell() noexcept { return bell_; }
  backend& kernel() noexcept { return kernel_; }
  const backend& kernel() const noexcept { return kernel_; }
  const frame_pool& frames() const noexcept { return frames_; }
  const reactor_options& options() const noexcept { return options_; }
  reactor_stats stats() const noexcept;

  /// For a poller's flush: whether what it has may wait for more. True while tasks are ready that may add to it, for
  /// `flush_interval` after the last flush.
  bool may_hold_back() noexcept {
    if (ready_.empty() || core_.now - last_flush_ >= flush_interval) return false;
    return held_back_ = true;
  }
  bool need_preempt() noexcept;
  void report_unseen(const char* task_name, const std::exception_ptr& error) noexcept;

 private:
  void run_ready() noexcept;
  template <bool Traced>
  void run_slice(run_queue::turn t) noexcept;
  void tick(run_queue::turn t) noexcept;
  void read_clock() noexcept;
  clock::time_point next_deadline() noexcept;
  bool spin() noexcept;

  shard_core& core_;
  backend& kernel_;
  reactor_options options_;
  doorbell bell_;
  frame_pool frames_;
  run_queue ready_;
  scope root_;
  resource_table resources_;
  std::vector<poller*> pollers_;  // may change while one of them polls: a message makes or drops what has one

  std::uint64_t rung_ = 0;
  bool bits_taken_ = false;
  unsigned steps_this_phase_ = 0;  // as of the last tick
  bool phase_over_ = false;        // as of the last tick: completions wait, or what a poller has held back
  bool held_back_ = false;
  clock::time_point last_flush_{};
  // The clock costs as much as several tasks, so it is read after a number of steps that should take clock_interval.
  unsigned steps_until_clock_ = 1;
  unsigned steps_between_clock_ = 1;
  unsigned preempt_calls_ = 0;
  clock::time_point last_tick_{};
  clock::time_point slice_end_{};
  clock::time_point started_{};
  reactor_stats stats_;
};

}  // namespace skerry
