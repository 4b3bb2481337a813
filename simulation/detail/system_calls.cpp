// SPDX-License-Identifier: Apache-2.0
// The system calls that the layers above the backend make themselves. Programs that link skerry::simulation are linked
// with --wrap for each (CMakeLists.txt of the project), so their own calls, and those of the layers, come here. Inside
// a simulation, what concerns a simulated descriptor is answered by the world; everything else goes to the kernel.
#include <skerry/simulation/detail/datagrams.hpp>
#include <skerry/simulation/detail/disk.hpp>
#include <skerry/simulation/detail/event_counter.hpp>
#include <skerry/simulation/detail/network.hpp>
#include <skerry/simulation/detail/pipes.hpp>
#include <skerry/simulation/detail/system_calls.hpp>
#include <skerry/simulation/detail/unix_sockets.hpp>
#include <skerry/simulation/detail/watches.hpp>

#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <ios>
#include <string>
#include <utility>

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

using namespace skerry::sim::detail;
using skerry::sim::machine;

template <class Fn>
int with_socket(int fd, Fn fn) noexcept {
  const std::shared_ptr<node> found = node_of(fd);
  if (found == nullptr) return answer(-EBADF);
  auto* socket = dynamic_cast<socket_calls*>(found.get());
  return answer(socket == nullptr ? -ENOTSOCK : fn(*socket));
}

template <class Fn>
long with_node(int fd, Fn fn) noexcept {
  const std::shared_ptr<node> found = node_of(fd);
  return answer(found == nullptr ? -EBADF : fn(*found));
}

template <class Fn>
long with_file(int fd, Fn fn) noexcept {
  const std::shared_ptr<node> found = node_of(fd);
  if (found == nullptr) return answer(-EBADF);
  auto* file = dynamic_cast<open_file*>(found.get());
  return answer(file == nullptr ? -EINVAL : fn(*file));
}

template <class Fn>
int with_watches(int fd, Fn fn) noexcept {
  const std::shared_ptr<node> found = node_of(fd);
  if (found == nullptr) return answer(-EBADF);
  auto* queue = dynamic_cast<watch_queue*>(found.get());
  return answer(queue == nullptr ? -EINVAL : fn(*queue));
}

/// A further descriptor of a program's 0, 1 or 2, which the simulator shares with the real program otherwise.
int duplicate_standard(machine& m, int fd) { return m.open(m.standard(fd).shared_from_this()); }

/// The disk of a machine that is not about to die; null after the errno was set.
disk* disk_of(machine& m) noexcept {
  if (m.now() != machine::state::dying) return &m.storage();
  errno = EIO;
  return nullptr;
}

/// Two new nodes, both or none.
int open_both(machine& m, std::shared_ptr<node> one, std::shared_ptr<node> other, int flags, int (&into)[2]) {
  one->non_blocking = other->non_blocking = (flags & O_NONBLOCK) != 0;
  const int first = m.open(std::move(one));
  if (first < 0) return first;
  const int second = m.open(std::move(other));
  if (second < 0) {
    m.close(first);
    return second;
  }
  into[0] = first;
  into[1] = second;
  return 0;
}

template <class Message, class Fn>
long with_one_piece(void* data, size_t bytes, Fn fn) {
  iovec piece{data, bytes};
  Message message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  return fn(message);
}

/// Around calls about what handlers of signals ring.
void interrupt_at_times(int fd) noexcept {
  const std::shared_ptr<node> found = node_of(fd);
  if (const auto* bell = dynamic_cast<event_counter*>(found.get())) bell->interrupt_at_times();
}

long get(int fd, void* into, size_t bytes, int flags) noexcept {
  interrupt_at_times(fd);
  const long got = with_node(fd, [&](node& n) {
    return with_one_piece<msghdr>(into, bytes, [&](msghdr& message) { return n.read_now(message, flags); });
  });
  if (got > 0) interrupt_at_times(fd);
  return got;
}

