// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/network.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace skerry::sim::detail {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr nanoseconds first_retry = milliseconds(200);
constexpr unsigned tries_max = 12;  // 200 ms, doubled each time: about 14 minutes
constexpr unsigned knocks_max = 6;

void give(void* value, socklen_t* bytes, int what) noexcept {
  if (*bytes < sizeof what) return;
  *static_cast<int*>(value) = what;
  *bytes = sizeof what;
}

}  // namespace

int read_name(const sockaddr* name, socklen_t bytes, place& into) noexcept {
  if (name == nullptr || bytes < sizeof(sockaddr_in) || name->sa_family != AF_INET) return -1;
  sockaddr_in v4{};
  std::memcpy(&v4, name, sizeof v4);
  into = {ntohl(v4.sin_addr.s_addr), ntohs(v4.sin_port)};
  return 0;
}

void write_name(const place& from, sockaddr* name, socklen_t* bytes) noexcept {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(from.ip);
  v4.sin_port = htons(from.port);
  std::memcpy(name, &v4, std::min<std::size_t>(*bytes, sizeof v4));
  *bytes = sizeof v4;
}

// --- ports ---

bool network::taken(const machine& on, std::uint16_t port) const noexcept {
  return std::ranges::any_of(bound_,
                             [&](const tcp_socket* each) { return &each->of == &on && each->local.port == port; });
}

int network::bind(tcp_socket& s, place at) {
  if (s.local.port != 0) return -EINVAL;
  if (at.ip != 0 && !is_loopback(at.ip) && at.ip != s.of.ip()) return -EADDRNOTAVAIL;
  if (at.port == 0) {
    do at.port = s.of.next_ephemeral_port();
    while (taken(s.of, at.port));
  }
  for (const tcp_socket* each : bound_) {
    const bool meet = each->local.ip == at.ip || each->local.ip == 0 || at.ip == 0;
    if (&each->of != &s.of || each->local.port != at.port || !meet) continue;
    const bool share = each->reuse_port && s.reuse_port;
    const bool follow = each->reuse_address && s.reuse_address && !each->listens();
    if (!share && !follow) return -EADDRINUSE;
  }
  s.local = at;
  bound_.push_back(&s);
  return 0;
}

tcp_socket* network::listener_at(const machine& on, const place& at) noexcept {
  std::vector<tcp_socket*> found;
  for (tcp_socket* each : bound_) {
    if (&each->of == &on && each->listens() && each->local.port == at.port &&
        (each->local.ip == 0 || each->local.ip == at.ip)) {
      found.push_back(each);
    }
  }
  if (found.empty()) return nullptr;
  return found.size() == 1 ? found.front() : found[world::current().draw(found.size())];
}

// --- a socket ---

tcp_socket::tcp_socket(machine& whose) noexcept : of(whose) {}

tcp_socket::~tcp_socket() { in().net().unbind(*this); }

world& tcp_socket::in() const noexcept { return of.in(); }

std::size_t tcp_socket::room_of(std::size_t asked_for) const noexcept {
  const std::size_t most = in().given().network.socket_buffer_bytes;
  return asked_for == 0 ? most : std::min(asked_for, most);
}

int tcp_socket::bind(place at) { return in().net().bind(*this, at); }

int tcp_socket::listen(int backlog) {
  if (role_ != role::fresh && role_ != role::listening) return -EINVAL;
  if (local.port == 0) {
    if (const int refused = in().net().bind(*this, {}); refused != 0) return refused;
  }
  role_ = role::listening;
  backlog_ = static_cast<std::size_t>(std::clamp(backlog, 1, 4096));
  return 0;
}

int tcp_socket::local_name(sockaddr* name, socklen_t* bytes) const noexcept {
  write_name(local, name, bytes);
  return 0;
}

int tcp_socket::peer_name(sockaddr* name, socklen_t* bytes) const noexcept {
  if (role_ != role::connected) return -ENOTCONN;
  write_name(remote, name, bytes);
  return 0;
}

