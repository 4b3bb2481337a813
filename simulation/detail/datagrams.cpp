// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/datagrams.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <linux/sockios.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace skerry::sim::detail {

namespace {

constexpr nanoseconds late_max = std::chrono::milliseconds(200);
constexpr std::size_t receive_buffer_min = 2304;

}  // namespace

// --- ports ---

int network::bind(udp_socket& s, place at) {
  if (s.local.port != 0) return -EINVAL;
  if (const int refused = s.refusal(at); refused != 0) return refused;
  const auto taken = [&] {
    return std::ranges::any_of(datagrams_, [&](const udp_socket* each) {
      const bool share = (each->reuse_port && s.reuse_port) || (each->reuse_address && s.reuse_address);
      return s.meets(*each, at) && !share;
    });
  };
  if (at.port == 0) {
    do at.port = s.of.next_ephemeral_port();
    while (taken());
  } else if (taken()) {
    return -EADDRINUSE;
  }
  s.local = at;
  datagrams_.push_back(&s);
  return 0;
}

udp_socket* network::receiver_at(const machine& on, const place& at, const place& from) noexcept {
  std::vector<udp_socket*> found;
  bool connected = false;
  for (udp_socket* each : datagrams_) {
    const bool here = &each->of == &on && each->local.port == at.port && each->covers(at.ip);
    if (!here || (each->connected() && each->remote != from)) continue;
    if (each->connected() && !connected) found.clear();  // who speaks with one only comes first
    if (connected && !each->connected()) continue;
    connected = each->connected();
    found.push_back(each);
  }
  if (found.empty()) return nullptr;
  const std::uint64_t sender = (from.ip.high ^ from.ip.low << 16 ^ from.port) * 0x9e3779b97f4a7c15;
  return found[(sender >> 32) % found.size()];
}

// --- a socket ---

udp_socket::udp_socket(machine& whose, int of_family) noexcept : ip_socket(whose, of_family) {}

udp_socket::~udp_socket() { in().net().unbind(*this); }

world& udp_socket::in() const noexcept { return of.in(); }

int udp_socket::bind(const sockaddr* name, socklen_t bytes) {
  place at;
  const int refused = read_name(name, bytes, family, at);
  return refused != 0 ? refused : in().net().bind(*this, at);
}

int udp_socket::bind_anywhere() { return local.port != 0 ? 0 : in().net().bind(*this, anywhere(family)); }

int udp_socket::connect_now(const sockaddr* name, socklen_t bytes) {
  place to;
  int refused = read_name(name, bytes, family, to);
  if (refused == 0 && to.port == 0) refused = -EINVAL;
  if (refused == 0) refused = toward(to);
  if (refused == 0) refused = bind_anywhere();
  if (refused != 0) return refused;
  remote = to;
  local.ip = as_seen_from(to.ip);
  return 0;
}

int udp_socket::shut_down(int how) {
  if (!connected()) return -ENOTCONN;
  input_shut_ = input_shut_ || how != SHUT_WR;
  output_shut_ = output_shut_ || how != SHUT_RD;
  changed();
  return 0;
}

int udp_socket::local_name(sockaddr* name, socklen_t* bytes) const noexcept {
  write_name(local, family, name, bytes);
  return 0;
}

int udp_socket::peer_name(sockaddr* name, socklen_t* bytes) const noexcept {
  if (!connected()) return -ENOTCONN;
  write_name(remote, family, name, bytes);
  return 0;
}

int udp_socket::set_option(int level, int name, const void* value, socklen_t bytes) noexcept {
  if (level == SOL_UDP) return -ENOPROTOOPT;
  if (set_common(level, name, value, bytes) || level != SOL_SOCKET) return 0;
  const int number = bytes >= sizeof(int) ? *static_cast<const int*>(value) : 0;
  switch (name) {
    case SO_RCVBUF: receive_buffer_ = std::max(receive_buffer_min, 2 * static_cast<std::size_t>(number)); return 0;
    case SO_ATTACH_REUSEPORT_CBPF: return -ENOPROTOOPT;
    default: return 0;
  }
}

int udp_socket::get_option(int level, int name, void* value, socklen_t* bytes) noexcept {
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) return give_number(value, bytes, v6_only);
  if (level != SOL_SOCKET) return -ENOPROTOOPT;
  switch (name) {
    case SO_TYPE: return give_number(value, bytes, SOCK_DGRAM);
    case SO_DOMAIN: return give_number(value, bytes, family);
    case SO_ERROR: return give_number(value, bytes, std::exchange(error_, 0));
    case SO_RCVBUF: return give_number(value, bytes, static_cast<int>(receive_buffer_));
    default: return -ENOPROTOOPT;
  }
}

