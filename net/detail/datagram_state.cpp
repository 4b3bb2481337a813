// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/detail/datagram_state.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <poll.h>

namespace skerry::net::detail {

namespace {
constexpr std::size_t block_bytes = datagram_block_bytes;

/// The kernel broke off, nothing happened: once more.
bool is_interruption(std::int32_t result) noexcept { return result == -EINTR || result == -EAGAIN; }
}  // namespace

datagram_state::datagram_state(unique_fd fd, bool serves, const datagram_options& options)
    : pooled_descriptor(std::move(fd), serves),
      bytes_max_(options.bytes_max != 0 ? std::min(options.bytes_max, block_bytes)
                 : options.coalesced    ? block_bytes
                                        : datagram_socket::lent_bytes_max),
      in_blocks_(options.coalesced || bytes_max_ > datagram_socket::lent_bytes_max) {
  int segment = 0;
  socklen_t size = sizeof segment;
  cuts_segments = ::getsockopt(this->fd(), SOL_UDP, UDP_SEGMENT, &segment, &size) == 0;
  const int on = 1;
  coalesced_ = options.coalesced && ::setsockopt(this->fd(), SOL_UDP, UDP_GRO, &on, sizeof on) == 0;
  layout_.msg_namelen = sizeof(sockaddr_in6);
  ended_ = serves && draining();
  if (!in_blocks_) may_flush();
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
    armed_ = !in_turns_ ? way::standing : look_next_ ? way::look : way::poll;
    looked_ = 0;
    submission& slot = kernel().submit(in_);
    if (armed_ == way::poll) return prepare::poll(slot, fd(), POLLIN);
    return prepare::recvmsg_multishot(slot, fd(), &layout_, buffer_pool::group, armed_ == way::look ? MSG_DONTWAIT : 0);
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

void datagram_state::take_turns() noexcept {
  in_turns_ = look_next_ = true;
  quiet_ = 0;
  kernel().cancel(in_);
}

/// What to arm next.
void datagram_state::turn_over(std::int32_t result) noexcept {
  if (armed_ == way::poll) {
    look_next_ = result >= 0;
  } else if (armed_ == way::look) {
    look_next_ = result != -EAGAIN || looked_ >= kernel_look;
    quiet_ = looked_ < few && !look_next_ ? quiet_ + 1 : 0;
    if (quiet_ == few_max) in_turns_ = false;
  }
}

void datagram_state::received(std::int32_t result, std::uint32_t flags) noexcept {
  const bool over = !completion::more(flags);
  if (over) turn_over(result);
  if (armed_ == way::poll && result >= 0) {
    if (can_arm()) arm();  // at once: the sends of this turn are done
    return leave();
  }
  if (completion::has_buffer(flags)) {
    ++looked_;
    buffer whole =
        pool().buffers.take(completion::buffer_number(flags), static_cast<std::uint32_t>(std::max(result, 0)));
    if (result > 0 && !ended_) store_lent(std::move(whole));
  } else if (result >= 0 && in_blocks_) {
    if (!ended_) store_block(static_cast<std::size_t>(result));
  }
  if (result < 0 && result != -ECANCELED && result != -ENOBUFS && !is_interruption(result) && !ended_) error_ = -result;
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
  if (const int error = take_error(); error != 0) throw std::system_error(error, std::generic_category(), "receive");
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
  if (sends_ >= crowd && !in_turns_ && !in_blocks_) take_turns();
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

}  // namespace skerry::net::detail