int tcp_socket::set_option(int level, int name, const void* value, socklen_t bytes) noexcept {
  if (level != SOL_SOCKET) return 0;  // they change when packets go, of which there are none
  const bool on = bytes >= sizeof(int) && *static_cast<const int*>(value) != 0;
  switch (name) {
    case SO_REUSEADDR: reuse_address = on; return 0;
    case SO_REUSEPORT: reuse_port = on; return 0;
    case SO_LINGER: {
      const auto* linger = static_cast<const ::linger*>(value);
      reset_at_close = bytes >= sizeof *linger && linger->l_onoff != 0 && linger->l_linger == 0;
      return 0;
    }
    case SO_SNDBUF:
    case SO_RCVBUF: {
      // The kernel doubles what is asked for, and has a least that it gives.
      const std::size_t asked =
          bytes >= sizeof(int) ? static_cast<std::size_t>(std::max(*static_cast<const int*>(value), 0)) : 0;
      (name == SO_SNDBUF ? send_buffer : receive_buffer) = std::max<std::size_t>(2 * asked, 4608);
      return 0;
    }
    case SO_ATTACH_REUSEPORT_CBPF: return -ENOPROTOOPT;
    default: return 0;
  }
}

int tcp_socket::get_option(int level, int name, void* value, socklen_t* bytes) noexcept {
  if (level != SOL_SOCKET) return -ENOPROTOOPT;
  switch (name) {
    case SO_TYPE: give(value, bytes, SOCK_STREAM); return 0;
    case SO_ACCEPTCONN: give(value, bytes, listens()); return 0;
    case SO_ERROR: give(value, bytes, 0); return 0;
    default: return -ENOPROTOOPT;
  }
}

int tcp_socket::control(unsigned long command, int& value) const noexcept {
  switch (command) {
    case SIOCOUTQ: value = unacknowledged(); return 0;
    case SIOCINQ: value = unread(); return 0;
    default: return -ENOTTY;
  }
}

std::uint32_t tcp_socket::events() const noexcept {
  if (role_ == role::listening) return waiting_.empty() ? 0 : POLLIN;
  if (role_ == role::connecting) return 0;
  if (role_ == role::fresh) return POLLOUT | POLLHUP;
  std::uint32_t now = 0;
  if (unread() > 0 || peer_ended_ || input_shut_ || dead_) now |= POLLIN;
  if (may_send() || dead_) now |= POLLOUT;
  if (error_ != 0) now |= POLLERR;
  if (dead_ || (peer_ended_ && end_sent_)) now |= POLLHUP;
  return now;
}

bool tcp_socket::attempt(request& r) noexcept {
  switch (r.what().opcode) {
    case IORING_OP_ACCEPT: return attempt_accept(r);
    case IORING_OP_CONNECT: return attempt_connect(r);
    case IORING_OP_RECV: return attempt_receive(r);
    case IORING_OP_SEND: return attempt_send(r);
    default: r.finish(-EOPNOTSUPP); return true;
  }
}

// --- accept ---

int tcp_socket::accept_now() {
  if (role_ != role::listening) return -EINVAL;
  if (waiting_.empty()) return -EAGAIN;
  if (in().chance(in().given().system.out_of_descriptors, "out_of_descriptors")) return -EMFILE;
  const int fd = of.open(waiting_.front());
  if (fd >= 0) waiting_.pop_front();
  return fd;
}

bool tcp_socket::attempt_accept(request& r) noexcept {
  while (true) {
    const int fd = accept_now();
    if (fd == -EAGAIN) return false;
    if (fd < 0 || !r.multishot()) {
      r.finish(fd);
      return true;
    }
    r.emit(fd);
    if (r.finished()) return true;
  }
}

// --- connect ---

