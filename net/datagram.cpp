// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/net/detail/descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>

namespace skerry::net {

namespace {

constexpr std::size_t block_bytes = 65536;
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

/// The kernel broke off, nothing happened: once more.
bool is_interruption(std::int32_t result) noexcept { return result == -EINTR || result == -EAGAIN; }

bool set_option(int fd, int level, int name, int value) noexcept {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

unique_fd bind_socket(const address& at, bool shared) {
  unique_fd fd = make_socket(at);
  if (shared && !set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1)) fail(errno, "setsockopt SO_REUSEPORT");
  if (::bind(fd.get(), at.data(), at.size()) != 0) fail(errno, "bind to " + at.text());
  return fd;
}

}  // namespace

namespace detail {

/// 64 KiB into which one receive goes, with all that its submission points to; shared by the datagrams in it.
struct datagram_block final : skerry::detail::pooled {
  explicit datagram_block(byte_pool& from) : pool(from), bytes(from.allocate(block_bytes)) {}
  ~datagram_block() { pool.release(bytes); }
  void leave() noexcept {
    if (--users == 0) delete this;
  }

  byte_pool& pool;
  std::span<std::byte> bytes;
  std::uint32_t users = 1;
  sockaddr_in6 name{};
  iovec piece{};
  msghdr message{};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int))];
};

class datagram_state final : public pooled_descriptor, private buffer_waiter {
 public:
  datagram_state(unique_fd fd, bool serves, const datagram_options& options);

  // --- in ---
  bool ready() const noexcept { return first_ != nullptr || error_ != 0 || ended_; }
  /// Nothing at the end, or if there is nothing. Throws the network's error.
  std::optional<datagram> take();
  void wait(receive_awaiter* reader) noexcept {
    SKERRY_ASSERT(reader == nullptr || reader_ == nullptr, "one task at a time receives from a datagram socket");
    reader_ = reader;
  }

  // --- out ---
  /// What the network has reported, once.
  int take_error() noexcept;
  void begin(send_awaiter& sender) noexcept;
  void cancel(send_awaiter& sender) noexcept;
  void sent(sending& done, std::int32_t result) noexcept;

  bool coalesces() const noexcept { return coalesced_; }
  bool cuts_segments = false;
  datagram_stats stats() const noexcept;

 private:
  struct unread final : skerry::detail::pooled {
    explicit unread(datagram&& received) noexcept : what(std::move(received)) {}
    datagram what;
    unread* next = nullptr;
    bool last_of_block = false;
  };

  struct receiving final : operation {
    explicit receiving(datagram_state& of) noexcept : owner(of) {}
    void complete(std::int32_t result, std::uint32_t flags) noexcept override { owner.received(result, flags); }
    datagram_state& owner;
  };

  ~datagram_state() override;
  void let_go() noexcept override;
  void end_input() noexcept override;
  void received(std::int32_t result, std::uint32_t flags) noexcept;
  void buffer_available() noexcept override;
  buffer_waiter& starved() noexcept { return *this; }

  bool wants_more() const noexcept {
    return !ended_ && !paused_ && error_ == 0 && blocks_unread_ < datagram_socket::blocks_unread_max;
  }
  void arm() noexcept;
  void resume() noexcept {
    if (wants_more() && !in_.in_flight() && !starved().linked()) arm();
  }
  void store_lent(buffer whole) noexcept;
  void store_block(std::size_t full_size) noexcept;
  void store(datagram&& received, bool last_of_block) noexcept;
  void drop_unread() noexcept;
  void pump(send_awaiter& sender) noexcept;