long put(int fd, const void* data, size_t bytes, int flags) noexcept {
  interrupt_at_times(fd);
  return with_node(fd, [&](node& n) {
    return with_one_piece<msghdr>(const_cast<void*>(data), bytes,
                                  [&](msghdr& message) { return n.write_now(message, flags); });
  });
}

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {

// --- sockets ---

int __real_socket(int, int, int);
int __wrap_socket(int family, int type, int protocol) {
  machine* m = here();
  if (m == nullptr) return __real_socket(family, type, protocol);
  const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  std::shared_ptr<node> made;
  if (family == AF_UNIX) {
    if (kind == SOCK_STREAM || kind == SOCK_SEQPACKET) made = std::make_shared<unix_socket>(*m, kind);
  } else if (family == AF_INET || family == AF_INET6) {
    if (kind == SOCK_STREAM) made = std::make_shared<tcp_socket>(*m, family);
    if (kind == SOCK_DGRAM) made = std::make_shared<udp_socket>(*m, family);
  } else {
    return answer(-EAFNOSUPPORT);
  }
  if (made == nullptr) return answer(-EPROTONOSUPPORT);
  made->non_blocking = (type & SOCK_NONBLOCK) != 0;
  return answer(m->open(std::move(made)));
}

int __real_socketpair(int, int, int, int*);
int __wrap_socketpair(int family, int type, int protocol, int* into) {
  machine* m = here();
  if (m == nullptr) return __real_socketpair(family, type, protocol, into);
  const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (family != AF_UNIX) return answer(-EOPNOTSUPP);
  if (kind != SOCK_STREAM && kind != SOCK_SEQPACKET) return answer(-EPROTONOSUPPORT);
  const auto one = std::make_shared<unix_socket>(*m, kind), other = std::make_shared<unix_socket>(*m, kind);
  unix_socket::join(*one, *other);
  return answer(open_both(*m, one, other, type, *reinterpret_cast<int(*)[2]>(into)));
}

int __real_bind(int, const sockaddr*, socklen_t);
int __wrap_bind(int fd, const sockaddr* name, socklen_t bytes) {
  if (!simulated(fd)) return __real_bind(fd, name, bytes);
  return with_socket(fd, [&](socket_calls& s) { return s.bind(name, bytes); });
}

int __real_connect(int, const sockaddr*, socklen_t);
int __wrap_connect(int fd, const sockaddr* name, socklen_t bytes) {
  if (!simulated(fd)) return __real_connect(fd, name, bytes);
  return with_socket(fd, [&](socket_calls& s) { return s.connect_now(name, bytes); });
}

int __real_listen(int, int);
int __wrap_listen(int fd, int backlog) {
  if (!simulated(fd)) return __real_listen(fd, backlog);
  return with_socket(fd, [&](socket_calls& s) { return s.listen(backlog); });
}

int __real_accept4(int, sockaddr*, socklen_t*, int);
int __wrap_accept4(int fd, sockaddr* name, socklen_t* bytes, int flags) {
  if (!simulated(fd)) return __real_accept4(fd, name, bytes, flags);
  machine* m = here();
  const std::shared_ptr<node> door = node_of(fd);
  const int made = with_socket(fd, [&](socket_calls& s) {
    int result = s.accept_now();
    while (result == -EAGAIN && !door->non_blocking) {
      if (!m->block_until([&] { return door->events() != 0; })) return -EINTR;
      result = s.accept_now();
    }
    return result;
  });
  if (made < 0) return made;
  m->find(made)->non_blocking = (flags & SOCK_NONBLOCK) != 0;
  if (name != nullptr) with_socket(made, [&](socket_calls& s) { return s.peer_name(name, bytes); });
  return made;
}

int __real_getsockname(int, sockaddr*, socklen_t*);
int __wrap_getsockname(int fd, sockaddr* name, socklen_t* bytes) {
  if (!simulated(fd)) return __real_getsockname(fd, name, bytes);
  return with_socket(fd, [&](socket_calls& s) { return s.local_name(name, bytes); });
}

int __real_getpeername(int, sockaddr*, socklen_t*);
int __wrap_getpeername(int fd, sockaddr* name, socklen_t* bytes) {
  if (!simulated(fd)) return __real_getpeername(fd, name, bytes);
  return with_socket(fd, [&](socket_calls& s) { return s.peer_name(name, bytes); });
}

int __real_shutdown(int, int);
int __wrap_shutdown(int fd, int how) {
  if (!simulated(fd)) return __real_shutdown(fd, how);
  return with_socket(fd, [&](socket_calls& s) { return s.shut_down(how); });
}

int __real_setsockopt(int, int, int, const void*, socklen_t);
int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t bytes) {
  if (!simulated(fd)) return __real_setsockopt(fd, level, name, value, bytes);
  return with_socket(fd, [&](socket_calls& s) { return s.set_option(level, name, value, bytes); });
}