bool tcp_socket::attempt_connect(request& r) noexcept {
  if (connect_result_ <= 0) {
    r.finish(connect_result_);
    return true;
  }
  if (std::exchange(knocking_, true)) return false;
  place to;
  if (role_ != role::fresh ||
      read_name(reinterpret_cast<const sockaddr*>(r.what().addr), static_cast<socklen_t>(r.what().off), to) != 0) {
    r.finish(role_ == role::connected ? -EISCONN : -EAFNOSUPPORT);
    return true;
  }
  if (local.port == 0) {
    if (const int refused = in().net().bind(*this, {}); refused != 0) {
      r.finish(refused);
      return true;
    }
  }
  remote = to;
  if (local.ip == 0) local.ip = is_loopback(to.ip) ? loopback + 1 : of.ip();
  role_ = role::connecting;
  knock(0);
  return false;
}

/// One attempt to reach a listener; again after a second, twice as long each time.
void tcp_socket::knock(unsigned tries) {
  world& w = in();
  const network_options& net = w.given().network;
  w.after(w.between(net.latency_min, net.latency_max), [me = self(), tries] {
    if (me->gone_) return;
    world& now = me->in();
    machine* target = is_loopback(me->remote.ip) ? &me->of : now.at_address(me->remote.ip);
    const bool reaches = target != nullptr && target->now() == machine::state::running && !now.cut(me->of, *target) &&
                         !now.cut(*target, me->of);
    if (reaches) {
      tcp_socket* door = now.net().listener_at(*target, me->remote);
      if (door == nullptr || now.chance(now.given().network.refused_connect, "refused_connect"))
        return me->answer(false, nullptr);
      if (door->waiting_.size() < door->backlog_) {
        me->answer(true, me->enter(*door));
        return door->changed();
      }
    }
    if (tries == knocks_max) {
      me->connect_result_ = -ETIMEDOUT;
      me->role_ = role::fresh;
      return me->changed();
    }
    now.after(seconds(1u << tries), [me, tries] {
      if (!me->gone_) me->knock(tries + 1);
    });
  });
}

/// Its other side, which waits there to be accepted.
std::shared_ptr<tcp_socket> tcp_socket::enter(tcp_socket& door) {
  auto other = std::make_shared<tcp_socket>(door.of);
  other->role_ = role::connected;
  other->local = remote;
  other->remote = local;
  other->peer_ = self();
  peer_ = other;
  door.waiting_.push_back(other);
  return other;
}

/// What the listener's host says comes back.
void tcp_socket::answer(bool accepted, const std::shared_ptr<tcp_socket>& other) {
  world& w = in();
  const network_options& net = w.given().network;
  const bool broken_early = accepted && w.chance(net.reset_accept, "reset_accept");
  w.after(w.between(net.latency_min, net.latency_max), [me = self(), accepted, broken_early, other] {
    if (me->gone_) {
      if (other != nullptr) other->broken(ECONNRESET);
      return;
    }
    me->connect_result_ = accepted ? 0 : -ECONNREFUSED;
    me->role_ = accepted ? role::connected : role::fresh;
    me->changed();
    if (broken_early) {
      me->broken(ECONNRESET);
      other->broken(ECONNRESET);
    }
  });
}

// --- in ---

bool tcp_socket::attempt_receive(request& r) noexcept {
  if (role_ != role::connected) {
    r.finish(-ENOTCONN);
    return true;
  }
  while (unread() > 0) {
    void* data = nullptr;
    std::uint32_t room = 0;
    const int number = r.take_buffer(data, room);
    if (number < 0) {
      r.finish(-ENOBUFS);
      return true;
    }
    const std::size_t bytes = take_arrived(data, room);
    const std::uint32_t flags = IORING_CQE_F_BUFFER | static_cast<std::uint32_t>(number) << IORING_CQE_BUFFER_SHIFT;
    r.emit(static_cast<std::int32_t>(bytes), flags);
    if (r.finished()) return true;
  }
  if (error_ != 0) {
    r.finish(-std::exchange(error_, 0));
    return true;
  }
  if (!peer_ended_ && !input_shut_ && !dead_) return false;
  r.finish(0);
  return true;
}

