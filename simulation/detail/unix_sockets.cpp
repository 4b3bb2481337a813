// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/disk.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/network.hpp>
#include <skerry/simulation/detail/pipes.hpp>
#include <skerry/simulation/detail/unix_sockets.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/un.h>

namespace skerry::sim::detail {

namespace {

constexpr std::size_t before_path = offsetof(sockaddr_un, sun_path);

/// 0 or -errno. A path ends at its first zero, an abstract name with the address.
int read_name(const sockaddr* name, socklen_t bytes, std::string& into) {
  if (name == nullptr || bytes < before_path || bytes > sizeof(sockaddr_un)) return -EINVAL;
  if (name->sa_family != AF_UNIX) return -EAFNOSUPPORT;
  const char* path = reinterpret_cast<const char*>(name) + before_path;
  const std::size_t length = bytes - before_path;
  if (length == 0) return -EINVAL;
  into.assign(path, path[0] == '\0' ? length : ::strnlen(path, length));
  return 0;
}

void write_name(const std::string& from, sockaddr* name, socklen_t* bytes) noexcept {
  sockaddr_un full{};
  full.sun_family = AF_UNIX;
  std::memcpy(full.sun_path, from.data(), from.size());
  const bool path = !from.empty() && from.front() != '\0';
  const auto size = static_cast<socklen_t>(before_path + from.size() + (path ? 1 : 0));
  std::memcpy(name, &full, std::min<std::size_t>(*bytes, std::min<std::size_t>(size, sizeof full)));
  *bytes = size;
}

}  // namespace

// --- descriptors ---

passed_descriptor::passed_descriptor(machine& of, std::shared_ptr<node> what) noexcept
    : of_(&of), what_(std::move(what)) {
  ++what_->descriptors;
  ++of.descriptors_under_way;
}

passed_descriptor::~passed_descriptor() {
  if (what_ == nullptr) return;
  --of_->descriptors_under_way;
  of_->let_go(*what_);
}

// --- names ---

void network::unbind(unix_socket& s) noexcept { std::erase(unix_, &s); }

unix_socket* network::unix_at(const machine& on, const std::string& name, const inode_ptr& file) noexcept {
  const auto found = std::ranges::find_if(
      unix_, [&](const unix_socket* each) { return &each->of == &on && each->is_bound_to(name, file); });
  return found == unix_.end() ? nullptr : *found;
}

bool unix_socket::is_bound_to(const std::string& name, const inode_ptr& file) const noexcept {
  return file != nullptr ? file == file_ : name == name_ && file_ == nullptr;
}

unix_socket::unix_socket(machine& whose, int type) noexcept
    : stream_socket(whose), type_(type), send_buffer_(whose.in().given().network.socket_buffer_bytes) {}

unix_socket::~unix_socket() { in().net().unbind(*this); }

int unix_socket::bind(const sockaddr* name, socklen_t bytes) {
  if (!name_.empty()) return -EINVAL;
  std::string to;
  if (const int wrong = read_name(name, bytes, to); wrong != 0) return wrong;
  if (to.front() != '\0') {
    if (const int refused = of.storage().make_socket(to.c_str(), file_); refused != 0) return refused;
  } else if (in().net().unix_at(of, to, nullptr) != nullptr) {
    return -EADDRINUSE;
  }
  name_ = std::move(to);
  in().net().bind(*this);
  return 0;
}

int unix_socket::local_name(sockaddr* name, socklen_t* bytes) const noexcept {
  write_name(name_, name, bytes);
  return 0;
}

int unix_socket::peer_name(sockaddr* name, socklen_t* bytes) const noexcept {
  if (role_ != role::connected) return -ENOTCONN;
  write_name(peer_name_, name, bytes);
  return 0;
}

int unix_socket::set_option(int level, int name, const void* value, socklen_t bytes) noexcept {
  if (level != SOL_SOCKET) return -EOPNOTSUPP;
  if (name == SO_SNDBUF) send_buffer_ = buffer_size(value, bytes, send_buffer_min);
  return 0;
}

int unix_socket::get_option(int level, int name, void* value, socklen_t* bytes) noexcept {
  if (level != SOL_SOCKET) return -EOPNOTSUPP;
  switch (name) {
    case SO_TYPE: return give_number(value, bytes, type_);
    case SO_DOMAIN: return give_number(value, bytes, AF_UNIX);
    case SO_ACCEPTCONN: return give_number(value, bytes, listens());
    case SO_ERROR: return give_number(value, bytes, std::exchange(error_, 0));
    case SO_SNDBUF: return give_number(value, bytes, static_cast<int>(send_buffer_));
    case SO_PEERCRED: {
      if (*bytes < sizeof(ucred)) return -EINVAL;
      const bool known = role_ == role::connected;
      *static_cast<ucred*>(value) = {known ? of.process() : 0, known ? machine::user : ~uid_t{0},
                                     known ? machine::user : ~gid_t{0}};
      *bytes = sizeof(ucred);
      return 0;
    }
    default: return -ENOPROTOOPT;
  }
}

int unix_socket::control(unsigned long command, int& value) const noexcept {
  const auto other = peer_.lock();
  switch (command) {
    case SIOCINQ:
      value = static_cast<int>(packets() && !incoming_.empty() ? incoming_.front().bytes.size() : unread_);
      return 0;
    case SIOCOUTQ: value = other != nullptr ? static_cast<int>(other->unread_) : 0; return 0;
    default: return -ENOTTY;
  }
}

// --- connections ---

int unix_socket::listen(int backlog) {
  if (name_.empty() || role_ == role::connected) return -EINVAL;
  open_door(backlog);
  return 0;
}

void unix_socket::join(unix_socket& one, unix_socket& other) {
  one.role_ = other.role_ = role::connected;
  one.peer_ = other.self();
  other.peer_ = one.self();
  one.peer_name_ = other.name_;
  other.peer_name_ = one.name_;
}

/// 0: connected. -EAGAIN: there is no room at `door`.
int unix_socket::meet(const sockaddr* name, socklen_t bytes, std::shared_ptr<unix_socket>& door) {
  if (role_ != role::fresh) return role_ == role::connected ? -EISCONN : -EINVAL;
  std::string to;
  if (const int wrong = read_name(name, bytes, to); wrong != 0) return wrong;
  inode_ptr file;
  if (to.front() != '\0') {
    if (const int none = of.storage().find_now(to.c_str(), file); none != 0) return none;
    if (file->kind != inode::socket) return -ECONNREFUSED;
  }
  unix_socket* found = in().net().unix_at(of, to, file);
  if (found == nullptr) return -ECONNREFUSED;
  if (found->type_ != type_) return -EPROTOTYPE;
  if (!found->listens()) return -ECONNREFUSED;
  door = found->self();
  if (!door->has_room()) return -EAGAIN;
  auto other = std::make_shared<unix_socket>(of, type_);
  other->name_ = door->name_;
  other->file_ = door->file_;
  join(*this, *other);
  door->waiting_.push_back(std::move(other));
  door->changed();
  return 0;
}

int unix_socket::connect_now(const sockaddr* name, socklen_t bytes) {
  std::shared_ptr<unix_socket> door;
  while (true) {
    const int result = meet(name, bytes, door);
    if (result != -EAGAIN || non_blocking) return result;
    if (!of.block_until([&] { return door->has_room() || !door->listens(); })) return -EINTR;
  }
}

/// Whoever submits waits for room, as one of the kernel's workers would.
bool unix_socket::attempt_connect(request& r) noexcept {
  std::shared_ptr<unix_socket> door;
  const auto* name = reinterpret_cast<const sockaddr*>(r.what().addr);
  const int result = meet(name, static_cast<socklen_t>(r.what().off), door);
  if (result == -EAGAIN) {
    door->at_the_door_.push_back(weak_from_this());
    return false;
  }
  r.finish(result);
  if (result == 0) changed();
  return true;
}

void unix_socket::somebody_accepted() noexcept {
  for (const auto& each : std::exchange(at_the_door_, {})) {
    if (const auto one = each.lock()) one->changed();
  }
}

/// Nobody listens any more: who has come is turned away, and who waits to come hears so.
void unix_socket::leave_door() noexcept {
  if (role_ == role::listening) role_ = role::fresh;
  for (const auto& each : std::exchange(waiting_, {})) {
    auto& met = static_cast<unix_socket&>(*each);
    if (const auto client = met.peer_.lock()) client->error_ = ECONNRESET;
    each->closed();
  }
  somebody_accepted();
}

int unix_socket::shut_down(int how) {
  if (role_ == role::listening) {
    leave_door();
    changed();
    return 0;
  }
  if (role_ != role::connected) return -ENOTCONN;
  input_shut_ = input_shut_ || how != SHUT_WR;
  output_shut_ = output_shut_ || how != SHUT_RD;
  if (const auto other = peer_.lock()) {
    other->peer_ended_ = output_shut_;
    other->peer_deaf_ = input_shut_;
    other->changed();
  }
  changed();
  return 0;
}

void unix_socket::closed() noexcept {
  gone_ = true;
  in().net().unbind(*this);
  cancel_all();
  leave_door();
  if (const auto other = peer_.lock()) {
    if (!incoming_.empty()) other->error_ = ECONNRESET;
    other->peer_ended_ = other->peer_deaf_ = true;
    other->changed();
  }
  drop_all();
}

/// All of the host goes, so nobody is left to hear of it.
void unix_socket::vanished() noexcept {
  gone_ = true;
  in().net().unbind(*this);
  for (const auto& each : std::exchange(waiting_, {})) each->vanished();
  drop_all();
}

/// With what is under way in it, which may be anything, this socket's peer as well.
void unix_socket::drop_all() noexcept {
  unread_ = 0;
  const std::deque<piece> dropped = std::exchange(incoming_, {});
}

// --- bytes ---

std::uint32_t unix_socket::events() const noexcept {
  if (role_ == role::listening) return waiting_.empty() ? 0 : POLLIN;
  if (role_ != role::connected) return POLLOUT | POLLHUP;
  std::uint32_t now = 0;
  if (input_state() != -EAGAIN) now |= POLLIN;
  if (output_state(1) != -EAGAIN) now |= POLLOUT;
  if (peer_ended_ || input_shut_) now |= POLLRDHUP;
  if (error_ != 0) now |= POLLERR;
  if ((peer_ended_ || input_shut_) && (peer_deaf_ || output_shut_)) now |= POLLHUP;
  return now;
}

int unix_socket::input_state() const noexcept {
  if (role_ != role::connected) return packets() ? -ENOTCONN : -EINVAL;
  if (!incoming_.empty()) return 1;
  if (error_ != 0) return -error_;
  return peer_ended_ || input_shut_ ? 0 : -EAGAIN;
}

std::size_t unix_socket::room() const noexcept {
  const auto other = peer_.lock();
  return other == nullptr || other->unread_ >= send_buffer_ ? 0 : send_buffer_ - other->unread_;
}

int unix_socket::output_state(std::size_t bytes) const noexcept {
  if (role_ != role::connected) return -ENOTCONN;
  if (output_shut_ || peer_deaf_) return -EPIPE;
  if (!packets()) return room() > 0 ? 1 : -EAGAIN;
  if (bytes > send_buffer_) return -EMSGSIZE;
  return room() >= bytes ? 1 : -EAGAIN;
}

/// Without a place for descriptors: those that came are closed.
std::size_t unix_socket::take(void* into, std::size_t most) noexcept {
  iovec all{into, most};
  msghdr message{};
  message.msg_iov = &all;
  message.msg_iovlen = 1;
  std::vector<passed_descriptor> dropped;
  return take_into(message, packets() ? most : some_of(std::min(most, unread_)), dropped);
}

std::size_t unix_socket::give(const char* bytes, std::size_t count) noexcept {
  if (!packets()) count = std::min(count, room());
  put(std::string(bytes, count), {});
  return count;
}

void unix_socket::put(std::string bytes, std::vector<passed_descriptor> passed) {
  const auto other = peer_.lock();
  if (other == nullptr) return;
  other->unread_ += bytes.size();
  const bool joins =
      !packets() && passed.empty() && !other->incoming_.empty() && other->incoming_.back().passed.empty();
  if (joins) {
    other->incoming_.back().bytes += bytes;
  } else {
    other->incoming_.push_back({std::move(bytes), 0, std::move(passed)});
  }
  other->changed();
}

// --- messages ---

/// Bytes of one packet; of a stream up to a piece with descriptors, and including it. Of a packet its whole length.
std::size_t unix_socket::take_into(msghdr& message, std::size_t most, std::vector<passed_descriptor>& passed) {
  std::size_t done = 0, full = 0, in_piece = 0, piece_of_message = 0;
  while (!incoming_.empty()) {
    piece& first = incoming_.front();
    full = first.bytes.size();
    bool some = false;
    while (first.taken < first.bytes.size() && done < most && piece_of_message < message.msg_iovlen) {
      const iovec& to = message.msg_iov[piece_of_message];
      const std::size_t bytes = std::min({to.iov_len - in_piece, first.bytes.size() - first.taken, most - done});
      if (bytes != 0) std::memcpy(static_cast<char*>(to.iov_base) + in_piece, first.bytes.data() + first.taken, bytes);
      first.taken += bytes;
      done += bytes;
      in_piece += bytes;
      some = true;
      if (in_piece == to.iov_len) in_piece = 0, ++piece_of_message;
    }
    if (!some && !packets()) break;
    const bool had_descriptors = !first.passed.empty();
    for (passed_descriptor& each : first.passed) passed.push_back(std::move(each));
    first.passed.clear();
    if (packets()) {
      unread_ -= first.bytes.size();
    } else if (first.taken != first.bytes.size()) {
      break;
    }
    incoming_.pop_front();
    if (packets() || had_descriptors) break;
  }
  if (!packets()) unread_ -= done;
  message.msg_flags = packets() && done < full ? MSG_TRUNC : 0;
  if (const auto other = peer_.lock()) other->changed();
  return packets() ? full : done;
}

long unix_socket::receive(msghdr& message, int flags) {
  const int state = input_state();
  message.msg_namelen = 0;
  if (state <= 0) {
    if (state < 0 && state != -EAGAIN) error_told();
    if (state == 0) message.msg_controllen = 0;
    return state;
  }
  std::size_t most = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) most += message.msg_iov[i].iov_len;
  std::vector<passed_descriptor> passed;
  const std::size_t full = take_into(message, packets() ? most : some_of(std::min(most, unread_)), passed);
  hand_over(std::move(passed), message);
  return static_cast<long>((flags & MSG_TRUNC) != 0 ? full : std::min(full, most));
}

