// SPDX-License-Identifier: Apache-2.0
#pragma once

/// signals: SIGTERM and SIGINT as a request to stop; a second one ends the process at once with status 128 + n.
///
///     stop_signals guard;      // from here on both are held back, also where nobody would handle them (process 1)
///     guard.serve(running);    // those that came meanwhile, and all that come, stop this host
///
/// A stop must end even where no loop turns any more (a task keeps its CPU) or nobody reads the log: the first signal
/// sets an alarm (SIGALRM) a little past the drain deadline, which ends the process with status 2. SIGPIPE is ignored
/// from the first guard on: a write to a closed connection is an error result here.
///
/// Affinity: made and destroyed on the thread that runs the host, destroyed before it. The handler runs on any thread
///           and does what async-signal-safe code may: an atomic exchange, host::request_stop, alarm, _exit.
/// Limits:   one host at a time is served (asserted): signal handlers are the process's.

#include <signal.h>

namespace skerry {

class host;

class stop_signals {
 public:
  stop_signals();
  /// Puts handlers and mask back.
  ~stop_signals();
  stop_signals(const stop_signals&) = delete;
  stop_signals& operator=(const stop_signals&) = delete;

  void serve(host& served);

 private:
  sigset_t held_back_{};
  sigset_t old_mask_{};
  struct sigaction old_actions_[3]{};  // in the order in which they are taken
  bool serving_ = false;
};

}  // namespace skerry