int __real_getsockopt(int, int, int, void*, socklen_t*);
int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* bytes) {
  if (!simulated(fd)) return __real_getsockopt(fd, level, name, value, bytes);
  return with_socket(fd, [&](socket_calls& s) { return s.get_option(level, name, value, bytes); });
}

// --- bytes and messages ---

ssize_t __real_recv(int, void*, size_t, int);
ssize_t __wrap_recv(int fd, void* into, size_t bytes, int flags) {
  return simulated(fd) ? get(fd, into, bytes, flags) : __real_recv(fd, into, bytes, flags);
}

ssize_t __real_read(int, void*, size_t);
ssize_t __wrap_read(int fd, void* into, size_t bytes) {
  return simulated(fd) ? get(fd, into, bytes, 0) : __real_read(fd, into, bytes);
}

ssize_t __real_send(int, const void*, size_t, int);
ssize_t __wrap_send(int fd, const void* data, size_t bytes, int flags) {
  return simulated(fd) ? put(fd, data, bytes, flags) : __real_send(fd, data, bytes, flags);
}

ssize_t __real_write(int, const void*, size_t);
ssize_t __wrap_write(int fd, const void* data, size_t bytes) {
  return simulated(fd) ? put(fd, data, bytes, 0) : __real_write(fd, data, bytes);
}

ssize_t __real_recvmsg(int, msghdr*, int);
ssize_t __wrap_recvmsg(int fd, msghdr* into, int flags) {
  if (!simulated(fd)) return __real_recvmsg(fd, into, flags);
  return with_node(fd, [&](node& n) { return n.read_now(*into, flags); });
}

ssize_t __real_sendmsg(int, const msghdr*, int);
ssize_t __wrap_sendmsg(int fd, const msghdr* from, int flags) {
  if (!simulated(fd)) return __real_sendmsg(fd, from, flags);
  return with_node(fd, [&](node& n) { return n.write_now(*from, flags); });
}

// --- descriptors ---

int __real_pipe2(int*, int);
int __wrap_pipe2(int* into, int flags) {
  machine* m = here();
  if (m == nullptr) return __real_pipe2(into, flags);
  auto [reader, writer] = pipe_end::make(*m);
  return answer(open_both(*m, std::move(reader), std::move(writer), flags, *reinterpret_cast<int(*)[2]>(into)));
}

int __real_dup(int);
int __wrap_dup(int fd) {
  machine* m = here();
  if (m != nullptr && fd >= 0 && fd <= 2) return answer(duplicate_standard(*m, fd));
  if (!simulated(fd)) return __real_dup(fd);
  return answer(m == nullptr ? -EBADF : m->duplicate(fd));
}

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
  machine* m = here();
  const bool duplicates = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  if (m != nullptr && duplicates && fd >= 0 && fd <= 2) return answer(duplicate_standard(*m, fd));
  if (!simulated(fd)) return __real_fcntl(fd, command, argument);
  const std::shared_ptr<node> what = node_of(fd);
  if (what == nullptr) return answer(-EBADF);
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: return answer(m->duplicate(fd));
    case F_GETFL: return O_RDWR | (what->non_blocking ? O_NONBLOCK : 0);
    case F_SETFL: what->non_blocking = (argument & O_NONBLOCK) != 0; return 0;
    case F_GETFD: return FD_CLOEXEC;
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
  return static_cast<int>(
      with_node(fd, [&](node& n) -> long { return n.control(command, *static_cast<int*>(argument)); }));
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

