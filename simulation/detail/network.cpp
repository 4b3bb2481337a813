// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/network.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
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

}  // namespace

// --- ports ---

bool network::taken(const machine& on, std::uint16_t port) const noexcept {
  return std::ranges::any_of(bound_,
                             [&](const tcp_socket* each) { return &each->of == &on && each->local.port == port; });
}

int network::bind(tcp_socket& s, place at) {
  if (s.local.port != 0) return -EINVAL;
  if (const int refused = s.refusal(at); refused != 0) return refused;
  if (at.port == 0) {
    do at.port = s.of.next_ephemeral_port();
    while (taken(s.of, at.port));
  }
  for (const tcp_socket* each : bound_) {
    if (!s.meets(*each, at)) continue;
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
    if (&each->of == &on && each->listens() && each->local.port == at.port && each->covers(at.ip))
      found.push_back(each);
  }
  if (found.empty()) return nullptr;
  return found.size() == 1 ? found.front() : found[world::current().draw(found.size())];
}

// --- a socket ---

tcp_socket::tcp_socket(machine& whose, int of_family) noexcept
    : stream_socket(whose),
      ip_socket(whose, of_family),
      send_buffer_(in().given().network.socket_buffer_bytes),
      receive_buffer_(in().given().network.socket_buffer_bytes) {}

tcp_socket::~tcp_socket() { in().net().unbind(*this); }

bool tcp_socket::cut(const machine& from, const machine& to) const noexcept {
  return in().cut(from, to, remote.ip.is_v4());
}

int tcp_socket::bind(const sockaddr* name, socklen_t bytes) {
  place at;
  const int refused = read_name(name, bytes, family, at);
  return refused != 0 ? refused : in().net().bind(*this, at);
}

int tcp_socket::listen(int backlog) {
  if (role_ != role::fresh && role_ != role::listening) return -EINVAL;
  if (local.port == 0) {
    if (const int refused = in().net().bind(*this, anywhere(family)); refused != 0) return refused;
  }
  open_door(backlog);
  return 0;
}

int tcp_socket::local_name(sockaddr* name, socklen_t* bytes) const noexcept {
  write_name(local, family, name, bytes);
  return 0;
}

int tcp_socket::peer_name(sockaddr* name, socklen_t* bytes) const noexcept {
  if (role_ != role::connected) return -ENOTCONN;
  write_name(remote, family, name, bytes);
  return 0;
}

int* tcp_options::find(int level, int name, int& least, int& most) noexcept {
  if (level == SOL_SOCKET) {
    least = 0;
    most = 1;
    return name == SO_KEEPALIVE ? &keep_alive : nullptr;
  }
  if (level != IPPROTO_TCP) return nullptr;
  least = 1;
  most = 32'767;
  switch (name) {
    case TCP_KEEPIDLE: return &keep_idle;
    case TCP_KEEPINTVL: return &keep_interval;
    case TCP_KEEPCNT: most = 127; return &keep_count;
    case TCP_USER_TIMEOUT:
      least = 0;
      most = std::numeric_limits<int>::max();
      return &user_timeout;
    case TCP_NODELAY:
      least = 0;
      most = 1;
      return &no_delay;
    default: return nullptr;
  }
}

int tcp_socket::set_option(int level, int name, const void* value, socklen_t bytes) noexcept {
  if (set_common(level, name, value, bytes)) return 0;
  int least = 0, most = 0;
  if (int* const kept = options_.find(level, name, least, most); kept != nullptr) {
    if (bytes < sizeof(int)) return -EINVAL;
    int given = *static_cast<const int*>(value);
    if (most == 1) given = given != 0 ? 1 : 0;
    if (given < least || given > most) return -EINVAL;
    *kept = given;
    return 0;
  }
  if (level != SOL_SOCKET) return 0;  // as tcp_options, and nobody asks for it
  switch (name) {
    case SO_SNDBUF: send_buffer_ = buffer_size(value, bytes, 4608); return 0;
    case SO_RCVBUF: receive_buffer_ = buffer_size(value, bytes, 2304); return 0;
    case SO_LINGER: {
      const auto* linger = static_cast<const ::linger*>(value);
      reset_at_close = bytes >= sizeof *linger && linger->l_onoff != 0 && linger->l_linger == 0;
      return 0;
    }
    case SO_ATTACH_REUSEPORT_CBPF: return -ENOPROTOOPT;
    default: return 0;
  }
}

