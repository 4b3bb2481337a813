// SPDX-License-Identifier: Apache-2.0
#pragma once

/// process_signals: the signals of one simulated host, which is a process whose threads are its shards.
///
///     sent (host_handle::signal, kill) --nobody wants it--> ignored       a second one of its number --> merged
///                 '--> a shard that does not block it, drawn; it wakes --its turn--> handler of sigaction
///     to one shard (raise, tgkill) ----^                                    |------> what `app` does: a stop, an end
///                                                                           '------> the process ends at once
///
/// A handler runs at the next point where its shard may lose its turn, on that shard's stack, with its number blocked
/// meanwhile, and may itself be interrupted by others. A signal that a shard sends to its own process is handled before
/// kill() returns when that shard was drawn, or when no other could take it, as POSIX has it.
///
/// What is done with each, in the order in which it is looked at:
///
///     SIGKILL                           the process ends, status 137
///     SIGTERM, SIGINT                   as `app`: a stop; the second ends the process, status 128 + n
///     SIGALRM                           as `app`: its stop is overdue, status 2
///     a handler, or SIG_IGN             as sigaction said; SIGPIPE is ignored, as `app` has it
///     SIGCHLD SIGURG SIGWINCH SIGCONT   nothing
///     SIGSTOP SIGTSTP SIGTTIN SIGTTOU   a violation: nothing simulates a stopped process
///     all others                        the process ends, status 128 + n
///
/// Those of faults (SIGSEGV, SIGABRT and their like) that a program raises itself are the real process's: it has found
/// a bug, and the simulation should stop where a debugger sees it.
///
/// Affinity:   the simulator's thread; deliver() and what programs call in the turn of the shard.
/// Invariants: a number is pending once for the process and once per shard; what is pending is gone when the host is.
/// Limits:     real-time signals merge, too, and carry no value.

#include <array>
#include <csignal>
#include <cstdint>

#include <sys/types.h>

namespace skerry::sim {
class machine;
}

namespace skerry::sim::detail {

class shard_runner;

/// Of one shard: bits by number, the first for 1.
struct thread_signals {
  std::uint64_t to_it = 0;       ///< pending for it alone
  std::uint64_t of_process = 0;  ///< pending for the process, and it is to take them
  std::uint64_t blocked = 0;
  std::uint64_t ready() const noexcept { return (to_it | of_process) & ~blocked; }
};

class process_signals {
 public:
  static constexpr int last = 64;

  explicit process_signals(machine& of) noexcept : of_(of) {}

  /// A process begins: nothing is pending, nothing was asked for.
  void begin() noexcept;
  /// It was asked to stop by other means: the next request is the second.
  void stop_requested() noexcept { stopping_ = true; }
  static bool ends_what_has_not_begun(int number) noexcept;

  /// Between turns: somebody sends it.
  void arrive(int number);

  // What programs call, in the turn of `by`; 0 or -errno.
  int kill(shard_runner& by, int number);
  int to_thread(shard_runner& by, shard_runner& target, int number);
  int set_action(int number, const struct sigaction* to, struct sigaction* before);
  int set_mask(shard_runner& by, int how, const sigset_t* set, sigset_t* before);

  /// In its turn: does what is pending for it.
  void deliver(shard_runner& to) noexcept;

 private:
  enum class effect : std::uint8_t { nothing, handler, graceful_stop, overdue_stop, suspension, end };
  struct sender {
    int code;
    pid_t process;
  };

  effect effect_of(int number) const noexcept;
  bool pending(int number);
  void send(int number, sender from);
  void assign(int number);
  void act(shard_runner& in, int number);
  void handle(shard_runner& in, int number);
  void end(shard_runner& in, int status, int number);

  machine& of_;
  std::array<struct sigaction, last + 1> actions_{};
  std::array<sender, last + 1> senders_{};
  std::uint64_t for_anybody_ = 0;  // of the process, while all shards block them
  bool stopping_ = false;
};

}  // namespace skerry::sim::detail