/// As many as have room there and find a number; the rest is closed.
void unix_socket::hand_over(std::vector<passed_descriptor> passed, msghdr& message) {
  std::size_t room = 0;
  if (message.msg_control != nullptr && message.msg_controllen > CMSG_LEN(0)) {
    room = (message.msg_controllen - CMSG_LEN(0)) / sizeof(int);
  }
  std::vector<int> opened;
  const bool none = !passed.empty() && in().chance(in().given().system.out_of_descriptors, "out_of_descriptors");
  for (const passed_descriptor& each : passed) {
    if (none || opened.size() == room) break;
    const int fd = of.open(each.what());
    if (fd < 0) break;
    opened.push_back(fd);
  }
  if (opened.size() < passed.size()) message.msg_flags |= MSG_CTRUNC;
  if (opened.empty()) {
    message.msg_controllen = 0;
    return;
  }
  cmsghdr header{};
  header.cmsg_level = SOL_SOCKET;
  header.cmsg_type = SCM_RIGHTS;
  header.cmsg_len = CMSG_LEN(opened.size() * sizeof(int));
  auto* control = static_cast<char*>(message.msg_control);
  std::memcpy(control, &header, sizeof header);
  std::memcpy(control + CMSG_LEN(0), opened.data(), opened.size() * sizeof(int));
  message.msg_controllen = std::min<std::size_t>(message.msg_controllen, CMSG_SPACE(opened.size() * sizeof(int)));
}

