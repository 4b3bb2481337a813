// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/signals.hpp>

#include <atomic>
#include <cerrno>

#include <unistd.h>

namespace skerry {

namespace {

// served: the host that a signal stops; written by the guard (seq_cst), read by the handler on any thread. signalled:
// whether one has come; exchanged by the handler, so that exactly one signal is the first.
constinit std::atomic<host*> served_host{nullptr};
constinit std::atomic<bool> signalled{false};

void on_signal(int number) {
  int saved = errno;
  if (signalled.exchange(true)) ::_exit(128 + number);
  if (host* served = served_host.load(); served != nullptr) served->request_stop();
  errno = saved;
}

}  // namespace

stop_signals::stop_signals(host& served) {
  host* none = nullptr;
  bool first = served_host.compare_exchange_strong(none, &served);
  SKERRY_ASSERT(first, "one host of a process at a time is stopped by signals");
  signalled.store(false);
  struct sigaction action{};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &old_term_);
  sigaction(SIGINT, &action, &old_int_);
  signal(SIGPIPE, SIG_IGN);
}

stop_signals::~stop_signals() {
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGINT, &old_int_, nullptr);
  served_host.store(nullptr);
}

}  // namespace skerry