int tcp_socket::get_option(int level, int name, void* value, socklen_t* bytes) noexcept {
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) return give_number(value, bytes, v6_only);
  int least = 0, most = 0;
  if (const int* const kept = options_.find(level, name, least, most); kept != nullptr)
    return give_number(value, bytes, *kept);
  if (level != SOL_SOCKET) return -ENOPROTOOPT;
  switch (name) {
    case SO_TYPE: return give_number(value, bytes, SOCK_STREAM);
    case SO_DOMAIN: return give_number(value, bytes, family);
    case SO_ACCEPTCONN: return give_number(value, bytes, listens());
    case SO_ERROR: {
      const int connecting = connect_result_ < 0 ? -std::exchange(connect_result_, 1) : 0;
      return give_number(value, bytes, connecting != 0 ? connecting : std::exchange(error_, 0));
    }
    case SO_SNDBUF: return give_number(value, bytes, static_cast<int>(send_buffer_));
    case SO_RCVBUF: return give_number(value, bytes, static_cast<int>(receive_buffer_));
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
  if (unacknowledged_ < send_buffer_ || dead_) now |= POLLOUT;
  if (error_ != 0) now |= POLLERR;
  if (dead_ || (peer_ended_ && end_sent_)) now |= POLLHUP;
  return now;
}

// --- connect ---

bool tcp_socket::attempt_connect(request& r) noexcept {
  if (connect_result_ <= 0) {
    r.finish(connect_result_);
    return true;
  }
  if (std::exchange(knocking_, true)) return false;
  const auto* name = reinterpret_cast<const sockaddr*>(r.what().addr);
  if (const int refused = begin_to_connect(name, static_cast<socklen_t>(r.what().off)); refused != 0) {
    r.finish(refused);
    return true;
  }
  return false;
}

int tcp_socket::begin_to_connect(const sockaddr* name, socklen_t bytes) {
  if (role_ != role::fresh) return role_ == role::connected ? -EISCONN : -EINVAL;
  place to;
  int refused = read_name(name, bytes, family, to);
  if (refused == 0) refused = toward(to);
  if (refused == 0 && local.port == 0) refused = in().net().bind(*this, anywhere(family));
  if (refused != 0) return refused;
  remote = to;
  local.ip = as_seen_from(to.ip);
  role_ = role::connecting;
  knock(0);
  return 0;
}

int tcp_socket::connect_now(const sockaddr* name, socklen_t bytes) {
  if (const int refused = begin_to_connect(name, bytes); refused != 0) return refused;
  knocking_ = true;
  if (non_blocking) return -EINPROGRESS;
  return of.block_until([this] { return connect_result_ <= 0; }) ? connect_result_ : -EINTR;
}

