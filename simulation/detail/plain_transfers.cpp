// SPDX-License-Identifier: Apache-2.0
// connect, recv and send as plain calls on simulated sockets: for programs, and above all tests, that have a socket of
// their own beside a stream. They never wait, whatever the socket says of itself: a call that waits would stand still
// with the shard and all that it waits for. So connect reaches what listens on the same host, where the kernel needs
// nobody else either.
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/network.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <cerrno>
#include <utility>

namespace skerry::sim::detail {

int tcp_socket::connect_now(place to) {
  if (role_ == role::connected) return -EISCONN;
  if (role_ != role::fresh) return -EALREADY;
  if (!is_loopback(to.ip) && to.ip != of.ip()) return -EOPNOTSUPP;
  if (local.port == 0) {
    if (const int refused = in().net().bind(*this, {}); refused != 0) return refused;
  }
  tcp_socket* door = in().net().listener_at(of, to);
  if (door == nullptr) return -ECONNREFUSED;
  if (door->waiting_.size() >= door->backlog_) return -EAGAIN;
  remote = to;
  if (local.ip == 0) local.ip = is_loopback(to.ip) ? loopback + 1 : of.ip();
  role_ = role::connected;
  connect_result_ = 0;
  enter(*door);
  door->changed();
  return 0;
}

long tcp_socket::receive_now(void* into, std::size_t room) {
  if (role_ != role::connected) return -ENOTCONN;
  if (unread() > 0) return static_cast<long>(take_arrived(into, room));
  if (error_ != 0) return -std::exchange(error_, 0);
  return peer_ended_ || input_shut_ || dead_ ? 0 : -EAGAIN;
}

long tcp_socket::send_now(const void* bytes, std::size_t size) {
  if (role_ != role::connected) return -ENOTCONN;
  if (error_ != 0) return -std::exchange(error_, 0);
  if (dead_ || end_sent_) return -EPIPE;
  std::size_t sent = 0;
  while (sent < size && may_send()) {
    sent += send_part(static_cast<const char*>(bytes) + sent, size - sent);
  }
  return sent > 0 || size == 0 ? static_cast<long>(sent) : -EAGAIN;
}

}  // namespace skerry::sim::detail
