// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/io/readiness.hpp>
#include <skerry/net/detail/descriptor.hpp>
#include <skerry/net/message_socket.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

#include <sys/socket.h>
#include <sys/uio.h>

namespace skerry::net {

namespace {

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

int socket_type(message_kind kind) noexcept { return kind == message_kind::packets ? SOCK_SEQPACKET : SOCK_STREAM; }

int option_of(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, name, &value, &size) != 0) fail(errno, "getsockopt");
  return value;
}

/// Owns the socket until the connection stands, so that a cancelled connect closes it after the kernel's answer.
class connect_operation final : public skerry::detail::single_operation {
 public:
  connect_operation(const address& to, message_kind kind)
      : to_(to), fd_(::socket(AF_UNIX, socket_type(kind) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    if (fd_.get() < 0) fail(errno, "socket");
  }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    prepare::connect(begin(resume_point), fd_.get(), to_.data(), to_.size());
  }
  /// The connected socket; none if a signal broke off.
  unique_fd await_resume() {
    if (result_ == -EINTR) return unique_fd();
    if (result_ < 0) fail(-result_, "connect to " + to_.text());
    return std::move(fd_);
  }
  const char* describe() const noexcept override { return "connect"; }

 private:
  address to_;
  unique_fd fd_;
};

}  // namespace

namespace detail {

class message_state final : public pooled_descriptor {
 public:
  message_state(unique_fd fd, message_kind kind, const message_options& options);

  // --- in ---
  bool ready() const noexcept { return kept_ || error_ != 0 || ended_; }
  /// What is kept; nothing at the end. Throws what became of it.
  std::optional<message> take();
  void wait(receive_message_awaiter& reader) noexcept;
  void wait_no_more() noexcept;

  // --- out ---
  void begin(send_message_awaiter& sender) noexcept;
  void cancel(send_message_awaiter& sender) noexcept;

  const message_kind kind;

 private:
  struct receiving final : operation {
    explicit receiving(message_state& of) noexcept : owner(of) {}
    void complete(std::int32_t result, std::uint32_t) noexcept override { owner.received(result); }
    message_state& owner;
  };
  struct sending final : operation {
    explicit sending(message_state& of) noexcept : owner(of) {}
    void complete(std::int32_t result, std::uint32_t) noexcept override { owner.sent(result); }
    message_state& owner;
  };

  ~message_state() override;
  void let_go() noexcept override;
  void end_input() noexcept override;

  void arm() noexcept;
  void received(std::int32_t result) noexcept;
  void release_block() noexcept;
  template <class Fn>
  void for_each_descriptor(Fn fn) noexcept;
  /// Closes the descriptors of what is kept; their number.
  std::size_t drop_kept() noexcept;

  void pump() noexcept;
  void submit() noexcept;
  void sent(std::int32_t result) noexcept;

  const std::size_t bytes_max_;
  const std::size_t descriptors_max_;

  receiving in_{*this};
  receive_message_awaiter* reader_ = nullptr;
  std::span<std::byte> block_;  // control data, then bytes, from arming until the message is taken
  iovec in_piece_{};
  msghdr in_message_{};
  std::size_t full_size_ = 0;
  int error_ = 0;
  bool kept_ = false;
  bool ended_ = false;
  bool dropped_ = false;

