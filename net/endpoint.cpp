// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/detail/copied_buffers.hpp>
#include <skerry/net/detail/moving.hpp>
#include <skerry/net/detail/zero_copy_send.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/socket.hpp>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <sys/socket.h>

namespace skerry::net {

namespace {
/// The kernel broke off, nothing happened: once more.
bool is_interruption(std::int32_t result) noexcept { return result == -EINTR || result == -EAGAIN; }
}  // namespace

static_assert(sizeof(endpoint) <= 224 + (std::is_empty_v<home_stamp> ? 0 : sizeof(home_stamp)),
              "an idle connection is an endpoint, a task's node and its frame: 512 bytes");

void in_operation::complete(std::int32_t result, std::uint32_t flags) noexcept {
  static_cast<endpoint&>(*this).in_done(result, flags);
}
void out_operation::complete(std::int32_t result, std::uint32_t) noexcept {
  static_cast<endpoint&>(*this).out_done(result);
}

endpoint::endpoint(endpoint_pool& pool, int fd, bool accepted, std::uint16_t server) noexcept
    : pool_(pool), deadline_(clock::now() + first_bytes_max), fd_(fd), server_(server), accepted_(accepted) {
  arm_recv();
}

endpoint::~endpoint() {
  SKERRY_ASSERT(reader_ == nullptr, "nobody reads from a connection that is gone");
  SKERRY_ASSERT(writer_ == nullptr, "nobody writes to a connection that is gone");
  SKERRY_ASSERT(!to_flush_, "nothing was written to a connection that is gone");
  drop_received();
}

// --- in ---

void endpoint::arm_recv() noexcept {
  submission& s = pool_.kernel_.submit(in());
  if (pool_.kernel_.bundles) {
    prepare::recv_multishot(s, fd_, buffer_pool::group, bundle_bytes);
  } else {
    prepare::recv_multishot(s, fd_, buffer_pool::group);
  }
}

/// While closing, what still comes is read and dropped: unread bytes would make the kernel reset the connection.
bool endpoint::wants_input() const noexcept {
  return !peer_ended_ && !leaving_ && (closing_ == closing::no ? !paused_ : closing_ < closing::cancelling);
}

void endpoint::resume_recv() noexcept {
  paused_ = false;
  if (wants_input() && !in().in_flight() && !starved().linked()) arm_recv();
}

void endpoint::store(buffer bytes) noexcept {
  auto* node = new received{std::move(bytes), nullptr};
  if (received_ == nullptr) {
    received_ = node;
  } else {
    received_last_->next = node;
  }
  received_last_ = node;
  if (++received_count_ >= buffers_max && !paused_) {
    paused_ = true;
    pool_.kernel_.cancel(in());
  }
}

/// All but the last of a bundle's buffers are full.
void endpoint::take_received(std::uint16_t number, std::uint32_t bytes, bool wanted) noexcept {
  while (bytes != 0) {
    const std::uint32_t part = std::min(bytes, buffer_pool::buffer_bytes);
    const std::uint16_t next = pool_.buffers_.after(number);
    buffer taken = pool_.buffers_.take(number, part);
    if (wanted) store(std::move(taken));
    bytes -= part;
    number = next;
  }
}

void endpoint::drop_received() noexcept {
  while (received_ != nullptr) delete std::exchange(received_, received_->next);
  received_count_ = 0;
}

void endpoint::in_done(std::int32_t result, std::uint32_t flags) noexcept {
  if (result > 0) {
    heard_ = heard_lately_ = true;
    // While closing, what still comes is read and dropped: unread bytes would make the kernel reset the connection and
    // with it what we sent last. So is what comes after a drain has begun, or a busy client would keep us from ending.
    const bool wanted = closing_ == closing::no && !input_ended_;
    if (!wanted) looks_until_quiet_ = quiet_looks;
    take_received(completion::buffer_number(flags), static_cast<std::uint32_t>(result), wanted);
  } else if (result == 0) {
    peer_ended_ = true;
    // The kernel tells a reset once; if a send heard it, this is the place where the rest of the input is missing.
    // A send that was refused has ended the input, too. EPIPE says no more than that: the peer has gone.
    if (output_error_ != 0 && output_error_ != EPIPE && !input_ended_) input_error_ = output_error_;
    input_ended_ = input_error_ == 0;
  } else if (result != -ECANCELED && result != -ENOBUFS && !is_interruption(result)) {
    peer_ended_ = true;
    // Nobody will read what the peer still sends, and an end of stream would say that somebody had.
    if (!input_ended_ && closing_ == closing::no) net::reset_at_close(fd_);
    if (!input_ended_) input_error_ = static_cast<std::int16_t>(-result);
    break_output(-result);
  }
  if (!completion::more(flags)) {
    bool starving = result == -ENOBUFS && wants_input() && !pool_.buffers_.wait_for_buffer(*this);
    if (wants_input() && !starving) arm_recv();
    if (result <= 0 && result != -ENOBUFS) pool_.buffers_.pass_on();
  }
  if (input_ready() || leaving_) wake_reader();
  if (closing_ != closing::no) advance_close();
}

void endpoint::buffer_available() noexcept { arm_recv(); }

void endpoint::wake_reader() noexcept {
  if (reader_ != nullptr) std::exchange(reader_, nullptr)->progressed();
}

void endpoint::wait_for_input(endpoint_leaf* reader) noexcept {
  SKERRY_ASSERT(reader == nullptr || reader_ == nullptr, "one task at a time reads from a stream");
  reader_ = reader;
}

buffer endpoint::take_input() {
  SKERRY_ASSERT(input_ready(), "input is taken when there is some");
  if (received_ != nullptr) {
    received* node = std::exchange(received_, received_->next);
    buffer bytes = std::move(node->bytes);
    delete node;
    if (--received_count_ <= buffers_max / 2 && paused_) resume_recv();
    return bytes;
  }
  if (input_error_ != 0) throw std::system_error(input_error_, std::generic_category(), "recv");
  return {};
}

void endpoint::put_back(std::span<const std::byte> bytes) {
  SKERRY_ASSERT(reader_ == nullptr, "nobody reads while bytes are put back");
  received* first = received_;
  std::uint16_t pieces = 0;
  try {
    for (; !bytes.empty(); ++pieces) {  // from the last on
      const std::size_t piece = (bytes.size() - 1) % buffer_pool::buffer_bytes + 1;
      buffer copied = detail::this_copied_buffers().copy(bytes.last(piece));
      first = new received{std::move(copied), first};
      bytes = bytes.first(bytes.size() - piece);
      if (received_ == nullptr && pieces == 0) received_last_ = first;
    }
  } catch (...) {
    while (first != received_) delete std::exchange(first, first->next);
    throw;
  }
  received_ = first;
  received_count_ = static_cast<std::uint16_t>(received_count_ + pieces);
  if (received_count_ >= buffers_max && !paused_) {
    paused_ = true;
    pool_.kernel_.cancel(in());
  }
}

void endpoint::begin_drain(bool arrived) noexcept {
  if (leaving_) {
    drain_begun_ = true;
    return;
  }
  const bool is_new = !heard_ && clock::now() < deadline_;
  const bool ready = arrived ? input_ended_ || input_error_ != 0 : input_ready();
  if (closing_ != closing::no || ready || !(is_new || net::unread_bytes(fd_) > 0)) return end_input();
  if (ends_soon_) return;
  ends_soon_ = true;
  if (!is_new) deadline_ = clock::now() + first_bytes_max;
  heard_lately_ = true;
  ++pool_.ending_soon_;
}

void endpoint::end_input() noexcept {
  if (ends_soon_) --pool_.ending_soon_;
  ends_soon_ = false;
  cut_off_ = true;
  input_ended_ = input_error_ == 0;
  wake_reader();
}

// --- out ---

std::size_t endpoint::give_output(std::span<const std::byte> bytes) {
  if (output_error_ != 0) throw std::system_error(output_error_, std::generic_category(), "send");
  SKERRY_ASSERT(!shutdown_wanted_, "nothing is written after shutdown_output");
  std::size_t room = high_water - std::min(high_water, pending_.size());
  std::size_t taken = std::min(room, bytes.size());
  if (taken == 0) return 0;
  pool_.want_flush(*this);
  pending_.append(pool_.bytes_, bytes.first(taken));
  return taken;
}

void endpoint::wait_for_output(endpoint_leaf* writer) noexcept {
  SKERRY_ASSERT(writer == nullptr || writer_ == nullptr, "one task at a time writes to a stream");
  writer_ = writer;
}

void endpoint::wake_writer() noexcept {
  if (writer_ != nullptr) std::exchange(writer_, nullptr)->progressed();
}

void endpoint::send_pending() noexcept {
  if (sends() || output_error_ != 0 || leaving_) return;
  if (sending_.empty()) {
    sending_.swap(pending_);
    wake_writer();  // there is room again while this is on its way
  }
  if (sending_.empty()) return;
  std::span<const std::byte> bytes = sending_.bytes();
  const std::uint32_t uncopied_from = pool_.kernel_.zero_copy_from;
  if (uncopied_from != 0 && bytes.size() >= uncopied_from && detail::zero_copy_send::begin(*this)) return;
  prepare::send(pool_.kernel_.submit(out()), fd_, bytes.data(), static_cast<std::uint32_t>(bytes.size()));
}

void endpoint::sent(std::int32_t result) noexcept {
  if (result > 0) sending_.consume(pool_.bytes_, static_cast<std::size_t>(result));
  // Cancelled are sends of whoever leaves, and may stay after all, and those that were given up: broken already.
  if (result <= 0 && !is_interruption(result) && result != -ECANCELED) {
    break_output(result == 0 ? EPIPE : -result);
    net::shut_down_input(fd_);  // after what has come: whoever waits for an answer to what was lost would wait for ever
    // No write will hear of it any more, and what a reader waits for may be the answer to what was lost.
    if (shutdown_wanted_ && !input_ended_ && input_error_ == 0) {
      input_error_ = output_error_;
      wake_reader();
    }
  }
  go_on_sending();
}

void endpoint::go_on_sending() noexcept {
  if (output_error_ != 0) sending_.clear(pool_.bytes_);
  send_pending();
  if (output_empty()) wake_writer();
  if (shutdown_wanted_) end_output();
  if (leaving_) wake_reader();
  if (closing_ != closing::no) advance_close();
}

void endpoint::let_go_of_piece() noexcept {
  if (closing_ == closing::closing_fd) {
    if (held_ == 0 && !out().in_flight()) pool_.freed(*this);
    return;
  }
  if (closing_ == closing::lingering) linger_from(clock::now());
  if (closing_ != closing::no) advance_close();
}

/// The end of our side, if everything went before it.
void endpoint::end_output() noexcept {
  if (output_empty() && output_error_ == 0) net::shut_down_output(fd_);
}

/// What is in sending_ stays until the kernel has let go of it. What is lost must not look whole to the peer.
void endpoint::break_output(int error) noexcept {
  if (!output_empty() || held_ != 0 || held_elsewhere_) net::reset_at_close(fd_);
  if (output_error_ == 0) output_error_ = static_cast<std::int16_t>(error);
  pending_.clear(pool_.bytes_);
  if (!sends()) sending_.clear(pool_.bytes_);
  wake_writer();
}

void endpoint::cancel_send() noexcept {
  zero_copy_ != nullptr ? pool_.kernel_.cancel(*zero_copy_) : pool_.kernel_.cancel(out());
}

void endpoint::shut_down_output() noexcept {
  if (shutdown_wanted_) return;
  shutdown_wanted_ = true;
  end_output();
}

void endpoint::reset() noexcept {
  net::reset_at_close(fd_);
  break_output(ECONNRESET);
  cancel_send();  // to a peer that does not read it would last
}

void endpoint::out_done(std::int32_t result) noexcept {
  if (closing_ != closing::closing_fd) return sent(result);
  if (held_ == 0) pool_.freed(*this);
}

// --- to another shard ---

void endpoint::begin_leaving() noexcept {
  SKERRY_ASSERT(closing_ == closing::no, "a connection that has a handle moves");
  SKERRY_ASSERT(reader_ == nullptr, "nobody reads from a connection that moves");
  SKERRY_ASSERT(writer_ == nullptr, "nobody writes to a connection that moves");
  if (ends_soon_) --pool_.ending_soon_;
  drain_begun_ = ends_soon_;
  ends_soon_ = false;
  leaving_ = true;
  if (starved().linked()) starved().unlink();
  pool_.kernel_.cancel(in());
  cancel_send();
}

detail::parcel endpoint::pack() {
  SKERRY_ASSERT(may_leave(), "what is packed is nobody's but ours");
  const auto text = [](const auto& bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  std::string unread;
  for (const received* each = received_; each != nullptr; each = each->next) unread += text(each->bytes);
  std::string unsent(text(sending_.bytes()));
  unsent += text(pending_.bytes());
  detail::parcel packed{unique_fd(std::exchange(fd_, -1))};
  packed.unread = std::move(unread);
  packed.unsent = std::move(unsent);
  packed.first_bytes = deadline_;
  packed.input_error = input_error_;
  packed.output_error = output_error_;
  packed.accepted = accepted_;
  packed.heard = heard_;
  packed.input_ended = input_ended_;
  packed.peer_ended = peer_ended_;
  packed.shutdown_wanted = shutdown_wanted_;
  packed.draining = drain_begun_;
  packed.held = held_ != 0 || held_elsewhere_;
  return packed;
}

void endpoint::leave() noexcept {
  pending_.clear(pool_.bytes_);
  sending_.clear(pool_.bytes_);
  if (to_flush_) std::erase(pool_.to_flush_, this);
  to_flush_ = false;
  if (held_ != 0) detail::zero_copy_send::stay_behind(*this);
  pool_.gone(*this);
}

void endpoint::come_back(unique_fd own) noexcept {
  if (own.get() >= 0) fd_ = own.release();
  leaving_ = false;
  send_pending();
}

endpoint::endpoint(endpoint_pool& pool, const detail::parcel& from, std::uint16_t server)
    : pool_(pool),
      deadline_(from.first_bytes),
      fd_(-1),
      input_error_(from.input_error),
      output_error_(from.output_error),
      server_(server),
      accepted_(from.accepted),
      input_ended_(from.input_ended),
      peer_ended_(from.peer_ended),
      shutdown_wanted_(from.shutdown_wanted),
      heard_(from.heard),
      held_elsewhere_(from.held) {
  put_back(std::as_bytes(std::span(from.unread)));
  try {
    if (from.unsent.empty()) return;
    pending_.append(pool_.bytes_, std::as_bytes(std::span(from.unsent)));
    pool_.want_flush(*this);
  } catch (...) {
    pending_.clear(pool_.bytes_);
    drop_received();
    throw;
  }
}

// --- the closing order ---

void endpoint::release() noexcept {
  check_home();
  SKERRY_ASSERT(closing_ == closing::no, "a connection has one handle");
  if (ends_soon_) end_input();
  closing_ = closing::sending_rest;
  if (received_ != nullptr) looks_until_quiet_ = quiet_looks;
  drop_received();
  resume_recv();
  deadline_ = clock::now() + send_rest_max;
  ++pool_.closing_;
  pool_.look_soon();
  advance_close();
}

bool endpoint::peer_lacks_held() noexcept {
  if (held_elsewhere_) held_elsewhere_ = unacknowledged_bytes(fd_) > 1;
  return held_ != 0 || held_elsewhere_;
}

/// Anew after each piece that the peer has taken.
void endpoint::linger_from(clock::time_point now) noexcept {
  deadline_ = now + (peer_lacks_held() ? clock::duration(held_rest_max) : linger);
}

/// Whether nothing is lost by closing now, or lingering is over.
bool endpoint::may_close() noexcept {
  if (output_error_ != 0) return true;
  if (peer_lacks_held()) return false;  // the kernel reads it only as long as its shard is there
  if (peer_ended_) return true;
  // The end of our side counts as one byte; it is the kernel's to deliver, like all that is acknowledged already.
  return pool_.home_.draining() && looks_until_quiet_ == 0 && unacknowledged_bytes(fd_) <= 1;
}

void endpoint::advance_close() noexcept {
  if (closing_ == closing::sending_rest) {
    if (output_error_ == 0 && !output_empty()) return;
    closing_ = closing::lingering;
    linger_from(clock::now());
    if (!peer_ended_) shut_down_output();  // the close does it where nothing can come back
  }
  if (closing_ == closing::lingering) {
    if (sends() || !may_close()) return;
    closing_ = closing::cancelling;
    if (starved().linked()) starved().unlink();
    pool_.kernel_.cancel(in());
  }
  if (closing_ == closing::cancelling && !in().in_flight()) {
    closing_ = closing::closing_fd;
    prepare::close(pool_.kernel_.submit(out()), fd_);
  }
}

void endpoint::check_deadline(clock::time_point now) noexcept {
  if (ends_soon_ && (now >= deadline_ || (heard_ && !heard_lately_))) end_input();
  heard_lately_ = false;
  if (closing_ == closing::no || closing_ >= closing::cancelling) return;
  bool held = held_ != 0 || held_elsewhere_;
  if (held && closing_ == closing::lingering) {
    held = peer_lacks_held();
    if (!held) linger_from(now);
    if (held && pool_.home_.draining()) now += held_rest_max - send_rest_max;
  }
  if (now >= deadline_ && (closing_ == closing::sending_rest || (held && output_error_ == 0))) {
    ++pool_.stats_.rests_dropped;
    break_output(ETIMEDOUT);
    cancel_send();
  }
  if (looks_until_quiet_ != 0) --looks_until_quiet_;
  advance_close();
  if (now >= deadline_ && closing_ == closing::lingering && !sends()) {
    ++pool_.stats_.lingers_passed;
    peer_ended_ = true;
    advance_close();
  }
}

}  // namespace skerry::net
