// SPDX-License-Identifier: Apache-2.0
#pragma once

/// signals: SIGTERM and SIGINT as a request to stop; a second one ends the process at once with status 128 + n.
///
/// Signal handlers are the process's, so at most one host at a time is served; SIGPIPE is ignored from the first guard
/// on, because a write to a closed connection is an error result here. As process 1 of a container, where signals
/// without a handler do nothing, this is what makes it stop.
///
/// Affinity: made and destroyed on the thread that runs the host. The handler runs on any thread and does what
///           async-signal-safe code may: an atomic exchange, host::request_stop, _exit.

#include <signal.h>

namespace skerry {

class host;

class stop_signals {
 public:
  /// Installs the handlers for `served`. Asserts that no other guard is alive.
  explicit stop_signals(host& served);
  /// Puts the old handlers back.
  ~stop_signals();
  stop_signals(const stop_signals&) = delete;
  stop_signals& operator=(const stop_signals&) = delete;

 private:
  struct sigaction old_term_{};
  struct sigaction old_int_{};
};

}  // namespace skerry