int unix_socket::collect(const msghdr& message, std::vector<passed_descriptor>& passed) {
  auto& given = const_cast<msghdr&>(message);  // whose macros want it so
  for (cmsghdr* each = CMSG_FIRSTHDR(&given); each != nullptr; each = CMSG_NXTHDR(&given, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) return -EINVAL;
    const std::size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (passed.size() + count > passed_max) return -EINVAL;
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(each) + i * sizeof fd, sizeof fd);
      const bool standard = fd >= 0 && fd <= 2;
      std::shared_ptr<node> what = standard ? of.standard(fd).shared_from_this() : of.find(fd);
      if (what == nullptr) return -EBADF;
      passed.emplace_back(of, std::move(what));
    }
  }
  return of.descriptors_under_way > in().given().system.descriptors_max ? -ETOOMANYREFS : 0;
}

/// A packet, or of bytes as many as have room, the descriptors with the first; by an operation perhaps fewer.
long unix_socket::send(const msghdr& message, bool by_operation) {
  std::string bytes;
  for (const iovec& each : std::span(message.msg_iov, message.msg_iovlen)) {
    bytes.append(static_cast<const char*>(each.iov_base), each.iov_len);
  }
  std::vector<passed_descriptor> passed;
  if (const int wrong = collect(message, passed); wrong != 0) return wrong;
  const int state = output_state(bytes.size());
  if (state < 0) return state;
  if (!packets()) bytes.resize(std::min(by_operation ? some_of(bytes.size()) : bytes.size(), room()));
  const auto result = static_cast<long>(bytes.size());
  if (packets() || result != 0) put(std::move(bytes), std::move(passed));
  return result;
}

