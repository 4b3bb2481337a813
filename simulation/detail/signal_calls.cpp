// SPDX-License-Identifier: Apache-2.0
// The system calls about signals, replaced as those of system_calls.cpp are: in a shard's turn a program sends them to
// its own simulated host and handles those of that; everything else about them is reported.
#include <skerry/simulation/detail/signals.hpp>
#include <skerry/simulation/detail/system_calls.hpp>

#include <csignal>
#include <ctime>

#include <pthread.h>
#include <sched.h>
#include <sys/types.h>

namespace {

using namespace skerry::sim::detail;
using skerry::sim::machine;

shard_runner& caller() noexcept { return *world::running()->running_shard(); }

/// Of a fault, which is real whoever raises it.
bool of_a_fault(int number) noexcept {
  switch (number) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS:
    case SIGABRT: return true;
    default: return false;
  }
}

/// `app` has them in its hand, for every program.
bool of_app(int number) noexcept { return number == SIGTERM || number == SIGINT || number == SIGALRM; }

int refuse(const char* what, int error) noexcept {
  report_leak(what);
  return answer(-error);
}

int to_self(int number) noexcept { return answer(here()->signals().to_thread(caller(), caller(), number)); }

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {

int __real_raise(int);
int __real_kill(pid_t, int);
int __wrap_kill(pid_t whom, int number) {
  machine* m = here();
  if (m == nullptr) return __real_kill(whom, number);
  if (whom != m->process()) return refuse("a signal to another process (kill)", ESRCH);
  if (of_a_fault(number)) return __real_raise(number);
  return answer(m->signals().kill(caller(), number));
}

int __wrap_raise(int number) {
  return here() == nullptr || of_a_fault(number) ? __real_raise(number) : to_self(number);
}

int __real_tgkill(pid_t, pid_t, int);
int __wrap_tgkill(pid_t whom, pid_t thread, int number) {
  machine* m = here();
  if (m == nullptr) return __real_tgkill(whom, thread, number);
  if (whom != m->process()) return refuse("a signal to another process (tgkill)", ESRCH);
  if (of_a_fault(number)) return __real_raise(number);
  shard_runner* target = nullptr;
  m->each_runner([&](shard_runner& each) {
    if (m->thread(each.id) == thread && each.now != shard_runner::state::ended) target = &each;
  });
  return answer(target == nullptr ? -ESRCH : m->signals().to_thread(caller(), *target, number));
}

int __real_pthread_kill(pthread_t, int);
int __wrap_pthread_kill(pthread_t thread, int number) {
  if (here() == nullptr || of_a_fault(number)) return __real_pthread_kill(thread, number);
  if (::pthread_equal(thread, ::pthread_self()) != 0) return to_self(number) == 0 ? 0 : errno;
  report_leak("a signal to a real thread (pthread_kill)");
  return ESRCH;
}

pid_t __real_gettid();
pid_t __wrap_gettid() { return here() == nullptr ? __real_gettid() : here()->thread(caller().id); }

int __real_sigaction(int, const struct sigaction*, struct sigaction*);
int __wrap_sigaction(int number, const struct sigaction* to, struct sigaction* before) {
  if (here() == nullptr || of_a_fault(number)) return __real_sigaction(number, to, before);
  if (to != nullptr && of_app(number)) return refuse("a signal that is app's (sigaction)", EINVAL);
  if (to != nullptr && (to->sa_flags & ~(SA_RESTART | SA_SIGINFO)) != 0) {
    return refuse("a handler with flags that are not simulated (sigaction)", EINVAL);
  }
  return answer(here()->signals().set_action(number, to, before));
}

sighandler_t __real_signal(int, sighandler_t);
sighandler_t __wrap_signal(int number, sighandler_t handler) {
  if (here() == nullptr || of_a_fault(number)) return __real_signal(number, handler);
  report_leak("a handler (signal: use net::signals)");
  errno = EINVAL;
  return SIG_ERR;
}

int __real_pthread_sigmask(int, const sigset_t*, sigset_t*);
int __wrap_pthread_sigmask(int how, const sigset_t* set, sigset_t* before) {
  if (here() == nullptr) return __real_pthread_sigmask(how, set, before);
  return -here()->signals().set_mask(caller(), how, set, before);
}

int __real_sigprocmask(int, const sigset_t*, sigset_t*);
int __wrap_sigprocmask(int how, const sigset_t* set, sigset_t* before) {
  if (here() == nullptr) return __real_sigprocmask(how, set, before);
  return answer(here()->signals().set_mask(caller(), how, set, before));
}

// Whoever waits for a handler on another shard's thread lets that go on.
int __real_sched_yield();
int __wrap_sched_yield() {
  if (here() == nullptr) return __real_sched_yield();
  caller().lose_turn();
  return 0;
}

// No shard uses CPU time here, so there is none to be measured, which whoever looks for stalls is told.
int __real_timer_create(clockid_t, struct sigevent*, timer_t*);
int __wrap_timer_create(clockid_t which, struct sigevent* how, timer_t* made) {
  if (here() == nullptr) return __real_timer_create(which, how, made);
  if (which != CLOCK_THREAD_CPUTIME_ID) report_leak("a timer (timer_create)");
  return answer(-ENOTSUP);
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
