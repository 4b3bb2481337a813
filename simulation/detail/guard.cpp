// SPDX-License-Identifier: Apache-2.0
// The guard: calls that would bring the real world's time, chance, threads or waits into a shard's turn are reported,
// with the stack, as a violation.
#include <skerry/simulation/detail/system_calls.hpp>

#include <cstdlib>
#include <ctime>
#include <string>

#include <execinfo.h>
#include <fmt/core.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/types.h>

namespace skerry::sim::detail {

void report_leak(const char* what) noexcept {
  world* in = world::running();
  if (in == nullptr || in->running_shard() == nullptr || !skerry::on_shard()) return;  // the log's thread may
  void* frames[32];
  const int depth = ::backtrace(frames, 32);
  char** names = ::backtrace_symbols(frames, depth);
  std::string text =
      fmt::format("the real world was asked for {}, so the run cannot be repeated; ask Skerry's own\n", what);
  for (int i = 1; i < depth && names != nullptr; ++i) text += fmt::format("    {}\n", names[i]);
  std::free(static_cast<void*>(names));
  in->violate(std::move(text));
}

}  // namespace skerry::sim::detail

namespace {
using skerry::sim::detail::report_leak;
}

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {

int __real_clock_gettime(clockid_t, timespec*);
int __wrap_clock_gettime(clockid_t which, timespec* into) {
  report_leak("the time (clock_gettime)");
  return __real_clock_gettime(which, into);
}

int __real_gettimeofday(timeval*, void*);
int __wrap_gettimeofday(timeval* into, void* zone) {
  report_leak("the time (gettimeofday)");
  return __real_gettimeofday(into, zone);
}

time_t __real_time(time_t*);
time_t __wrap_time(time_t* into) {
  report_leak("the time (time)");
  return __real_time(into);
}

int __real_rand();
int __wrap_rand() {
  report_leak("a random number (rand)");
  return __real_rand();
}

long __real_random();
long __wrap_random() {
  report_leak("a random number (random)");
  return __real_random();
}

int __real_getentropy(void*, size_t);
int __wrap_getentropy(void* into, size_t bytes) {
  report_leak("a random number (getentropy)");
  return __real_getentropy(into, bytes);
}

ssize_t __real_getrandom(void*, size_t, unsigned);
ssize_t __wrap_getrandom(void* into, size_t bytes, unsigned flags) {
  report_leak("a random number (getrandom)");
  return __real_getrandom(into, bytes, flags);
}

int __real_nanosleep(const timespec*, timespec*);
int __wrap_nanosleep(const timespec* how_long, timespec* left) {
  report_leak("a pause (nanosleep)");
  return __real_nanosleep(how_long, left);
}

int __real_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
int __wrap_pthread_create(pthread_t* made, const pthread_attr_t* how, void* (*body)(void*), void* argument) {
  report_leak("a thread (pthread_create)");
  return __real_pthread_create(made, how, body, argument);
}

// A child would be of the real world, and one that is forked would go on with the simulation in a second process.
pid_t __real_fork();
pid_t __wrap_fork() {
  if (skerry::sim::detail::here() == nullptr) return __real_fork();
  report_leak("a process (fork)");
  errno = ENOSYS;
  return -1;
}

int __real_posix_spawnp(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const*,
                        char* const*);
int __wrap_posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions,
                        const posix_spawnattr_t* how, char* const* arguments, char* const* environment) {
  if (skerry::sim::detail::here() == nullptr)
    return __real_posix_spawnp(child, file, actions, how, arguments, environment);
  report_leak("a process (posix_spawnp)");
  return ENOSYS;
}

// What the standard library's inline functions call: std::random_device, std::thread, the clocks.
unsigned __real__ZNSt13random_device9_M_getvalEv(void*);
unsigned __wrap__ZNSt13random_device9_M_getvalEv(void* self) {
  report_leak("a random number (std::random_device)");
  return __real__ZNSt13random_device9_M_getvalEv(self);
}

long __real__ZNSt6chrono3_V212system_clock3nowEv();
long __wrap__ZNSt6chrono3_V212system_clock3nowEv() {
  report_leak("the time (std::chrono::system_clock)");
  return __real__ZNSt6chrono3_V212system_clock3nowEv();
}

long __real__ZNSt6chrono3_V212steady_clock3nowEv();
long __wrap__ZNSt6chrono3_V212steady_clock3nowEv() {
  report_leak("the time (std::chrono::steady_clock)");
  return __real__ZNSt6chrono3_V212steady_clock3nowEv();
}

void __real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(void*, void*, void*);
void __wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(void* self,
                                                                                                  void* state,
                                                                                                  void* depend) {
  report_leak("a thread (std::thread)");
  __real__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(self, state, depend);
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