off_t __real_lseek(int, off_t, int);
off_t __wrap_lseek(int fd, off_t by, int from) {
  if (!simulated(fd)) return __real_lseek(fd, by, from);
  if (dynamic_cast<open_file*>(node_of(fd).get()) == nullptr) return answer(-ESPIPE);
  return with_file(fd, [&](open_file& f) { return f.seek(by, from); });
}

int __real_fstat(int, struct stat*);
int __wrap_fstat(int fd, struct stat* into) {
  if (!simulated(fd)) return __real_fstat(fd, into);
  return static_cast<int>(with_node(fd, [&](node& n) -> long {
    if (auto* file = dynamic_cast<open_file*>(&n)) return disk::status_now(*file->found, *into);
    *into = {};
    into->st_mode = n.file_type() | 0600;
    return 0;
  }));
}

int __real_lstat(const char*, struct stat*);
int __wrap_lstat(const char* path, struct stat* into) {
  machine* m = here();
  if (m == nullptr) return __real_lstat(path, into);
  disk* on = disk_of(*m);
  if (on == nullptr) return -1;
  inode_ptr found;
  const int none = on->find_now(path, found);
  return answer(none != 0 ? none : disk::status_now(*found, *into));
}

// There are no links.
int __real_stat(const char*, struct stat*);
int __wrap_stat(const char* path, struct stat* into) {
  return here() == nullptr ? __real_stat(path, into) : __wrap_lstat(path, into);
}

int __real_unlink(const char*);
int __wrap_unlink(const char* path) {
  machine* m = here();
  if (m == nullptr) return __real_unlink(path);
  disk* on = disk_of(*m);
  return on == nullptr ? -1 : answer(on->unlink_now(path));
}

int __real_rename(const char*, const char*);
int __wrap_rename(const char* from, const char* to) {
  machine* m = here();
  if (m == nullptr) return __real_rename(from, to);
  disk* on = disk_of(*m);
  return on == nullptr ? -1 : answer(on->rename_now(from, to));
}

int __real_mkdir(const char*, mode_t);
int __wrap_mkdir(const char* path, mode_t mode) {
  machine* m = here();
  if (m == nullptr) return __real_mkdir(path, mode);
  disk* on = disk_of(*m);
  return on == nullptr ? -1 : answer(on->make_directory_now(path, mode));
}

int __real_rmdir(const char*);
int __wrap_rmdir(const char* path) {
  machine* m = here();
  if (m == nullptr) return __real_rmdir(path);
  disk* on = disk_of(*m);
  return on == nullptr ? -1 : answer(on->unlink_now(path, true));
}

int __real_flock(int, int);
int __wrap_flock(int fd, int how) {
  if (!simulated(fd)) return __real_flock(fd, how);
  return static_cast<int>(with_file(fd, [&](open_file& f) -> long { return f.of.lock_now(f, how); }));
}

// Listing goes by number: no libc before 2.30 has getdents64.
// Taken and passed on as the six words that a call can have: how many were given only its number tells.
long __real_syscall(long, long, long, long, long, long, long);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  const int fd = static_cast<int>(a);
  if (here() != nullptr && number == SYS_gettid) return ::gettid();
  if (here() != nullptr && number == SYS_tgkill) return ::tgkill(fd, static_cast<pid_t>(b), static_cast<int>(c));
  if (number != SYS_getdents64 || !simulated(fd)) return __real_syscall(number, a, b, c, d, e, f);
  return with_file(fd, [&](open_file& directory) {
    return directory.of.list_now(directory, reinterpret_cast<std::byte*>(b), static_cast<std::size_t>(c));
  });
}

