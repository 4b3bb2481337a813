// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/net/acceptor.hpp>
#include <skerry/net/endpoint.hpp>

#include <cerrno>
#include <system_error>
#include <utility>

#include <sys/socket.h>

namespace skerry::net {

endpoint::endpoint(endpoint_pool& pool, int fd, bool accepted) noexcept : pool_(pool), fd_(fd), accepted_(accepted) {
  arm_recv();
}

endpoint::~endpoint() {
  SKERRY_ASSERT(reader_ == nullptr, "nobody reads from a connection that is gone");
  SKERRY_ASSERT(writer_ == nullptr, "nobody writes to a connection that is gone");
  while (received_ != nullptr) delete std::exchange(received_, received_->next);
}

// --- in ---

void endpoint::arm_recv() noexcept { prepare::recv_multishot(pool_.kernel_.submit(recv_), fd_, buffer_pool::group); }

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
    pool_.kernel_.cancel(recv_);
  }
}

void endpoint::recv_done(std::int32_t result, std::uint32_t flags) noexcept {
  if (result > 0) {
    buffer bytes = pool_.buffers_.take(completion::buffer_number(flags), static_cast<std::uint32_t>(result));
    // While closing, what still comes is read and dropped: unread bytes would make the kernel reset the connection and
    // with it what we sent last. So is what comes after a drain has begun, or a busy client would keep us from ending.
    if (closing_ == closing::no && !input_ended_) store(std::move(bytes));
  } else if (result == 0) {
    input_ended_ = peer_ended_ = true;
  } else if (result == -ENOBUFS) {
    if (!pool_.buffers_.wait_for_buffer(*this)) return;
  } else if (result != -ECANCELED) {
    if (input_error_ == 0 && !input_ended_) input_error_ = -result;
    peer_ended_ = true;
  }
  if (!completion::more(flags) && !peer_ended_ && closing_ < closing::cancelling &&
      (!paused_ || closing_ != closing::no)) {
    arm_recv();
  }
  if (input_ready()) wake_reader();
  if (closing_ != closing::no) advance_close();
}

void endpoint::buffer_available() noexcept {
  if (!recv_.in_flight() && closing_ < closing::cancelling) arm_recv();
}

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
    if (--received_count_ <= buffers_max / 2 && paused_) {
      paused_ = false;
      if (!recv_.in_flight() && !peer_ended_ && !static_cast<skerry::buffer_waiter&>(*this).linked()) arm_recv();
    }
    return bytes;
  }
  if (input_error_ != 0) throw std::system_error(input_error_, std::generic_category(), "recv");
  return {};
}

void endpoint::end_input() noexcept {
  input_ended_ = true;
  wake_reader();
}

// --- out ---

std::size_t endpoint::give_output(std::span<const std::byte> bytes) {
  if (output_error_ != 0) throw std::system_error(output_error_, std::generic_category(), "send");
  SKERRY_ASSERT(!shutdown_wanted_, "nothing is written after shutdown_output");
  std::size_t room = high_water - std::min(high_water, pending_.size());
  std::size_t taken = std::min(room, bytes.size());
  if (taken == 0) return 0;
  pending_.append(pool_.bytes_, bytes.first(taken));
  pool_.want_flush(*this);
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
  if (send_.in_flight() || output_error_ != 0) return;
  if (sending_.empty()) sending_.swap(pending_);
  if (sending_.empty()) return;
  std::span<const std::byte> bytes = sending_.bytes();
  prepare::send(pool_.kernel_.submit(send_), fd_, bytes.data(), static_cast<std::uint32_t>(bytes.size()));
}

void endpoint::send_done(std::int32_t result, std::uint32_t) noexcept {
  if (result > 0) {
    sending_.consume(pool_.bytes_, static_cast<std::size_t>(result));
  } else {
    output_error_ = result == 0 ? EPIPE : -result;
    sending_.clear(pool_.bytes_);
    pending_.clear(pool_.bytes_);
  }
  send_pending();
  wake_writer();
  if (output_empty() && shutdown_wanted_ && !shutdown_done_) submit_shutdown();
  if (closing_ != closing::no) advance_close();
}

void endpoint::shut_down_output() noexcept {
  if (std::exchange(shutdown_wanted_, true)) return;
  if (output_empty()) submit_shutdown();
}

void endpoint::submit_shutdown() noexcept {
  shutdown_done_ = true;
  prepare::shutdown(pool_.kernel_.submit(control_), fd_, SHUT_WR);
}

// --- the closing order ---

void endpoint::release() noexcept {
  SKERRY_ASSERT(closing_ == closing::no, "a connection has one handle");
  closing_ = closing::sending_rest;
  while (received_ != nullptr) delete std::exchange(received_, received_->next);
  received_count_ = 0;
  if (paused_) {
    paused_ = false;
    if (!recv_.in_flight() && !peer_ended_ && !static_cast<skerry::buffer_waiter&>(*this).linked()) arm_recv();
  }
  deadline_ = clock::now() + send_rest_max;
  pool_.handle_gone();
  advance_close();
}

