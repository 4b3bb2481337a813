// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/observe/stall_detector.hpp>
#include <skerry/toolkit/observe/symbols.hpp>

#include <cerrno>
#include <cstring>
#include <string>

#include <fmt/core.h>
#include <unistd.h>
#include <unwind.h>

namespace skerry {

stall_detector::stall_detector(std::chrono::nanoseconds threshold)
    : core_(this_shard()),
      threshold_(threshold),
      shown_(this_shard().metrics->add(
          total_,
          {.name = "skerry_stalls_total", .help = "Steps of tasks that kept the CPU past the stall threshold."})) {
  SKERRY_ASSERT(threshold >= threshold_min, "a shorter step is no stall");
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
  if (::timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer_) == 0) {
    has_timer_ = true;
    const auto half = (threshold / 2).count();
    const timespec period{half / 1'000'000'000, half % 1'000'000'000};
    const itimerspec every{period, period};
    ::timer_settime(timer_, 0, &every, nullptr);
  } else {
    log::warning("stalls will not be seen: the kernel gives no timer ({}; see ulimit -i)", std::strerror(errno));
  }
  this_shard().loop->add(*this);
}

stall_detector::~stall_detector() {
  if (has_timer_) ::timer_delete(timer_);
  this_shard().loop->remove(*this);
}

void stall_detector::on_signal(int, siginfo_t* info, void*) {
  const int saved = errno;
  // Nobody else sends this signal with a timer's code.
  if (info->si_code == SI_TIMER) static_cast<stall_detector*>(info->si_value.sival_ptr)->look();
  errno = saved;
}

/// In the handler, on the shard's thread, at any instruction of it: it reads and notes, and allocates nothing.
void stall_detector::look() noexcept {
  const detail::chain* current = core_.current;
  if (current == nullptr) {
    seen_times_ = 0;
    return;
  }
  // Three signals in one step: a whole threshold has passed since the first of them. Once per step.
  const std::uint64_t step = core_.loop->stats().tasks_run;
  if (step != seen_step_) seen_times_ = 0;
  seen_step_ = step;
  if (++seen_times_ >= 2) {
    // The reactor counts steps between two looks at its clock, and this one was longer than many: it polls after it.
    (void)core_.loop->bell().ring(doorbell::outside);
  }
  if (seen_times_ != 3 || noted_.load(std::memory_order_relaxed)) return;
  note_call_stack();
  std::strncpy(task_.data(), current->name(), task_.size() - 1);
  noted_.store(true, std::memory_order_release);
}

/// By the unwinder itself: the first call of backtrace() allocates, and would cost an idle process 200 KB.
void stall_detector::note_call_stack() noexcept {
  depth_ = 0;
  const auto note = [](_Unwind_Context* frame, void* into) {
    auto& mine = *static_cast<stall_detector*>(into);
    mine.stack_[mine.depth_++] = reinterpret_cast<void*>(_Unwind_GetIP(frame));
    return mine.depth_ == mine.stack_.size() ? _URC_END_OF_STACK : _URC_NO_REASON;
  };
  _Unwind_Backtrace(note, this);
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
      constexpr std::size_t own = 4;  // note_call_stack(), look(), on_signal() and the signal's trampoline come first
      for (std::size_t i = own; i < depth_; ++i) {
        // The first was interrupted; the others are return addresses, which may lie behind the caller's end.
        const void* at = static_cast<const char*>(stack_[i]) - (i == own ? 0 : 1);
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

task<> watch_for_stalls(std::chrono::nanoseconds threshold) {
  if (threshold == std::chrono::nanoseconds(0)) co_return;
  if (threshold < stall_detector::threshold_min) {
    throw startup_error(
        fmt::format("a stall threshold of {} ns is too short\nit is 1ms at least, or 0 for none", threshold.count()));
  }
  const auto watch = [](std::chrono::nanoseconds limit) {
    if (resources().find<stall_detector>() == nullptr) resources().emplace<stall_detector>(limit);
  };
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, watch, threshold);
}

stall_flag::stall_flag(command_line& line) {
  line.add_option("stall-threshold", threshold_,
                  "log a task that keeps its CPU longer than this in one step; 1ms at least, 0 turns it off",
                  std::chrono::nanoseconds(0), std::chrono::hours(1));
}

}  // namespace skerry