/// The length of the next, and nothing that waits to be sent.
int udp_socket::control(unsigned long command, int& value) const noexcept {
  switch (command) {
    case SIOCINQ: value = queue_.empty() ? 0 : static_cast<int>(queue_.front().bytes.size()); return 0;
    case SIOCOUTQ: value = 0; return 0;
    default: return -ENOTTY;
  }
}

std::uint32_t udp_socket::events() const noexcept {
  std::uint32_t now = POLLOUT;
  if (!queue_.empty() || error_ != 0 || input_shut_) now |= POLLIN;
  if (error_ != 0) now |= POLLERR;
  if (input_shut_ && output_shut_) now |= POLLHUP;
  return now;
}

bool udp_socket::attempt(request& r) noexcept {
  switch (r.what().opcode) {
    case IORING_OP_RECVMSG: return receive(r);
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG: r.finish(send(r.what())); return true;
    case IORING_OP_CONNECT: {
      const auto* name = reinterpret_cast<const sockaddr*>(r.what().addr);
      r.finish(connect_now(name, static_cast<socklen_t>(r.what().off)));
      return true;
    }
    default: r.finish(-EOPNOTSUPP); return true;
  }
}

void udp_socket::closed() noexcept {
  in().net().unbind(*this);
  cancel_all();
  queue_.clear();
  queued_ = 0;
}

void udp_socket::vanished() noexcept {
  in().net().unbind(*this);
  queue_.clear();
}

// --- in ---

void udp_socket::come(packet what) {
  const std::size_t takes = what.bytes.size() + overhead;
  if (input_shut_ || (queued_ != 0 && queued_ + takes > receive_buffer_)) return;
  queued_ += takes;
  queue_.push_back(std::move(what));
  changed();
}

void udp_socket::refused() noexcept {
  error_ = ECONNREFUSED;
  changed();
}

udp_socket::packet udp_socket::next() {
  packet first = std::move(queue_.front());
  queue_.pop_front();
  queued_ -= first.bytes.size() + overhead;
  return first;
}

std::string udp_socket::take() { return queue_.empty() ? std::string() : next().bytes; }

/// The next one, as recvmsg(2) writes it.
std::int32_t udp_socket::receive_into(msghdr& message, std::uint32_t flags) noexcept {
  const packet next = this->next();
  std::size_t done = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
    const std::size_t part = std::min(message.msg_iov[i].iov_len, next.bytes.size() - done);
    if (part != 0) std::memcpy(message.msg_iov[i].iov_base, next.bytes.data() + done, part);
    done += part;
  }
  if (message.msg_name != nullptr) {
    write_name(next.from, family, static_cast<sockaddr*>(message.msg_name), &message.msg_namelen);
  }
  message.msg_controllen = 0;
  message.msg_flags = done < next.bytes.size() ? MSG_TRUNC : 0;
  return static_cast<std::int32_t>((flags & MSG_TRUNC) != 0 ? next.bytes.size() : done);
}

bool udp_socket::receive(request& r) noexcept {
  auto& given = *reinterpret_cast<msghdr*>(r.what().addr);
  while (true) {
    if (error_ != 0) {
      r.finish(-std::exchange(error_, 0));
      return true;
    }
    if (queue_.empty()) {
      const bool waits = (r.what().msg_flags & MSG_DONTWAIT) == 0 && !input_shut_;
      if (!waits) r.finish(input_shut_ ? 0 : -EAGAIN);
      return !waits;
    }
    if (!r.multishot()) {
      r.finish(receive_into(given, r.what().msg_flags));
      return true;
    }
    void* data = nullptr;
    std::uint32_t room = 0;
    const int number = r.take_buffer(data, room);
    if (number < 0) {
      r.finish(-ENOBUFS);
      return true;
    }
    // In the buffer: what is said of it, the areas for name and control that the layout asks for, the bytes.
    auto* at = static_cast<std::byte*>(data);
    const std::size_t before = sizeof(io_uring_recvmsg_out) + given.msg_namelen + given.msg_controllen;
    SKERRY_ASSERT(before <= room, "a lent buffer has room for the areas of the layout");
    iovec piece{at + before, room - before};
    msghdr message{};
    message.msg_name = at + sizeof(io_uring_recvmsg_out);
    message.msg_namelen = given.msg_namelen;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const auto full = static_cast<std::uint32_t>(receive_into(message, MSG_TRUNC));
    io_uring_recvmsg_out out{};
    out.namelen = message.msg_namelen;
    out.payloadlen = full;
    out.flags = static_cast<std::uint32_t>(message.msg_flags);
    std::memcpy(at, &out, sizeof out);
    const auto result = static_cast<std::int32_t>(before + std::min<std::size_t>(full, piece.iov_len));
    const std::uint32_t flags = IORING_CQE_F_BUFFER | static_cast<std::uint32_t>(number) << IORING_CQE_BUFFER_SHIFT;
    full == 0 ? r.finish(result, flags) : r.emit(result, flags);  // an empty one ends it
    if (r.finished()) return true;
  }
}