  sending out_{*this};
  send_message_awaiter* sender_ = nullptr;  // whose message the kernel has
  skerry::detail::intrusive_list<send_message_awaiter, send_message_awaiter> waiting_;
  iovec out_piece_{};
  msghdr out_message_{};
  bool broken_ = false;  // a message went in part
};

message_state::message_state(unique_fd fd, message_kind which, const message_options& options)
    : pooled_descriptor(std::move(fd), options.drain == in_drain::finishes),
      kind(which),
      bytes_max_(options.bytes_max),
      descriptors_max_(options.descriptors_max) {
  ended_ = options.drain == in_drain::finishes && draining();
}

message_state::~message_state() {
  SKERRY_ASSERT(reader_ == nullptr, "nobody receives from a message socket that is gone");
  SKERRY_ASSERT(block_.empty(), "nothing is kept in a message socket that is gone");
}

// --- in ---

void message_state::arm() noexcept {
  const std::size_t control_space = CMSG_SPACE(descriptors_max_ * sizeof(int));
  try {
    block_ = pool().bytes.allocate(control_space + bytes_max_);
  } catch (const std::bad_alloc&) {
    error_ = ENOMEM;
    return;
  }
  in_piece_ = {block_.data() + control_space, bytes_max_};
  in_message_ = {};
  in_message_.msg_iov = &in_piece_;
  in_message_.msg_iovlen = 1;
  if (descriptors_max_ != 0) {
    // Without the padding, in which there may be room for one more.
    in_message_.msg_control = block_.data();
    in_message_.msg_controllen = CMSG_LEN(descriptors_max_ * sizeof(int));
  }
  use();
  // Asked so, a packet's whole length is told.
  prepare::recvmsg(kernel().submit(in_), fd(), &in_message_, kind == message_kind::packets ? MSG_TRUNC : 0);
}

void message_state::received(std::int32_t result) noexcept {
  if (result >= 0) {
    kept_ = true;
    full_size_ = static_cast<std::size_t>(result);
    std::size_t descriptors = 0;
    for_each_descriptor([&](int) { ++descriptors; });
    const bool nothing = result == 0 && descriptors == 0 && (in_message_.msg_flags & MSG_CTRUNC) == 0;
    if (nothing) ended_ = true;
    if (nothing || dropped_) drop_kept();
  } else {
    release_block();
    if (result != -ECANCELED && result != -EINTR) error_ = -result;
  }
  // Somebody else may wait by now, for whom a cancelled answer is none.
  if (reader_ != nullptr && !ready()) arm();
  if (reader_ != nullptr && ready()) std::exchange(reader_, nullptr)->wake();
  leave();
}

void message_state::release_block() noexcept { pool().bytes.release(std::exchange(block_, {})); }

template <class Fn>
void message_state::for_each_descriptor(Fn fn) noexcept {
  for (cmsghdr* each = CMSG_FIRSTHDR(&in_message_); each != nullptr; each = CMSG_NXTHDR(&in_message_, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int one = -1;
      std::memcpy(&one, CMSG_DATA(each) + i * sizeof one, sizeof one);
      fn(one);
    }
  }
}

std::size_t message_state::drop_kept() noexcept {
  std::size_t closed = 0;
  for_each_descriptor([&](int each) {
    const unique_fd dropped(each);
    ++closed;
  });
  kept_ = false;
  release_block();
  return closed;
}

std::optional<message> message_state::take() {
  if (kept_ && (in_message_.msg_flags & MSG_CTRUNC) != 0) {
    const std::size_t closed = drop_kept();
    if (closed < descriptors_max_) {
      fail(EMFILE, "a message was dropped, as only " + std::to_string(closed) +
                       " of its descriptors could be received: this process may have no more (raise ulimit -n), or a "
                       "security module refuses them");
    }
    fail(EMSGSIZE, "a message was dropped, as it had more than " + std::to_string(descriptors_max_) +
                       " descriptors: raise message_options::descriptors_max");
  }
  if (kept_) {
    std::optional<message> got(std::in_place);
    std::size_t count = 0;
    for_each_descriptor([&](int) { ++count; });
    got->descriptors.reserve(count);
    got->bytes.assign(static_cast<const char*>(in_piece_.iov_base), std::min(full_size_, bytes_max_));
    got->full_size = full_size_;
    // Nothing throws from here on.
    for_each_descriptor([&](int each) { got->descriptors.emplace_back(each); });
    kept_ = false;
    release_block();
    return got;
  }
  if (const int error = std::exchange(error_, 0); error != 0) fail(error, "receive a message");
  return std::nullopt;
}

void message_state::wait(receive_message_awaiter& reader) noexcept {
  check_home();
  SKERRY_ASSERT(reader_ == nullptr, "one task at a time receives from a message socket");
  reader_ = &reader;
  if (!in_.in_flight()) arm();
  if (ready()) std::exchange(reader_, nullptr)->wake();
}

void message_state::wait_no_more() noexcept {
  std::exchange(reader_, nullptr)->wake();
  kernel().cancel(in_);
}

void message_state::end_input() noexcept {
  ended_ = true;
  if (reader_ != nullptr) wait_no_more();
}

void message_state::let_go() noexcept {
  dropped_ = true;
  end_input();
  if (kept_) drop_kept();
}

// --- out ---

void message_state::begin(send_message_awaiter& sender) noexcept {
  use();
  waiting_.push_back(sender);
  pump();
}

void message_state::pump() noexcept {
  while (sender_ == nullptr && !waiting_.empty()) {
    send_message_awaiter& next = waiting_.pop_front();
    if (!broken_) {
      sender_ = &next;
      return submit();
    }
    next.error_ = EPIPE;
    next.wake();
    leave();
  }
}

void message_state::submit() noexcept {
  const std::span<const std::byte> rest = sender_->bytes_.subspan(sender_->sent_);
  out_piece_ = {const_cast<std::byte*>(rest.data()), rest.size()};
  out_message_ = {};
  out_message_.msg_iov = &out_piece_;
  out_message_.msg_iovlen = 1;
  if (sender_->sent_ == 0 && !sender_->control_.empty()) {  // they go with the first byte
    out_message_.msg_control = sender_->control_.data();
    out_message_.msg_controllen = sender_->control_bytes_;
  }
  prepare::sendmsg(kernel().submit(out_), fd(), &out_message_);
}

void message_state::sent(std::int32_t result) noexcept {
  send_message_awaiter& sender = *sender_;
  if (result >= 0) {
    sender.sent_ += static_cast<std::size_t>(result);
  } else if (result != -EINTR && !sender.cancelled_) {
    sender.error_ = -result;
  }
  const bool whole = sender.sent_ == sender.bytes_.size();
  if (!whole && sender.error_ == 0 && !sender.cancelled_) return submit();
  if (!whole && sender.sent_ != 0) broken_ = true;
  sender_ = nullptr;
  sender.wake();
  pump();
  leave();
}

void message_state::cancel(send_message_awaiter& sender) noexcept {
  sender.cancelled_ = true;
  if (sender_ == &sender) return kernel().cancel(out_);
  static_cast<skerry::detail::list_hook<send_message_awaiter>&>(sender).unlink();
  sender.wake();
  leave();
}

}  // namespace detail

