// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/socket.hpp>

#include <cerrno>
#include <string>
#include <system_error>

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
  unique_fd fd = make_tcp_socket(at.family());
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "setsockopt SO_REUSEADDR");
  if (shared) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "setsockopt SO_REUSEPORT");
  if (::bind(fd.get(), at.data(), at.size()) != 0) fail("bind to ", at);
  return fd;
}

}  // namespace

unique_fd::~unique_fd() {
  if (fd_ >= 0) ::close(fd_);
}

unique_fd make_tcp_socket(int family) {
  unique_fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) fail("socket");
  return fd;
}

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
    std::string text = "cannot listen on " + at.text() + ": " + error.code().message();
    if (error.code().value() == EADDRINUSE) {
      text += "\nanother process has this port: stop it (ss -ltnp shows which), or choose another with --port";
    } else if (error.code().value() == EACCES) {
      text +=
          "\nports below 1024 need a privilege: choose another with --port, or allow it with setcap "
          "cap_net_bind_service=+ep";
    } else if (error.code().value() == EADDRNOTAVAIL) {
      text += "\nthis machine has no such address: choose one of its own with --bind (ip addr lists them)";
    }
    throw startup_error(text);
  }
}

address local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) fail("getsockname");
  return address::from_kernel(storage);
}

void shut_down_output(int fd) noexcept { ::shutdown(fd, SHUT_WR); }

int unacknowledged_bytes(int fd) noexcept {
  int bytes = 0;
  ::ioctl(fd, SIOCOUTQ, &bytes);
  return bytes;
}

}  // namespace skerry::net