/// Of what has come, as much as there is room for, or less.
std::size_t tcp_socket::take_arrived(void* into, std::size_t room) {
  world& w = in();
  auto bytes = std::min<std::size_t>(static_cast<std::size_t>(unread()), room);
  if (bytes > 1 && w.chance(w.given().system.short_transfer, "short_transfer")) bytes = 1 + w.draw(bytes);
  std::memcpy(into, arrived_.data() + taken_, bytes);
  taken_ += bytes;
  if (taken_ == arrived_.size()) {
    arrived_.clear();
    taken_ = 0;
  }
  make_room();
  return bytes;
}

/// What has come and found no room takes what there is now, and counts as acknowledged.
void tcp_socket::make_room() {
  const std::size_t most = room_of(receive_buffer);
  bool took = false;
  while (!outside_.empty() && arrived_.size() - taken_ < most) {
    piece first = std::move(outside_.front());
    outside_.pop_front();
    come(first);
    took = true;
  }
  if (!took) return;
  if (const auto other = peer_.lock()) other->changed();
}

void tcp_socket::come(const piece& what) {
  const auto other = peer_.lock();
  if (what.end) {
    peer_ended_ = true;
    if (other != nullptr) other->end_arrived_ = true;
    return;
  }
  if (taken_ > 64 * 1024) {
    arrived_.erase(0, taken_);
    taken_ = 0;
  }
  arrived_ += what.bytes;
  if (other != nullptr) other->unacknowledged_ -= what.bytes.size();
}

// --- out ---

bool tcp_socket::attempt_send(request& r) noexcept {
  if (role_ != role::connected) {
    r.finish(-EPIPE);
    return true;
  }
  if (error_ != 0) {
    r.finish(r.progress > 0 ? static_cast<std::int32_t>(r.progress) : -std::exchange(error_, 0));
    return true;
  }
  if (dead_ || end_sent_) {
    r.finish(r.progress > 0 ? static_cast<std::int32_t>(r.progress) : -EPIPE);
    return true;
  }
  world& w = in();
  const auto* data = reinterpret_cast<const char*>(r.what().addr);
  while (r.progress < r.what().len && may_send()) {
    r.progress += send_part(data + r.progress, r.what().len - r.progress);
    if (r.progress < r.what().len && w.chance(w.given().system.short_transfer, "short_transfer")) break;
  }
  const bool all = r.progress == r.what().len;
  if (!all && !may_send()) return false;
  r.finish(static_cast<std::int32_t>(r.progress));
  return true;
}

/// One piece, of what there is room for.
std::size_t tcp_socket::send_part(const char* data, std::size_t size) {
  world& w = in();
  const network_options& net = w.given().network;
  auto bytes = std::min<std::size_t>({size, room_of(send_buffer) - unacknowledged_, net.segment_bytes_max});
  if (bytes > 1 && w.chance(net.small_segment, "small_segment")) bytes = 1 + w.draw(std::min<std::size_t>(bytes, 8));
  put_under_way({std::string(data, bytes), false, {}});
  return bytes;
}