  receiving in_{*this};
  receive_awaiter* reader_ = nullptr;
  unread* first_ = nullptr;
  unread* last_ = nullptr;
  datagram_block* block_ = nullptr;  // being filled
  std::size_t unread_count_ = 0;
  std::size_t blocks_unread_ = 0;
  std::size_t sends_ = 0;
  skerry::detail::intrusive_list<send_awaiter, send_awaiter> waiting_;
  msghdr layout_{};
  datagram_stats counted_;
  int error_ = 0;
  const std::size_t bytes_max_;
  const bool in_blocks_;
  bool coalesced_ = false;
  bool paused_ = false;
  bool ended_ = false;
};

datagram_state::datagram_state(unique_fd fd, bool serves, const datagram_options& options)
    : pooled_descriptor(std::move(fd), serves),
      bytes_max_(options.bytes_max != 0 ? std::min(options.bytes_max, block_bytes)
                 : options.coalesced    ? block_bytes
                                        : datagram_socket::lent_bytes_max),
      in_blocks_(options.coalesced || bytes_max_ > datagram_socket::lent_bytes_max) {
  int segment = 0;
  socklen_t size = sizeof segment;
  cuts_segments = ::getsockopt(this->fd(), SOL_UDP, UDP_SEGMENT, &segment, &size) == 0;
  coalesced_ = options.coalesced && set_option(this->fd(), SOL_UDP, UDP_GRO, 1);
  layout_.msg_namelen = sizeof(sockaddr_in6);
  ended_ = serves && draining();
  if (!ended_) arm();
}

datagram_state::~datagram_state() {
  SKERRY_ASSERT(reader_ == nullptr, "nobody receives from a datagram socket that is gone");
  SKERRY_ASSERT(first_ == nullptr, "nothing is unread in a datagram socket that is gone");
  if (block_ != nullptr) block_->leave();
}

// --- in ---

void datagram_state::arm() noexcept {
  if (!in_blocks_) {
    use();
    return prepare::recvmsg_multishot(kernel().submit(in_), fd(), &layout_, buffer_pool::group);
  }
  if (block_ == nullptr) {
    try {
      block_ = new datagram_block(pool().bytes);
    } catch (const std::bad_alloc&) {
      error_ = ENOMEM;  // told, and tried again behind that
      return;
    }
  }
  datagram_block& b = *block_;
  b.piece = {b.bytes.data(), coalesced_ ? block_bytes : bytes_max_};
  b.message = {};
  b.message.msg_name = &b.name;
  b.message.msg_namelen = sizeof b.name;
  b.message.msg_iov = &b.piece;
  b.message.msg_iovlen = 1;
  if (coalesced_) {
    b.message.msg_control = b.control;
    b.message.msg_controllen = sizeof b.control;
  }
  use();
  prepare::recvmsg(kernel().submit(in_), fd(), &b.message, MSG_TRUNC);
}

void datagram_state::received(std::int32_t result, std::uint32_t flags) noexcept {
  if (completion::has_buffer(flags)) {
    buffer whole =
        pool().buffers.take(completion::buffer_number(flags), static_cast<std::uint32_t>(std::max(result, 0)));
    if (result > 0 && !ended_) store_lent(std::move(whole));
  } else if (result >= 0 && in_blocks_) {
    if (!ended_) store_block(static_cast<std::size_t>(result));
  }
  if (result < 0 && result != -ECANCELED && result != -ENOBUFS && !is_interruption(result) && !ended_) error_ = -result;
  const bool over = !completion::more(flags);
  if (over) {
    const bool starving = result == -ENOBUFS && wants_more() && !pool().buffers.wait_for_buffer(*this);
    if (!starving) resume();
    if (result <= 0 && result != -ENOBUFS) pool().buffers.pass_on();
  }
  if (reader_ != nullptr && ready()) std::exchange(reader_, nullptr)->wake();
  if (over) leave();
}

void datagram_state::buffer_available() noexcept {
  if (wants_more()) return arm();
  pool().buffers.pass_on();
}