// --- out ---

int udp_socket::send(const submission& what) noexcept {
  if (what.opcode == IORING_OP_SENDMSG) return send(*reinterpret_cast<const msghdr*>(what.addr));
  iovec all{reinterpret_cast<void*>(what.addr), what.len};
  msghdr message{};
  message.msg_name = reinterpret_cast<void*>(what.off);
  message.msg_namelen = what.addr_len;
  message.msg_iov = &all;
  message.msg_iovlen = 1;
  return send(message);
}

int udp_socket::send(const msghdr& message) noexcept {
  if (message.msg_controllen != 0) return -EINVAL;
  place to = remote;
  if (message.msg_name != nullptr) {
    const auto* name = static_cast<const sockaddr*>(message.msg_name);
    if (const int wrong = read_name(name, message.msg_namelen, family, to); wrong != 0) return wrong;
  }
  std::string bytes;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
    bytes.append(static_cast<const char*>(message.msg_iov[i].iov_base), message.msg_iov[i].iov_len);
  }
  return send(std::move(bytes), to);
}

long udp_socket::read_now(msghdr& into, int flags) {
  const auto ready = [this] { return error_ != 0 || !queue_.empty() || input_shut_; };
  if (!non_blocking && (flags & MSG_DONTWAIT) == 0 && !of.block_until(ready)) return -EINTR;
  if (error_ != 0) return -std::exchange(error_, 0);
  if (queue_.empty()) return input_shut_ ? 0 : -EAGAIN;
  return receive_into(into, static_cast<std::uint32_t>(flags));
}

long udp_socket::write_now(const msghdr& from, int) { return send(from); }

int udp_socket::send(std::string bytes, place to) noexcept {
  if (output_shut_) return -EPIPE;
  if (bytes.size() > bytes_max) return -EMSGSIZE;
  if (error_ != 0) return -std::exchange(error_, 0);
  if (to.port == 0) return connected() ? -EINVAL : -EDESTADDRREQ;
  if (const int refused = toward(to); refused != 0) return refused;
  if (const int refused = bind_anywhere(); refused != 0) return refused;
  world& w = in();
  const network_options& net = w.given().network;
  const bool inside = to.ip.is_loopback() || of.has(to.ip);
  const auto result = static_cast<int>(bytes.size());
  packet one{local, std::move(bytes)};
  one.from.ip = as_seen_from(to.ip);
  if (!inside && w.chance(net.datagram_lost, "datagram_lost")) return result;
  if (!inside && w.chance(net.datagram_twice, "datagram_twice")) under_way(to, one, inside);
  under_way(to, std::move(one), inside);
  return result;
}

void udp_socket::under_way(const place& to, packet what, bool inside) {
  world& w = in();
  const network_options& net = w.given().network;
  nanoseconds takes(what.bytes.size() * 1'000'000'000 / std::max<std::uint64_t>(net.bytes_per_second, 1));
  nanoseconds due = w.now() + takes;
  if (inside) {
    due = last_inside_ = std::max(last_inside_ + nanoseconds(1), due + net.latency_min);
  } else {
    due += w.between(net.latency_min, net.latency_max);
    if (w.chance(net.datagram_late, "datagram_late")) due += w.between(nanoseconds(0), late_max);
  }
  w.at(due, [&from = of, to, all = std::move(what)]() mutable { arrive(from.in(), from, to, std::move(all)); });
}

/// At whoever has the port now; the sender may be gone.
void udp_socket::arrive(world& in, machine& from, const place& to, packet what) {
  machine* target = to.ip.is_loopback() ? &from : in.at_address(to.ip);
  if (target == nullptr || target->now() != machine::state::running || in.cut(from, *target, to.ip.is_v4())) return;
  if (udp_socket* found = in.net().receiver_at(*target, to, what.from)) return found->come(std::move(what));
  // The answer that nobody is there goes the same way back, and may be lost, too.
  const network_options& net = in.given().network;
  if (target != &from && in.chance(net.datagram_lost, "datagram_lost")) return;
  in.after(in.between(net.latency_min, net.latency_max), [&in, &from, target, to, back = what.from] {
    if (in.cut(*target, from, to.ip.is_v4())) return;
    udp_socket* sender = in.net().receiver_at(from, back, to);
    if (sender != nullptr && sender->connected()) sender->refused();
  });
}

}  // namespace skerry::sim::detail
