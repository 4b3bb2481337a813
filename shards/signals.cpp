// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/signals.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <string_view>

#include <poll.h>
#include <unistd.h>

namespace skerry {

namespace {

// The host that a signal stops: written by the guard (seq_cst), read by the handler on any thread. And whether one has
// come: exchanged by the handler (seq_cst), so that exactly one is the first.
constinit std::atomic<host*> served_host{nullptr};
constinit std::atomic<bool> signalled{false};

void on_signal(int number) {
  int saved = errno;
  if (signalled.exchange(true)) ::_exit(128 + number);
  if (host* served = served_host.load(); served != nullptr) {
    // What the deadline itself does takes up to a second: tasks are listed, the log is written.
    auto seconds = std::chrono::ceil<std::chrono::seconds>(served->options().drain_timeout).count();
    ::alarm(static_cast<unsigned>(seconds + 2));
    served->request_stop();
  }
  errno = saved;
}

void on_alarm(int) {
  constexpr std::string_view text = "the stop is overdue: a task keeps its CPU, or nobody reads this\n";
  pollfd error_output{2, POLLOUT, 0};
  if (::poll(&error_output, 1, 0) == 1) [[maybe_unused]]
    auto written = ::write(2, text.data(), text.size());
  ::_exit(2);
}

constexpr int taken[] = {SIGALRM, SIGTERM, SIGINT};

}  // namespace

stop_signals::stop_signals() {
  sigemptyset(&held_back_);
  sigaddset(&held_back_, SIGTERM);
  sigaddset(&held_back_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &held_back_, &old_mask_);
  signal(SIGPIPE, SIG_IGN);
}

void stop_signals::serve(host& served) {
  host* before = served_host.exchange(&served);
  SKERRY_ASSERT(before == nullptr, "one host of a process at a time is stopped by signals");
  serving_ = true;
  signalled.store(false);
  struct sigaction action{};
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < std::size(taken); ++i) {
    action.sa_handler = taken[i] == SIGALRM ? &on_alarm : &on_signal;
    sigaction(taken[i], &action, &old_actions_[i]);
  }
  // Whoever started us may have blocked them, too.
  pthread_sigmask(SIG_UNBLOCK, &held_back_, nullptr);
}

stop_signals::~stop_signals() {
  if (serving_) {
    if (signalled.load()) ::alarm(0);
    for (std::size_t i = 0; i < std::size(taken); ++i) sigaction(taken[i], &old_actions_[i], nullptr);
    served_host.store(nullptr);
  }
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

}  // namespace skerry
