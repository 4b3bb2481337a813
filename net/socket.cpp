// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/detail/freed_descriptors.hpp>
#include <skerry/net/socket.hpp>

#include <cerrno>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace skerry::net {

namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }
[[noreturn]] void fail(std::string what, const address& at) {
  int error = errno;
  what += at.text();
  throw std::system_error(error, std::generic_category(), what);
}

void set_option(int fd, int level, int name, int value, const char* what) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) fail(what);
}

unique_fd bind_socket(const address& at, bool shared) {
  unique_fd fd = make_stream_socket(at.family());
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "setsockopt SO_REUSEADDR");
  if (shared) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "setsockopt SO_REUSEPORT");
  if (::bind(fd.get(), at.data(), at.size()) != 0) fail("bind to ", at);
  return fd;
}

}  // namespace

unique_fd::~unique_fd() {
  if (fd_ < 0) return;
  ::close(fd_);
  detail::descriptor_closed();
}

namespace {
unique_fd make_socket(int family, int type) {
  unique_fd fd(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) fail("socket");
  return fd;
}
}  // namespace

unique_fd make_stream_socket(int family) { return make_socket(family, SOCK_STREAM); }
unique_fd make_unix_socket(int type) { return make_socket(AF_UNIX, type); }

void bind_to(int fd, const address& from) {
  if (from.port() == 0 && !from.is_unix()) {
    set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, "setsockopt IP_BIND_ADDRESS_NO_PORT");
  }
  if (::bind(fd, from.data(), from.size()) != 0) fail("bind to ", from);
}

void set_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) fail("fcntl O_NONBLOCK");
}

int accept_now(int listening) noexcept { return ::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); }

void set_no_delay(int fd) noexcept {
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

unique_fd make_listening_socket(const address& at, int backlog) {
  unique_fd fd = bind_socket(at, true);
  // Accepted sockets inherit it.
  set_no_delay(fd.get());
  if (::listen(fd.get(), backlog) != 0) fail("listen on ", at);
  return fd;
}

bool port_in_use(const address& at) {
  try {
    bind_socket(at, false);
    return false;
  } catch (const std::system_error& error) {
    return error.code().value() == EADDRINUSE;
  }
}

void require_free_port(const address& at) {
  if (at.port() == 0) return;
  try {
    // Where another process listens, bind is refused already. To listen here, too, would accept an early client and
    // reset it.
    bind_socket(at, false);
  } catch (const std::system_error& error) {
    explain_refusal(at, error);
  }
}

void explain_refusal(const address& at, const std::system_error& error) {
  const int code = error.code().value();
  std::string text = "cannot listen on " + at.text() + ": " + error.code().message();
  if (at.is_unix()) {
    if (code == EADDRINUSE) {
      text += "\nanother process listens there, or this is no socket: ss -lxp and ls -l show; or choose another name";
    } else if (code == ENOENT || code == EACCES || code == ENOTDIR || code == EROFS) {
      text += "\nits directory must exist and be writable for this user: make it, or choose another path";
    }
  } else if (code == EADDRINUSE) {
    text += "\nanother process has this port: stop it (ss -tulnp shows which), or choose another with --port";
  } else if (code == EACCES) {
    text +=
        "\nports below 1024 need a privilege: choose another with --port, or allow it with setcap "
        "cap_net_bind_service=+ep";
  } else if (code == EADDRNOTAVAIL) {
    text += "\nthis machine has no such address: choose one of its own with --bind (ip addr lists them)";
  }
  throw startup_error(text);
}

unique_fd duplicate(int fd) {
  unique_fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (copy.get() < 0) fail("fcntl F_DUPFD_CLOEXEC");
  return copy;
}

void require_listening(int fd, int type) {
  int found = 0;
  int listens = 0;
  socklen_t size = sizeof found;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &found, &size) != 0) fail("getsockopt SO_TYPE");
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) fail("getsockopt SO_ACCEPTCONN");
  if (found == type && listens != 0) return;
  throw std::system_error(EINVAL, std::generic_category(),
                          "descriptor " + std::to_string(fd) + " is no " +
                              (type == SOCK_STREAM ? "stream" : "message") + " socket that listens");
}

namespace {
template <class Name>
address name_of(int fd, Name ask, const char* what) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (ask(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) fail(what);
  return address::from_kernel(&storage, size);
}
}  // namespace

address local_address(int fd) { return name_of(fd, ::getsockname, "getsockname"); }
address peer_address(int fd) { return name_of(fd, ::getpeername, "getpeername"); }

credentials peer_credentials(int fd) {
  if (!local_address(fd).is_unix()) {
    throw std::system_error(EOPNOTSUPP, std::generic_category(), "only a Unix socket knows its peer's credentials");
  }
  ucred known{};
  socklen_t size = sizeof known;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &known, &size) != 0) fail("getsockopt SO_PEERCRED");
  return {known.pid, known.uid, known.gid};
}

void reset_at_close(int fd) noexcept {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void shut_down_output(int fd) noexcept { ::shutdown(fd, SHUT_WR); }

void shut_down_input(int fd) noexcept { ::shutdown(fd, SHUT_RD); }

int unacknowledged_bytes(int fd) noexcept {
  int bytes = 0;
  ::ioctl(fd, SIOCOUTQ, &bytes);
  return bytes;
}

int unread_bytes(int fd) noexcept {
  int bytes = 0;
  ::ioctl(fd, SIOCINQ, &bytes);
  return bytes;
}

}  // namespace skerry::net