/// One attempt to reach a listener; again after a second, twice as long each time.
void tcp_socket::knock(unsigned tries) {
  world& w = in();
  const network_options& net = w.given().network;
  w.after(w.between(net.latency_min, net.latency_max), [me = self(), tries] {
    if (me->gone_) return;
    world& now = me->in();
    machine* target = me->remote.ip.is_loopback() ? &me->of : now.at_address(me->remote.ip);
    const bool reaches = target != nullptr && target->now() == machine::state::running && !me->cut(me->of, *target) &&
                         !me->cut(*target, me->of);
    if (reaches) {
      tcp_socket* door = now.net().listener_at(*target, me->remote);
      if (door == nullptr || now.chance(now.given().network.refused_connect, "refused_connect"))
        return me->answer(false, nullptr);
      if (door->has_room()) {
        auto other = std::make_shared<tcp_socket>(*target, door->family);
        other->role_ = role::connected;
        other->local = me->remote;
        other->remote = me->local;
        other->send_buffer_ = door->send_buffer_;
        other->receive_buffer_ = door->receive_buffer_;
        other->options_ = door->options_;
        other->peer_ = me;
        me->peer_ = other;
        door->waiting_.push_back(other);
        me->answer(true, other);
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

int tcp_socket::input_state() const noexcept {
  if (role_ != role::connected) return -ENOTCONN;
  if (unread() > 0) return 1;
  if (error_ != 0) return -error_;
  return peer_ended_ || input_shut_ || dead_ ? 0 : -EAGAIN;
}

std::size_t tcp_socket::take(void* into, std::size_t most) noexcept {
  const std::size_t bytes = some_of(std::min(static_cast<std::size_t>(unread()), most));
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
  bool took = false;
  while (!outside_.empty() && !full()) {
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

int tcp_socket::output_state(std::size_t) const noexcept {
  if (role_ != role::connected) return -EPIPE;
  if (error_ != 0) return -error_;
  if (dead_ || end_sent_) return -EPIPE;
  return unacknowledged_ < send_buffer_ ? 1 : -EAGAIN;
}

std::size_t tcp_socket::give(const char* bytes, std::size_t count) noexcept {
  world& w = in();
  const network_options& net = w.given().network;
  count = std::min<std::size_t>({count, send_buffer_ - unacknowledged_, net.segment_bytes_max});
  if (count > 1 && w.chance(net.small_segment, "small_segment")) count = 1 + w.draw(std::min<std::size_t>(count, 8));
  put_under_way({std::string(bytes, count), false, false, nanoseconds(0)});
  return count;
}

void tcp_socket::put_under_way(piece what) {
  world& w = in();
  const network_options& net = w.given().network;
  unacknowledged_ += what.bytes.size();
  nanoseconds takes = w.between(net.latency_min, net.latency_max);
  if (remote.ip.is_loopback()) takes = net.latency_min;
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
  machine& target = remote.ip.is_loopback() ? of : other != nullptr ? other->of : *w.at_address(remote.ip);
  const bool reaches = target.now() == machine::state::running && !cut(of, target);
  if (!reaches) {
    if (++tries_ > tries_max) return broken(ETIMEDOUT);
    flight_.front().due = w.now() + first_retry * (1u << (tries_ - 1));
    return schedule_flight();
  }
  // Who has closed, or lived before its host's restart, knows nothing of this connection.
  const bool knows = other != nullptr && !other->gone_ && !other->dead_;
  const bool answers = !cut(target, of);
  if (knows && !flight_.front().seen) {
    if (w.chance(w.given().network.reset_per_segment, "reset_per_segment")) {
      other->broken(ECONNRESET);
      return broken(ECONNRESET);
    }
    flight_.front().seen = true;
    const piece& first = flight_.front();
    if (!other->outside_.empty() || other->full()) {
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
    if (!other->cut(from, other->of)) other->broken(ECONNRESET);
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
    auto& met = static_cast<tcp_socket&>(*each);
    met.gone_ = true;
    met.send_reset();
  }
  if (role_ != role::connected || dead_) return;
  const bool lost = unread() > 0 || !outside_.empty();
  if (reset_at_close || lost) {
    flight_.clear();
    unacknowledged_ = 0;
    dead_ = true;
    return send_reset();
  }
  send_end();
}

void tcp_socket::vanished() noexcept {
  gone_ = dead_ = true;
  in().net().unbind(*this);
  flight_.clear();
  unacknowledged_ = 0;
  for (const auto& each : std::exchange(waiting_, {})) each->vanished();
}

}  // namespace skerry::sim::detail
