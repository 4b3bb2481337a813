// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/symbols.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/shards/stall_detector.hpp>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <execinfo.h>
#include <fmt/format.h>
#include <unistd.h>

namespace skerry {

void stall_detector::start(const shard_core& core, std::chrono::nanoseconds threshold) {
  if (threshold.count() == 0) return;
  core_ = &core;
  threshold_ = threshold;
  ::backtrace(stack_.data(), 1);  // the first call allocates, which the handler must not
  const int signal = SIGRTMIN + 4;
  struct sigaction action{};
  action.sa_sigaction = &on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigaction(signal, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal;
  event.sigev_value.sival_ptr = this;
  event._sigev_un._tid = ::gettid();
  if (::timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer_) != 0) {
    core_ = nullptr;
    return log::warning("stalls will not be seen: the kernel gives no timer ({}; see ulimit -i)", std::strerror(errno));
  }
  const auto half = (threshold / 2).count();
  const timespec period{half / 1'000'000'000, half % 1'000'000'000};
  const itimerspec every{period, period};
  ::timer_settime(timer_, 0, &every, nullptr);
}

void stall_detector::stop() noexcept {
  if (std::exchange(core_, nullptr) != nullptr) ::timer_delete(timer_);
}

void stall_detector::on_signal(int, siginfo_t* info, void*) {
  const int saved = errno;
  // Nobody else sends this signal with a timer's code.
  if (info->si_code == SI_TIMER) static_cast<stall_detector*>(info->si_value.sival_ptr)->look();
  errno = saved;
}

/// In the handler, on the shard's thread, at any instruction of it: it reads and notes, and allocates nothing.
void stall_detector::look() noexcept {
  if (core_ == nullptr || core_->current == nullptr) {
    seen_times_ = 0;
    return;
  }
  // Three signals in one step: a whole threshold has passed since the first of them. Once per step.
  const std::uint64_t step = core_->loop->steps_ended();
  if (step != seen_step_) seen_times_ = 0;
  seen_step_ = step;
  if (++seen_times_ >= 2) {
    // The reactor counts steps between two looks at its clock, and this one was longer than many: it polls after it.
    (void)core_->loop->bell().ring(doorbell::outside);
  }
  if (seen_times_ != 3 || noted_.load(std::memory_order_relaxed)) return;
  depth_ = ::backtrace(stack_.data(), static_cast<int>(stack_.size()));
  std::strncpy(task_.data(), core_->current->name(), task_.size() - 1);
  noted_.store(true, std::memory_order_release);
}

void stall_detector::log_it() noexcept {
  std::atomic_signal_fence(std::memory_order_acquire);
  ++total_;
  ++unreported_;
  const clock::time_point now = clock::read();
  if (now >= next_report_) {
    next_report_ = now + std::chrono::seconds(1);
    try {
      const observe::symbol_table names;
      std::string text = fmt::format("task \"{}\" kept the CPU for more than {} ms in one step", task_.data(),
                                     std::chrono::duration_cast<std::chrono::milliseconds>(threshold_).count());
      if (unreported_ > 1) text += fmt::format(" ({} others not shown)", unreported_ - 1);
      constexpr int own = 3;  // look(), on_signal() and the trampoline of the signal come first
      for (int i = own; i < depth_; ++i) {
        // The first was interrupted; the others are return addresses, which may lie behind the caller's end.
        const void* at = static_cast<const char*>(stack_[static_cast<std::size_t>(i)]) - (i == own ? 0 : 1);
        const std::string name = names.name_of(at);
        if (name.starts_with("skerry::reactor::run_")) break;  // from here on all stacks are alike
        text += "; " + name;
      }
      log::warning("{}", text);
      unreported_ = 0;
    } catch (...) {
      // No memory for it: it is one of those not shown.
    }
  }
  noted_.store(false, std::memory_order_relaxed);
}

}  // namespace skerry
