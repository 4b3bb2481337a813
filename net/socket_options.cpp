// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/socket_options.hpp>

#include <cerrno>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace skerry::net {

namespace {

template <class Number>
void set(int fd, int level, int name, Number value, const char* what) {
  const bool fits = std::in_range<int>(value) && value >= 0;
  const int given = fits ? static_cast<int>(value) : 0;
  if (fits && ::setsockopt(fd, level, name, &given, sizeof given) == 0) return;
  throw std::system_error(fits ? errno : EINVAL, std::generic_category(),
                          std::string("setsockopt ") + what + " to " + std::to_string(value));
}

}  // namespace

void keep_alive::apply(int fd) const {
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle.count(), "TCP_KEEPIDLE");
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval.count(), "TCP_KEEPINTVL");
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, probes, "TCP_KEEPCNT");
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE");
}
void no_keep_alive::apply(int fd) const { set(fd, SOL_SOCKET, SO_KEEPALIVE, 0, "SO_KEEPALIVE"); }
void user_timeout::apply(int fd) const { set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, time.count(), "TCP_USER_TIMEOUT"); }
void send_delay::apply(int fd) const { set(fd, IPPROTO_TCP, TCP_NODELAY, on ? 0 : 1, "TCP_NODELAY"); }
void send_buffer::apply(int fd) const { set(fd, SOL_SOCKET, SO_SNDBUF, bytes, "SO_SNDBUF"); }
void receive_buffer::apply(int fd) const { set(fd, SOL_SOCKET, SO_RCVBUF, bytes, "SO_RCVBUF"); }

}  // namespace skerry::net
