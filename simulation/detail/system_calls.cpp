// SPDX-License-Identifier: Apache-2.0
// The system calls that the layers above the backend make themselves. Programs that link skerry::simulation are linked
// with --wrap for each (CMakeLists.txt of the project), so their own calls, and those of the layers, come here. Inside
// a simulation, what concerns a simulated descriptor is answered by the world; everything else goes to the kernel.
//
// The second half is the guard: calls that would bring the real world's time, chance, threads or waits into a shard's
// turn are reported, with the stack, as a violation.
#include <skerry/simulation/detail/datagrams.hpp>
#include <skerry/simulation/detail/disk.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/network.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <ctime>
#include <ios>
#include <memory>
#include <string>

#include <execinfo.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>

namespace {

using skerry::sim::machine;
using skerry::sim::detail::disk;
using skerry::sim::detail::node;
using skerry::sim::detail::open_file;
using skerry::sim::detail::socket_node;
using skerry::sim::detail::tcp_socket;
using skerry::sim::detail::udp_socket;
using skerry::sim::detail::world;

/// The machine whose shard has its turn; null outside of simulations and between turns.
machine* here() noexcept {
  world* in = world::running();
  return in != nullptr && in->running_shard() != nullptr ? &in->running_shard()->of : nullptr;
}

bool simulated(int fd) noexcept { return fd >= machine::first_descriptor && world::running() != nullptr; }

int answer(int result) noexcept {
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

/// The node of a descriptor as the running machine knows it.
std::shared_ptr<node> node_of(int fd) noexcept {
  machine* m = here();
  return m == nullptr ? nullptr : m->find(fd);
}

template <class Fn>
int with_socket(int fd, Fn fn) noexcept {
  const std::shared_ptr<node> found = node_of(fd);
  if (found == nullptr) return answer(-EBADF);
  auto* socket = dynamic_cast<socket_node*>(found.get());
  return answer(socket == nullptr ? -ENOTSOCK : fn(*socket));
}

template <class Fn>
long with_file(int fd, Fn fn) noexcept {
  const std::shared_ptr<node> found = node_of(fd);
  if (found == nullptr) return answer(-EBADF);
  auto* file = dynamic_cast<open_file*>(found.get());
  const long result = file == nullptr ? -EINVAL : fn(*file);
  return result < 0 ? answer(static_cast<int>(result)) : result;
}

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

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {

// --- sockets ---

int __real_socket(int, int, int);
int __wrap_socket(int family, int type, int protocol) {
  machine* m = here();
  if (m == nullptr) return __real_socket(family, type, protocol);
  if (family != AF_INET && family != AF_INET6) return answer(-EAFNOSUPPORT);
  switch (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) {
    case SOCK_STREAM: return answer(m->open(std::make_shared<tcp_socket>(*m, family)));
    case SOCK_DGRAM: return answer(m->open(std::make_shared<udp_socket>(*m, family)));
    default: return answer(-EPROTONOSUPPORT);
  }
}

int __real_bind(int, const sockaddr*, socklen_t);
int __wrap_bind(int fd, const sockaddr* name, socklen_t bytes) {
  if (!simulated(fd)) return __real_bind(fd, name, bytes);
  return with_socket(fd, [&](socket_node& s) { return s.bind(name, bytes); });
}

int __real_connect(int, const sockaddr*, socklen_t);
int __wrap_connect(int fd, const sockaddr* name, socklen_t bytes) {
  if (!simulated(fd)) return __real_connect(fd, name, bytes);
  return with_socket(fd, [&](socket_node& s) { return s.connect_now(name, bytes); });
}

int __real_listen(int, int);
int __wrap_listen(int fd, int backlog) {
  if (!simulated(fd)) return __real_listen(fd, backlog);
  return with_socket(fd, [&](socket_node& s) { return s.listen(backlog); });
}

int __real_accept4(int, sockaddr*, socklen_t*, int);
int __wrap_accept4(int fd, sockaddr* name, socklen_t* bytes, int flags) {
  if (!simulated(fd)) return __real_accept4(fd, name, bytes, flags);
  return with_socket(fd, [&](socket_node& s) { return s.accept_now(); });
}

int __real_getsockname(int, sockaddr*, socklen_t*);
int __wrap_getsockname(int fd, sockaddr* name, socklen_t* bytes) {
  if (!simulated(fd)) return __real_getsockname(fd, name, bytes);
  return with_socket(fd, [&](socket_node& s) { return s.local_name(name, bytes); });
}

int __real_getpeername(int, sockaddr*, socklen_t*);
int __wrap_getpeername(int fd, sockaddr* name, socklen_t* bytes) {
  if (!simulated(fd)) return __real_getpeername(fd, name, bytes);
  return with_socket(fd, [&](socket_node& s) { return s.peer_name(name, bytes); });
}

int __real_shutdown(int, int);
int __wrap_shutdown(int fd, int how) {
  if (!simulated(fd)) return __real_shutdown(fd, how);
  return with_socket(fd, [&](socket_node& s) { return s.shut_down(how); });
}

int __real_setsockopt(int, int, int, const void*, socklen_t);
int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t bytes) {
  if (!simulated(fd)) return __real_setsockopt(fd, level, name, value, bytes);
  return with_socket(fd, [&](socket_node& s) { return s.set_option(level, name, value, bytes); });
}

int __real_getsockopt(int, int, int, void*, socklen_t*);
int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* bytes) {
  if (!simulated(fd)) return __real_getsockopt(fd, level, name, value, bytes);
  return with_socket(fd, [&](socket_node& s) { return s.get_option(level, name, value, bytes); });
}

// --- descriptors ---

int __real_close(int);
int __wrap_close(int fd) {
  if (!simulated(fd)) return __real_close(fd);
  machine* m = here();
  // Between turns a host's objects are destroyed; its machine has closed what was left.
  return m == nullptr ? 0 : answer(m->close(fd));
}

int __real_fcntl(int, int, ...);
int __wrap_fcntl(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  const long argument = va_arg(more, long);
  va_end(more);
  if (!simulated(fd)) return __real_fcntl(fd, command, argument);
  machine* m = here();
  if (m == nullptr || m->find(fd) == nullptr) return answer(-EBADF);
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: return answer(m->duplicate(fd));
    case F_GETFL: return O_RDWR | O_NONBLOCK;
    case F_GETFD: return FD_CLOEXEC;
    case F_SETFL:
    case F_SETFD: return 0;
    default: return answer(-EINVAL);
  }
}

