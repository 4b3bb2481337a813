// SPDX-License-Identifier: Apache-2.0
#pragma once

/// stall_detector: says which task has kept its shard's CPU for too long, and where it was.
///
/// The kernel sends the shard's thread a signal for every half of the threshold in CPU time that it uses, so never to
/// one that sleeps. When two in a row find the same step, the task phase is to end after it; when three do, the handler
/// notes the call stack, and the shard logs it with the task's name after the step.
///
///     warning shard 1: task "import" kept the CPU for more than 25 ms in one step; parse_row(std::string_view); …
///
/// Not seen: a step that blocks in the kernel (it uses no CPU time), and functions that a message runs in the poll
/// phase.
///
/// Affinity:   one shard's thread, from start() to stop(). The handler runs on it, and touches what it alone writes.
/// Limits:     one line in a second, the others are counted; call stacks of at most 32 functions.
/// Takes:      the signal SIGRTMIN + 4.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/this_shard.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include <signal.h>
#include <time.h>

namespace skerry {

class stall_detector {
 public:
  /// Watches the calling thread; a threshold of zero watches nothing. Without a timer it warns and watches nothing.
  void start(const shard_core& core, std::chrono::nanoseconds threshold);
  void stop() noexcept;
  stall_detector() = default;
  ~stall_detector() { stop(); }
  stall_detector(const stall_detector&) = delete;
  stall_detector& operator=(const stall_detector&) = delete;

  /// Logs what the handler has noted since; called once per turn.
  void report() noexcept {
    if (noted_.load(std::memory_order_relaxed)) [[unlikely]]
      log_it();
  }
  std::uint64_t total() const noexcept { return total_; }

 private:
  static void on_signal(int, siginfo_t* info, void*);
  [[gnu::noinline]] void look() noexcept;
  void log_it() noexcept;

  const shard_core* core_ = nullptr;
  std::chrono::nanoseconds threshold_{0};
  timer_t timer_{};
  // The handler's: which step it saw last, how often, and what it noted of it. Ordered against the shard's own reads by
  // `noted_`, on one thread.
  std::uint64_t seen_step_ = 0;
  unsigned seen_times_ = 0;
  std::array<void*, 32> stack_{};
  int depth_ = 0;
  std::array<char, 64> task_{};
  std::atomic<bool> noted_{false};
  // The shard's.
  std::uint64_t total_ = 0;
  std::uint64_t unreported_ = 0;
  clock::time_point next_report_{};
};

}  // namespace skerry