// Of what std::ifstream reads (the resolver: the hosts file, the services file) a simulated host has none, and what
// would be written that way would be written to the real disk. All streams of files open them by this function of the
// library; with --wrap only calls would be met that the compiler has not left inside it.
void* _ZNSt12__basic_fileIcE4openEPKcSt13_Ios_Openmodei(void* self, const char* path, int mode, int permissions) {
  static const auto real = reinterpret_cast<void* (*)(void*, const char*, int, int)>(
      ::dlsym(RTLD_NEXT, "_ZNSt12__basic_fileIcE4openEPKcSt13_Ios_Openmodei"));
  if (here() == nullptr) return real(self, path, mode, permissions);
  if ((mode & std::ios_base::out) != 0) report_leak("a file (std::ofstream)");
  errno = ENOENT;
  return nullptr;
}

int __real_inotify_init1(int);
int __wrap_inotify_init1(int flags) {
  machine* m = here();
  return m == nullptr ? __real_inotify_init1(flags) : answer(watch_queue::open(*m, flags));
}

int __real_inotify_init();
int __wrap_inotify_init() {
  machine* m = here();
  return m == nullptr ? __real_inotify_init() : answer(watch_queue::open(*m, 0));
}

int __real_inotify_add_watch(int, const char*, std::uint32_t);
int __wrap_inotify_add_watch(int fd, const char* path, std::uint32_t kinds) {
  if (!simulated(fd)) return __real_inotify_add_watch(fd, path, kinds);
  return with_watches(fd, [&](watch_queue& q) { return q.add(path, kinds); });
}

int __real_inotify_rm_watch(int, int);
int __wrap_inotify_rm_watch(int fd, int watch) {
  if (!simulated(fd)) return __real_inotify_rm_watch(fd, watch);
  return with_watches(fd, [&](watch_queue& q) { return q.remove(watch); });
}

// Of its limits a host has that of descriptors, counted up to the numbers that it gives.
int __real_getrlimit(__rlimit_resource_t, rlimit*);
int __wrap_getrlimit(__rlimit_resource_t which, rlimit* into) {
  machine* m = here();
  if (m == nullptr || which != RLIMIT_NOFILE) return __real_getrlimit(which, into);
  into->rlim_cur = machine::first_descriptor + m->descriptor_limit();
  into->rlim_max = machine::first_descriptor + m->in().given().system.descriptors_max;
  return 0;
}

int __real_setrlimit(__rlimit_resource_t, const rlimit*);
int __wrap_setrlimit(__rlimit_resource_t which, const rlimit* to) {
  machine* m = here();
  if (m == nullptr || which != RLIMIT_NOFILE) return __real_setrlimit(which, to);
  if (to->rlim_cur > machine::first_descriptor + m->in().given().system.descriptors_max) return answer(-EPERM);
  m->limit_descriptors(to->rlim_cur - std::min<rlim_t>(to->rlim_cur, machine::first_descriptor));
  return 0;
}

// Who a program is differs from run to run, so here it is its host.
pid_t __real_getpid();
pid_t __wrap_getpid() { return here() == nullptr ? __real_getpid() : here()->process(); }
uid_t __real_getuid();
uid_t __wrap_getuid() { return here() == nullptr ? __real_getuid() : machine::user; }
uid_t __real_geteuid();
uid_t __wrap_geteuid() { return here() == nullptr ? __real_geteuid() : machine::user; }
gid_t __real_getgid();
gid_t __wrap_getgid() { return here() == nullptr ? __real_getgid() : machine::user; }

// A drain that overran its deadline ends the process; here it ends the simulation.
[[noreturn]] void __real__exit(int);
void __wrap__exit(int status) {
  world* in = world::running();
  if (in == nullptr || in->running_shard() == nullptr) __real__exit(status);
  in->violate(fmt::format("host {}: the process ended with status {}{}", in->running_shard()->of.name(), status,
                          status == 2 ? ": the drain deadline passed" : ""));
  while (true) in->running_shard()->own->yield();  // never resumed: the world stops
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