// --- awaiters ---

send_message_awaiter::send_message_awaiter(detail::message_state& state, std::span<const std::byte> bytes,
                                           std::span<const int> descriptors)
    : state_(state), bytes_(bytes) {
  if (bytes.empty()) fail(EINVAL, "a message has at least one byte, as an empty one reads as the end");
  if (descriptors.size() > message_socket::descriptors_limit) {
    fail(EINVAL, "a message has at most " + std::to_string(message_socket::descriptors_limit) + " descriptors, not " +
                     std::to_string(descriptors.size()) + ": send several");
  }
  if (descriptors.empty()) return;
  control_bytes_ = CMSG_SPACE(descriptors.size_bytes());
  control_ = state.pool().bytes.allocate(control_bytes_);
  std::memset(control_.data(), 0, control_bytes_);
  cmsghdr header{};
  header.cmsg_level = SOL_SOCKET;
  header.cmsg_type = SCM_RIGHTS;
  header.cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(control_.data(), &header, sizeof header);
  std::memcpy(control_.data() + CMSG_LEN(0), descriptors.data(), descriptors.size_bytes());
  state.use();  // whose pool it is
}

send_message_awaiter::~send_message_awaiter() {
  if (control_.empty()) return;
  state_.pool().bytes.release(control_);
  state_.leave();
}

void send_message_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  state_.begin(*this);
}
void send_message_awaiter::await_resume() const {
  if (error_ != 0) fail(error_, "send a message of " + std::to_string(bytes_.size()) + " bytes");
}
void send_message_awaiter::let_go() noexcept { state_.cancel(*this); }

receive_message_awaiter::receive_message_awaiter(detail::message_state& state) noexcept : state_(state) {
  state_.use();
}
receive_message_awaiter::~receive_message_awaiter() { state_.leave(); }
bool receive_message_awaiter::await_ready() const noexcept { return state_.ready(); }
void receive_message_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  state_.wait(*this);
}
std::optional<message> receive_message_awaiter::await_resume() { return state_.take(); }
void receive_message_awaiter::let_go() noexcept { state_.wait_no_more(); }

// --- the handle ---

std::pair<unique_fd, unique_fd> message_socket::pair_of_descriptors(message_kind kind) {
  int both[2];
  if (::socketpair(AF_UNIX, socket_type(kind) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) != 0) fail(errno, "socketpair");
  return {unique_fd(both[0]), unique_fd(both[1])};
}

std::pair<message_socket, message_socket> message_socket::pair(message_kind kind, message_options options) {
  auto [one, other] = pair_of_descriptors(kind);
  message_socket first = adopt(std::move(one), options);
  return {std::move(first), adopt(std::move(other), options)};
}

task<message_socket> message_socket::connect(address to, message_kind kind, message_options options) {
  if (!to.is_unix()) fail(EAFNOSUPPORT, "messages go by a Unix socket, not to " + to.text());
  while (true) {
    connect_operation connecting(to, kind);
    unique_fd connected = co_await connecting;
    if (connected.get() >= 0) co_return adopt(std::move(connected), options);
  }
}

message_socket message_socket::adopt(unique_fd fd, message_options options) {
  if (options.bytes_max == 0 || options.bytes_max > bytes_limit) {
    fail(EINVAL, "message_options::bytes_max is 1 to " + std::to_string(bytes_limit));
  }
  if (options.descriptors_max > descriptors_limit) {
    fail(EINVAL, "message_options::descriptors_max is at most " + std::to_string(descriptors_limit));
  }
  const int type = option_of(fd.get(), SO_TYPE);
  const bool fits = option_of(fd.get(), SO_DOMAIN) == AF_UNIX && (type == SOCK_SEQPACKET || type == SOCK_STREAM) &&
                    option_of(fd.get(), SO_ACCEPTCONN) == 0;
  if (!fits) {
    fail(EINVAL, "descriptor " + std::to_string(fd.get()) + " is no connected Unix socket of type SOCK_SEQPACKET or " +
                     "SOCK_STREAM");
  }
  const message_kind kind = type == SOCK_SEQPACKET ? message_kind::packets : message_kind::bytes;
  return message_socket(new detail::message_state(std::move(fd), kind, options));
}

message_socket& message_socket::operator=(message_socket&& other) noexcept {
  if (this != &other) {
    if (state_ != nullptr) state_->release();
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}

message_socket::~message_socket() {
  if (state_ != nullptr) state_->release();
}

message_kind message_socket::kind() const noexcept { return state().kind; }
int message_socket::fd() const noexcept { return state().fd(); }

}  // namespace skerry::net
