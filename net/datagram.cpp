// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/net/detail/datagram_state.hpp>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <netinet/in.h>

namespace skerry::net {

namespace {

constexpr std::size_t payload_max = 65507;  // of UDP over IPv4

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

unique_fd make_socket(const address& at) {
  if (at.family() != AF_INET && at.family() != AF_INET6) {
    fail(EAFNOSUPPORT, "datagrams go by an IPv4 or IPv6 address, not " + at.text());
  }
  unique_fd fd(::socket(at.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) fail(errno, "socket");
  return fd;
}

unique_fd bind_socket(const address& at, bool shared) {
  unique_fd fd = make_socket(at);
  const int on = 1;
  if (shared && ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
    fail(errno, "setsockopt SO_REUSEPORT");
  }
  if (::bind(fd.get(), at.data(), at.size()) != 0) fail(errno, "bind to " + at.text());
  return fd;
}

}  // namespace

namespace detail {

void require_free_datagram_port(const address& at) {
  if (at.port() == 0) return;
  try {
    bind_socket(at, false);
  } catch (const std::system_error& error) {
    explain_refusal(at, error);
  }
}

datagram_socket bind_or_explain(const address& at) {
  try {
    datagram_options shared;
    shared.shared_port = true;
    return datagram_socket(at, shared);
  } catch (const std::system_error& error) {
    explain_refusal(at, error);
  }
}

void log_listening_for_datagrams(const address& at) { log::info("listening on {} for datagrams", at.text()); }

}  // namespace detail

// --- datagram ---

datagram::~datagram() {
  if (block_ != nullptr) block_->leave();
}

address datagram::from() const noexcept { return address::from_kernel(name_, name_bytes_); }

// --- awaiters ---

bool receive_awaiter::await_ready() const noexcept { return state_.ready(); }
void receive_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  state_.wait(this);
  suspend(resume_point);
}
std::optional<datagram> receive_awaiter::await_resume() { return state_.take(); }
void receive_awaiter::let_go() noexcept {
  state_.wait(nullptr);
  wake();
}

namespace {
/// An array in a pooled frame.
template <class T>
std::span<T> make_array(std::size_t count) {
  auto* room = static_cast<T*>(frame_pool::allocate_frame(count * sizeof(T)));
  std::uninitialized_default_construct_n(room, count);
  return {room, count};
}

template <class T>
void free_array(std::span<T> array) noexcept {
  if (array.empty()) return;
  std::destroy(array.begin(), array.end());
  frame_pool::release_frame(array.data(), array.size_bytes());
}
}  // namespace

send_awaiter::send_awaiter(detail::datagram_state& state, outgoing one) noexcept
    : state_(state), one_(one), all_(&one_, 1) {
  one_sending_.segments = &one_message_;
}

send_awaiter::send_awaiter(detail::datagram_state& state, std::span<const outgoing> all) : state_(state), all_(all) {
  one_sending_.segments = &one_message_;
  if (all.size() < 2) return;
  const bool has_segments = std::ranges::any_of(all, [](const outgoing& each) { return each.segment_bytes != 0; });
  more_ = make_array<detail::sending>(std::min(all.size(), has_segments ? segment_batch_max : batch_max));
  if (!has_segments) return;
  try {
    messages_ = make_array<detail::segments_message>(more_.size());
  } catch (...) {
    free_array(more_);
    throw;
  }
  for (std::size_t i = 0; i < more_.size(); ++i) more_[i].segments = &messages_[i];
}

send_awaiter::~send_awaiter() {
  free_array(messages_);
  free_array(more_);
}

bool send_awaiter::await_ready() noexcept {
  error_ = state_.take_error();
  earlier_ = error_ != 0;
  return earlier_ || all_.empty();
}
void send_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  state_.begin(*this);
}
void send_awaiter::await_resume() {
  if (error_ == 0) return;
  if (earlier_) fail(error_, "an earlier datagram");
  std::string what = first_refused_->to.family() != 0 ? "send to " + first_refused_->to.text() : "send";
  if (all_.size() > 1) what += " (" + std::to_string(refused_) + " of " + std::to_string(all_.size()) + " datagrams)";
  fail(error_, what);
}
void send_awaiter::let_go() noexcept { state_.cancel(*this); }

// --- the handle ---

datagram_socket::datagram_socket(const address& at, datagram_options options)
    : state_(new detail::datagram_state(bind_socket(at, options.shared_port),
                                        options.drain.value_or(in_drain::finishes) == in_drain::finishes, options)) {}

datagram_socket datagram_socket::connected_to(const address& to, std::optional<address> from,
                                              datagram_options options) {
  unique_fd fd = from ? bind_socket(*from, options.shared_port) : make_socket(to);
  if (::connect(fd.get(), to.data(), to.size()) != 0) fail(errno, "connect to " + to.text());
  return datagram_socket(new detail::datagram_state(std::move(fd), options.drain == in_drain::finishes, options));
}

datagram_socket& datagram_socket::operator=(datagram_socket&& other) noexcept {
  if (this != &other) {
    if (state_ != nullptr) state_->release();
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}

datagram_socket::~datagram_socket() {
  if (state_ != nullptr) state_->release();
}

std::optional<datagram> datagram_socket::try_receive() { return state().take(); }

task<> datagram_socket::send_segments(address to, std::span<const std::byte> bytes, std::uint16_t segment_bytes) {
  SKERRY_ASSERT(segment_bytes > 0, "a segment has at least one byte");
  detail::datagram_state& s = state();
  const std::size_t segments = std::clamp<std::size_t>(payload_max / segment_bytes, 1, segments_max);
  while (!bytes.empty() && s.cuts_segments) {
    outgoing next{to, bytes.first(std::min(bytes.size(), segments * segment_bytes))};
    if (next.bytes.size() > segment_bytes) next.segment_bytes = segment_bytes;
    try {
      co_await send_awaiter(s, next);
    } catch (const std::system_error& refused) {
      if (refused.code().value() != EIO) throw;  // the device cannot
      s.cuts_segments = false;
      break;
    }
    bytes = bytes.subspan(next.bytes.size());
  }
  std::vector<outgoing> batch;
  while (!bytes.empty()) {
    batch.clear();
    for (; !bytes.empty() && batch.size() < sends_max; bytes = bytes.subspan(batch.back().bytes.size())) {
      batch.push_back({to, bytes.first(std::min<std::size_t>(bytes.size(), segment_bytes))});
    }
    co_await send_batch(batch);
  }
}

address datagram_socket::where() const { return local_address(fd()); }
bool datagram_socket::coalesces() const noexcept { return state().coalesces(); }
bool datagram_socket::cuts_segments() const noexcept { return state().cuts_segments; }
datagram_stats datagram_socket::stats() const noexcept { return state().stats(); }
int datagram_socket::fd() const noexcept { return state().fd(); }

}  // namespace skerry::net