bool unix_socket::attempt(request& r) noexcept {
  long result = 0;
  switch (r.what().opcode) {
    case IORING_OP_RECVMSG:
      result = receive(*reinterpret_cast<msghdr*>(r.what().addr), static_cast<int>(r.what().msg_flags));
      break;
    case IORING_OP_SENDMSG: result = send(*reinterpret_cast<const msghdr*>(r.what().addr), true); break;
    default: return stream_socket::attempt(r);
  }
  if (result == -EAGAIN && (r.what().msg_flags & MSG_DONTWAIT) == 0) return false;
  r.finish(static_cast<std::int32_t>(result));
  return true;
}

long unix_socket::read_now(msghdr& into, int flags) {
  if (patient(flags) && !of.block_until([this] { return input_state() != -EAGAIN; })) return -EINTR;
  return receive(into, flags);
}

long unix_socket::write_now(const msghdr& from, int flags) {
  if (from.msg_controllen == 0 && !packets()) return byte_node::write_now(from, flags);
  std::size_t bytes = 0;
  for (const iovec& each : std::span(from.msg_iov, from.msg_iovlen)) bytes += each.iov_len;
  if (patient(flags) && !of.block_until([&] { return output_state(bytes) != -EAGAIN; })) return -EINTR;
  return send(from, false);
}

}  // namespace skerry::sim::detail