void datagram_state::store_lent(buffer whole) noexcept {
  io_uring_recvmsg_out header;
  const std::size_t before = sizeof header + layout_.msg_namelen;
  if (whole.size() < before) return;
  std::memcpy(&header, whole.data(), sizeof header);
  datagram got;
  got.bytes_ = {whole.data() + before, std::min(whole.size() - before, bytes_max_)};
  got.full_size_ = header.payloadlen;
  got.name_ = whole.data() + sizeof header;
  got.name_bytes_ = std::min(header.namelen, layout_.msg_namelen);
  got.lent_ = std::move(whole);
  store(std::move(got), false);
}

void datagram_state::store_block(std::size_t full_size) noexcept {
  datagram_block* block = std::exchange(block_, nullptr);
  const std::size_t size = std::min<std::size_t>(full_size, block->piece.iov_len);
  std::size_t segment = full_size;
  for (const cmsghdr* each = CMSG_FIRSTHDR(&block->message); each != nullptr;
       each = CMSG_NXTHDR(&block->message, const_cast<cmsghdr*>(each))) {
    if (each->cmsg_level != SOL_UDP || each->cmsg_type != UDP_GRO) continue;
    int bytes = 0;
    std::memcpy(&bytes, CMSG_DATA(each), sizeof bytes);
    if (bytes > 0) segment = static_cast<std::size_t>(bytes);
  }
  std::size_t at = 0;
  do {
    datagram got;
    const std::size_t whole = std::min(segment, full_size - at);
    got.bytes_ = {block->bytes.data() + at, std::min({whole, size - at, bytes_max_})};
    got.full_size_ = static_cast<std::uint32_t>(whole);
    got.name_ = reinterpret_cast<const std::byte*>(&block->name);
    got.name_bytes_ = block->message.msg_namelen;
    got.block_ = block;
    ++block->users;
    at += whole;
    if (at >= size) ++blocks_unread_;
    store(std::move(got), at >= size);
  } while (at < size);
  block->leave();
}

void datagram_state::store(datagram&& received, bool last_of_block) noexcept {
  if (!in_blocks_ && unread_count_ >= datagram_socket::unread_max) {
    ++counted_.dropped;
    ++pool().datagrams_dropped;
    return;
  }
  ++counted_.received;
  if (received.truncated()) ++counted_.truncated;
  auto* node = new unread(std::move(received));
  node->last_of_block = last_of_block;
  (first_ == nullptr ? first_ : last_->next) = node;
  last_ = node;
  if (++unread_count_ >= datagram_socket::pause_at && !paused_) {
    paused_ = true;
    if (!in_blocks_) kernel().cancel(in_);
  }
}

std::optional<datagram> datagram_state::take() {
  if (first_ != nullptr) {
    unread* node = std::exchange(first_, first_->next);
    std::optional<datagram> got(std::move(node->what));
    if (node->last_of_block) --blocks_unread_;
    delete node;
    if (--unread_count_ <= datagram_socket::pause_at / 2) paused_ = false;
    resume();
    return got;
  }
  if (const int error = take_error(); error != 0) fail(error, "receive");
  return std::nullopt;
}

void datagram_state::drop_unread() noexcept {
  while (first_ != nullptr) delete std::exchange(first_, first_->next);
  unread_count_ = blocks_unread_ = 0;
}

int datagram_state::take_error() noexcept {
  const int error = std::exchange(error_, 0);
  if (error != 0) resume();
  return error;
}

void datagram_state::end_input() noexcept {
  ended_ = true;
  if (starved().linked()) starved().unlink();
  kernel().cancel(in_);
  if (reader_ != nullptr) std::exchange(reader_, nullptr)->wake();
}

void datagram_state::let_go() noexcept {
  end_input();
  drop_unread();
}

// --- out ---

