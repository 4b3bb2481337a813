// SPDX-License-Identifier: Apache-2.0
#pragma once

/// stall_detector: says which task has kept its shard's CPU for too long, and where it was.
///
///     skerry::app app("importer", "reads what others have written", "1.0");
///     stall_flag stalls(app.options());                          // --stall-threshold, 25 ms unless given
///     const int status = app.run(argc, argv, [&]() -> task<> {
///       co_await stalls.watch();                                 // every shard, from here on
///       co_await greet_everybody();
///     });
///
/// The kernel sends the shard's thread a signal for every half of the threshold in CPU time that it uses, so a shard
/// that sleeps is never woken by this. When two signals in a row find the same step, the task phase is to end after it;
/// when three do, the handler notes the call stack, and the shard logs it with the task's name after the step.
///
///     warning shard 1: task "import" kept the CPU for more than 25 ms in one step; parse_row(std::string_view); …
///
/// Not seen: a step that blocks in the kernel (it uses no CPU time), and functions that a message runs in the poll
/// phase. Where others load the same CPU a step may be a few times as long before it is: the kernel looks at a thread's
/// time when its clock ticks. Not for simulation: what it measures is real.
///
/// Affinity:   one shard, as a resource of it. The handler runs on the shard's thread, and touches what that alone
///             writes.
/// Ownership:  ends with the shard's resources.
/// Errors:     startup_error for a threshold that is no threshold. A kernel that gives no timer is a warning.
/// Limits:     one line in a second, the others are counted; call stacks of at most 32 functions.
/// Takes:      the signal SIGRTMIN + 4.
/// Units:      CPU time of the thread.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/command_line.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <signal.h>
#include <time.h>

namespace skerry {

class stall_detector final : private poller {
 public:
  static constexpr std::chrono::milliseconds default_threshold{25};
  static constexpr std::chrono::milliseconds threshold_min{1};

  /// Watches this shard.
  explicit stall_detector(std::chrono::nanoseconds threshold = default_threshold);
  ~stall_detector();

  /// Stalls so far.
  std::uint64_t total() const noexcept { return total_; }

 private:
  static void on_signal(int, siginfo_t* info, void*);
  [[gnu::noinline]] void look() noexcept;
  [[gnu::noinline]] void note_call_stack() noexcept;
  void poll() noexcept override {
    if (noted_.load(std::memory_order_relaxed)) [[unlikely]]
      log_it();
  }
  void log_it() noexcept;

  const shard_core& core_;
  std::chrono::nanoseconds threshold_;
  timer_t timer_{};
  bool has_timer_ = false;
  // The handler's: which step it saw last, how often, and what it noted of it. Ordered against the shard's own reads by
  // `noted_`, on one thread.
  std::uint64_t seen_step_ = 0;
  unsigned seen_times_ = 0;
  std::array<void*, 32> stack_{};
  std::size_t depth_ = 0;
  std::array<char, 64> task_{};
  std::atomic<bool> noted_{false};
  // The shard's.
  std::uint64_t total_ = 0;
  std::uint64_t unreported_ = 0;
  clock::time_point next_report_{};
  observe::registration shown_;
};

/// Makes a stall_detector on every shard that has none. A threshold of zero makes none.
task<> watch_for_stalls(std::chrono::nanoseconds threshold = stall_detector::default_threshold);

/// The option --stall-threshold.
class stall_flag {
 public:
  explicit stall_flag(command_line& line);
  stall_flag(const stall_flag&) = delete;
  stall_flag& operator=(const stall_flag&) = delete;

  /// As the command line says, once that has been read.
  task<> watch() const { return watch_for_stalls(threshold_); }

 private:
  std::chrono::nanoseconds threshold_ = stall_detector::default_threshold;
};

}  // namespace skerry