void tcp_socket::put_under_way(piece what) {
  world& w = in();
  const network_options& net = w.given().network;
  unacknowledged_ += what.bytes.size();
  nanoseconds takes = w.between(net.latency_min, net.latency_max);
  if (is_loopback(remote.ip)) takes = net.latency_min;
  takes += nanoseconds(what.bytes.size() * 1'000'000'000 / std::max<std::uint64_t>(net.bytes_per_second, 1));
  if (w.chance(net.delayed_segment, "delayed_segment")) takes += first_retry;
  last_due_ = what.due = std::max(last_due_, w.now() + takes);
  flight_.push_back(std::move(what));
  schedule_flight();
}

void tcp_socket::send_end() {
  if (end_sent_ || dead_) return;
  end_sent_ = true;
  put_under_way({{}, true, {}});
}

void tcp_socket::schedule_flight() {
  if (flight_.empty() || flight_scheduled_) return;
  flight_scheduled_ = true;
  in().at(flight_.front().due, [me = self()] {
    me->flight_scheduled_ = false;
    me->deliver_first();
  });
}

void tcp_socket::deliver_first() {
  if (flight_.empty() || dead_) return;
  world& w = in();
  const auto other = peer_.lock();
  machine& target = is_loopback(remote.ip) ? of : other != nullptr ? other->of : *w.at_address(remote.ip);
  const bool reaches = target.now() == machine::state::running && !w.cut(of, target);
  if (!reaches) {
    if (++tries_ > tries_max) return broken(ETIMEDOUT);
    flight_.front().due = w.now() + first_retry * (1u << (tries_ - 1));
    return schedule_flight();
  }
  // Who has closed, or lived before its host's restart, knows nothing of this connection.
  const bool knows = other != nullptr && !other->gone_ && !other->dead_;
  const bool answers = !w.cut(target, of);
  if (knows && !flight_.front().seen) {
    if (w.chance(w.given().network.reset_per_segment, "reset_per_segment")) {
      other->broken(ECONNRESET);
      return broken(ECONNRESET);
    }
    flight_.front().seen = true;
    const piece& first = flight_.front();
    const std::size_t most = other->room_of(other->receive_buffer);
    if (!other->outside_.empty() || other->arrived_.size() - other->taken_ >= most) {
      other->outside_.push_back(first);
    } else {
      other->come(first);
    }
    other->changed();
  }
  if (!answers) {
    if (++tries_ > tries_max) return broken(ETIMEDOUT);
    flight_.front().due = w.now() + first_retry * (1u << (tries_ - 1));
    return schedule_flight();
  }
  if (!knows && !(flight_.front().end && other != nullptr && !other->dead_)) return broken(ECONNRESET);
  tries_ = 0;
  if (!knows) end_arrived_ = true;
  flight_.pop_front();
  schedule_flight();
  changed();
}

/// The other side hears of it, if the way is open.
void tcp_socket::send_reset() {
  world& w = in();
  const auto other = peer_.lock();
  if (other == nullptr) return;
  const network_options& net = w.given().network;
  w.after(w.between(net.latency_min, net.latency_max), [other, &from = of] {
    if (!other->in().cut(from, other->of)) other->broken(ECONNRESET);
  });
}

void tcp_socket::broken(int error) {
  if (std::exchange(dead_, true)) return;
  error_ = error;
  flight_.clear();
  outside_.clear();
  unacknowledged_ = 0;
  changed();
}

// --- the end ---

int tcp_socket::shut_down(int how) {
  if (role_ == role::listening) {
    role_ = role::fresh;
    changed();
    return 0;
  }
  if (role_ != role::connected || dead_) return -ENOTCONN;
  if (how != SHUT_WR) input_shut_ = true;
  if (how != SHUT_RD) send_end();
  changed();
  return 0;
}

void tcp_socket::closed() noexcept {
  gone_ = true;
  in().net().unbind(*this);
  cancel_all();
  for (const auto& each : std::exchange(waiting_, {})) {
    each->gone_ = true;
    each->send_reset();
  }
  if (role_ != role::connected || dead_) return;
  const bool lost = unread() > 0 || !outside_.empty();
  if (reset_at_close || lost) {
    flight_.clear();
    dead_ = true;
    return send_reset();
  }
  send_end();
}

void tcp_socket::vanished() noexcept {
  gone_ = dead_ = true;
  in().net().unbind(*this);
  flight_.clear();
  for (const auto& each : std::exchange(waiting_, {})) each->vanished();
}

}  // namespace skerry::sim::detail