void sending::submit(const outgoing& what) noexcept {
  datagram = &what;
  if (what.segment_bytes == 0) {
    const bool named = what.to.family() != 0;
    return prepare::send(owner->state_.kernel().submit(*this), owner->state_.fd(), what.bytes.data(),
                         static_cast<std::uint32_t>(what.bytes.size()), named ? what.to.data() : nullptr,
                         static_cast<std::uint16_t>(named ? what.to.size() : 0));
  }
  SKERRY_ASSERT(segments != nullptr, "a batch has room for the segments that it began with");
  auto& [piece, message, control] = *segments;
  piece = {const_cast<std::byte*>(what.bytes.data()), what.bytes.size()};
  message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (what.to.family() != 0) {
    message.msg_name = const_cast<sockaddr*>(what.to.data());
    message.msg_namelen = what.to.size();
  }
  std::memset(control, 0, sizeof control);
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof what.segment_bytes);
  std::memcpy(CMSG_DATA(header), &what.segment_bytes, sizeof what.segment_bytes);
  prepare::sendmsg(owner->state_.kernel().submit(*this), owner->state_.fd(), &message);
}

void sending::complete(std::int32_t result, std::uint32_t) noexcept { owner->state_.sent(*this, result); }

void datagram_state::begin(send_awaiter& sender) noexcept {
  use();
  const bool first = waiting_.empty();
  if (first) pump(sender);
  if (!first || (sender.begun_ < sender.all_.size() && sends_ == datagram_socket::sends_max))
    waiting_.push_back(sender);
}

void datagram_state::pump(send_awaiter& sender) noexcept {
  for (sending& slot : sender.slots()) {
    if (sender.begun_ == sender.all_.size() || sends_ == datagram_socket::sends_max) return;
    if (slot.in_flight()) continue;
    ++sends_;
    ++sender.in_flight_;
    slot.owner = &sender;
    slot.submit(sender.all_[sender.begun_++]);
  }
}

void datagram_state::sent(sending& done, std::int32_t result) noexcept {
  send_awaiter& sender = *done.owner;
  if (is_interruption(result) && !sender.cancelled_) return done.submit(*done.datagram);
  const bool cancelled = sender.cancelled_ && (result == -ECANCELED || is_interruption(result));
  if (result >= 0) {
    ++counted_.sent;
  } else if (!cancelled) {
    ++sender.refused_;
    if (sender.error_ == 0) {
      sender.error_ = -result;
      sender.first_refused_ = done.datagram;
    }
  }
  --sends_;
  --sender.in_flight_;
  if (!sender.linked() && sender.begun_ < sender.all_.size()) waiting_.push_back(sender);
  while (!waiting_.empty() && sends_ < datagram_socket::sends_max) {
    send_awaiter& next = waiting_.pop_front();
    pump(next);
    if (next.begun_ < next.all_.size() && sends_ == datagram_socket::sends_max) waiting_.push_back(next);
  }
  if (sender.in_flight_ == 0 && sender.begun_ == sender.all_.size()) {
    sender.wake();
    leave();
  }
}

void datagram_state::cancel(send_awaiter& sender) noexcept {
  if (sender.linked()) static_cast<skerry::detail::list_hook<send_awaiter>&>(sender).unlink();
  sender.begun_ = sender.all_.size();
  sender.cancelled_ = true;
  for (sending& slot : sender.slots()) kernel().cancel(slot);
  if (sender.in_flight_ == 0) {
    sender.wake();
    leave();
  }
}

datagram_stats datagram_state::stats() const noexcept {
  datagram_stats all = counted_;
  std::uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof memory;
  if (::getsockopt(fd(), SOL_SOCKET, SO_MEMINFO, memory, &size) == 0) all.dropped_by_kernel = memory[SK_MEMINFO_DROPS];
  return all;
}

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

}  // namespace detail

// --- datagram ---

datagram::~datagram() {
  if (block_ != nullptr) block_->leave();
}

address datagram::from() const noexcept {
  sockaddr_storage storage{};
  std::memcpy(&storage, name_, name_bytes_);
  return address::from_kernel(storage, name_bytes_);
}

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