int __real_ioctl(int, unsigned long, ...);
int __wrap_ioctl(int fd, unsigned long command, ...) {
  va_list more;
  va_start(more, command);
  void* argument = va_arg(more, void*);
  va_end(more);
  if (!simulated(fd)) return __real_ioctl(fd, command, argument);
  if (argument == nullptr) return answer(-EFAULT);
  return with_socket(fd, [&](socket_node& s) { return s.control(command, *static_cast<int*>(argument)); });
}

// --- files ---

int __real_open(const char*, int, ...);
int __wrap_open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(more, unsigned) : 0;
  va_end(more);
  machine* m = here();
  if (m == nullptr) return __real_open(path, flags, mode);
  return answer(m->now() == machine::state::dying ? -EIO : m->storage().open_now(path, flags, mode));
}

int __real_ftruncate(int, off_t);
int __wrap_ftruncate(int fd, off_t size) {
  if (!simulated(fd)) return __real_ftruncate(fd, size);
  return static_cast<int>(with_file(fd, [&](open_file& f) -> long {
    return size < 0 ? -EINVAL : f.of.resize_now(f, static_cast<std::uint64_t>(size));
  }));
}

int __real_fstat(int, struct stat*);
int __wrap_fstat(int fd, struct stat* into) {
  if (!simulated(fd)) return __real_fstat(fd, into);
  return static_cast<int>(with_file(fd, [&](open_file& f) -> long { return disk::status_now(f, *into); }));
}

// Listing goes by number: no libc before 2.30 has getdents64.
// Taken and passed on as the six words that a call can have: how many were given only its number tells.
long __real_syscall(long, long, long, long, long, long, long);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  const int fd = static_cast<int>(a);
  if (number != SYS_getdents64 || !simulated(fd)) return __real_syscall(number, a, b, c, d, e, f);
  return with_file(fd, [&](open_file& directory) {
    return directory.of.list_now(directory, reinterpret_cast<std::byte*>(b), static_cast<std::size_t>(c));
  });
}

// Of what std::ifstream reads (the resolver: the hosts file, the services file) a simulated host has none, and what
// would be written that way would be written to the real disk.
void* __real__ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode(void*, const char*, int);
void* __wrap__ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode(void* self, const char* path,
                                                                                 int mode) {
  if (here() == nullptr)
    return __real__ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode(self, path, mode);
  if ((mode & std::ios_base::out) != 0) report_leak("a file (std::ofstream)");
  errno = ENOENT;
  return nullptr;
}

// There are no watches: who wants one hears so.
int __real_inotify_init1(int);
int __wrap_inotify_init1(int flags) { return here() == nullptr ? __real_inotify_init1(flags) : answer(-ENOSYS); }

// A drain that overran its deadline ends the process; here it ends the simulation.
[[noreturn]] void __real__exit(int);
void __wrap__exit(int status) {
  world* in = world::running();
  if (in == nullptr || in->running_shard() == nullptr) __real__exit(status);
  in->violate(fmt::format("host {}: the process ended with status {}{}", in->running_shard()->of.name(), status,
                          status == 2 ? ": the drain deadline passed" : ""));
  while (true) in->running_shard()->own->yield();  // never resumed: the world stops
}

// --- the guard ---

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