void endpoint::advance_close() noexcept {
  if (closing_ == closing::sending_rest) {
    if (output_error_ == 0 && !output_empty()) return;
    closing_ = closing::lingering;
    deadline_ = clock::now() + linger;
    if (!std::exchange(shutdown_wanted_, true)) submit_shutdown();
  }
  if (closing_ == closing::lingering) {
    if (control_.in_flight() || (!peer_ended_ && output_error_ == 0)) return;
    closing_ = closing::cancelling;
    if (recv_.in_flight() || send_.in_flight()) pool_.kernel_.cancel_fd(fd_);
  }
  if (closing_ == closing::cancelling) {
    if (recv_.in_flight() || send_.in_flight() || control_.in_flight()) return;
    if (static_cast<buffer_waiter&>(*this).linked()) static_cast<buffer_waiter&>(*this).unlink();
    closing_ = closing::closing_fd;
    prepare::close(pool_.kernel_.submit(control_), fd_);
  }
}

void endpoint::control_done(std::int32_t, std::uint32_t) noexcept {
  if (closing_ == closing::closing_fd) return pool_.freed(*this);
  if (closing_ != closing::no) advance_close();
}

void endpoint::check_deadline(clock::time_point now) noexcept {
  if (closing_ == closing::no || closing_ >= closing::cancelling || now < deadline_) return;
  if (closing_ == closing::sending_rest) {
    // The peer does not read: what is left is given up.
    output_error_ = ETIMEDOUT;
    pending_.clear(pool_.bytes_);
    pool_.kernel_.cancel(send_);
    if (send_.in_flight()) return;
    sending_.clear(pool_.bytes_);
  }
  peer_ended_ = true;
  advance_close();
}

// --- the pool ---

endpoint_pool::endpoint_pool(shard& home)
    : home_(home), bytes_(resource<byte_pool>()), buffers_(resource<buffer_pool>()), kernel_(home.loop().kernel()) {
  home_.loop().add(*this);
  home_.add_drainable(*this);
}

endpoint_pool::~endpoint_pool() {
  SKERRY_ASSERT(size_ == 0, "a shard ends after its last connection");
  if (armed()) timers::this_timers().cancel(*this);
  home_.remove_drainable(*this);
  home_.loop().remove(*this);
}

endpoint* endpoint_pool::adopt(int fd, bool accepted) {
  auto* made = new endpoint(*this, fd, accepted);
  all_.push_back(*made);
  ++size_;
  if (accepted) ++accepted_;
  if (accepted && home_.draining()) made->end_input();
  return made;
}

void endpoint_pool::want_flush(endpoint& e) noexcept {
  if (!static_cast<skerry::detail::list_hook<flush_tag>&>(e).linked()) to_flush_.push_back(e);
}

void endpoint_pool::flush() noexcept {
  while (!to_flush_.empty()) to_flush_.pop_front().send_pending();
}

void endpoint_pool::handle_gone() noexcept {
  if (!armed()) timers::this_timers().arm(*this, clock::now() + endpoint::linger);
}

void endpoint_pool::expired() noexcept {
  clock::time_point now = clock::now();
  bool some = false;
  all_.for_each([&](endpoint& e) { e.check_deadline(now); });
  all_.for_each([&](endpoint& e) { some |= e.is_closing(); });
  if (some) timers::this_timers().arm(*this, now + endpoint::linger);
}

void endpoint_pool::freed(endpoint& e) noexcept {
  if (static_cast<skerry::detail::list_hook<flush_tag>&>(e).linked()) {
    static_cast<skerry::detail::list_hook<flush_tag>&>(e).unlink();
  }
  static_cast<skerry::detail::list_hook<pool_tag>&>(e).unlink();
  --size_;
  if (e.accepted()) --accepted_;
  delete &e;
  // A descriptor is free again: whoever ran out of them may accept.
  acceptors_.for_each([](acceptor& a) { a.descriptor_freed(); });
  home_.drain_progressed();
}

void endpoint_pool::begin_drain() noexcept {
  acceptors_.for_each([](acceptor& a) { a.end(); });
  all_.for_each([](endpoint& e) {
    if (e.accepted()) e.end_input();
  });
}

bool endpoint_pool::drained() const noexcept { return accepted_ == 0; }
bool endpoint_pool::empty() const noexcept { return size_ == 0 && acceptors_.empty(); }

endpoint_pool& this_endpoints() {
  endpoint_pool* found = resources().find<endpoint_pool>();
  return found != nullptr ? *found : resources().emplace<endpoint_pool>(this_assembled_shard());
}

}  // namespace skerry::net
