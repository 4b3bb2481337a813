// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/net/acceptor.hpp>
#include <skerry/net/socket.hpp>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace skerry::net {

namespace {
bool is_fatal(int error) noexcept { return error == EBADF || error == EINVAL || error == ENOTSOCK; }
}  // namespace

acceptor::acceptor(endpoint_pool& pool, listening_socket socket, in_drain how)
    : pool_(pool), socket_(std::move(socket)), how_(how) {
  queue_.reserve(queue_max);
  pool_.acceptors_.push_back(*this);
  ++pool_.stats_.listeners;
  arm();
}

acceptor::~acceptor() {
  end_pause();
  for (std::size_t i = taken_; i < queue_.size(); ++i) ::close(queue_[i]);
  static_cast<list_hook<pool_tag>&>(*this).unlink();
  --pool_.stats_.listeners;
  pool_.home_.drain_progressed();
}

/// One accept that takes all who wait would take more than is wanted.
void acceptor::arm() noexcept {
  multishot_ = most_ == queue_max;
  if (multishot_) return prepare::accept_multishot(pool_.kernel_.submit(*this), fd());
  prepare::accept(pool_.kernel_.submit(*this), fd());
}

void acceptor::complete(std::int32_t result, std::uint32_t flags) noexcept {
  if (result >= 0) {
    queue_.push_back(result);
    if (multishot_ && waiting() == queue_max) pool_.kernel_.cancel(*this);
  } else if (is_fatal(-result)) {
    error_ = -result;
  } else if (result != -ECANCELED && result != -ECONNABORTED && result != -EINTR) {
    if (++pool_.stats_.accept_failures == 1) {
      log::warning("accept: {}; trying again when a descriptor is freed, and every {} ms",
                   std::generic_category().message(-result), failure_pause.count());
    }
    pool_.freed_descriptors_.pause(*this);
    timers::this_timers().arm(*this, clock::now() + failure_pause);
  }
  if (completion::more(flags)) return wake_waiter();
  if (wants_more()) {
    arm();
  } else if (result < 0 && !released_ && (ended_ || waiting() < queue_max)) {
    take_whom_it_was_woken_for();
  }
  if (released_) return delete this;
  if (ended_) finish();
  wake_waiter();
}

void acceptor::wake_waiter() noexcept {
  if (ready() && waiter_ != nullptr) std::exchange(waiter_, nullptr)->progressed();
}

void acceptor::end_pause() noexcept {
  if (paused()) list_hook<detail::descriptor_waiter>::unlink();
  if (armed()) timers::this_timers().cancel(*this);
}

void acceptor::expired() noexcept {
  end_pause();
  if (wants_more()) arm();
}

/// Takes a client by a plain call: an accept that is armed says nothing while there is none.
detail::descriptor_use acceptor::use_descriptor() noexcept {
  auto use = detail::descriptor_use::no_use;
  if (wants_more()) {
    const std::size_t before = waiting();
    take_from_kernel(before + 1);
    const bool no_client = errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    if (waiting() == before && !no_client) return detail::descriptor_use::none_left;
    if (waiting() != before) use = detail::descriptor_use::used;
  }
  end_pause();
  if (wants_more()) arm();
  wake_waiter();
  return use;
}

int acceptor::take() {
  home_.check("a listener");
  SKERRY_ASSERT(ready(), "a connection is taken when there is one");
  if (waiting() != 0) {
    int fd = queue_[taken_++];
    if (waiting() == 0 || taken_ == queue_max) {
      queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(std::exchange(taken_, 0)));
    }
    // Whoever wants fewer says so anew for each.
    if (most_ == queue_max && waiting() <= queue_max / 2 && wants_more() && !in_flight()) arm();
    if (ended_) pool_.home_.drain_progressed();
    return fd;
  }
  if (error_ != 0) throw std::system_error(error_, std::generic_category(), "accept");
  return -1;
}

void acceptor::wait(endpoint_leaf* waiter) noexcept {
  home_.check("a listener");
  SKERRY_ASSERT(waiter == nullptr || waiter_ == nullptr, "one task at a time accepts from a listener");
  waiter_ = waiter;
}

void acceptor::want(std::size_t most) noexcept {
  most_ = std::min(most, queue_max);
  if (in_flight()) {
    // Its last completion goes on as is right then.
    if (most_ == 0 || (multishot_ && most_ < queue_max)) pool_.kernel_.cancel(*this);
  } else if (wants_more()) {
    arm();
  }
}

void acceptor::end() noexcept {
  if (std::exchange(ended_, true)) return;
  if (in_flight()) return pool_.kernel_.cancel(*this);  // finishes with its last completion
  finish();
  wake_waiter();
}

void acceptor::take_whom_it_was_woken_for() noexcept {
  take_from_kernel(multishot_ ? static_cast<std::size_t>(listen_backlog) : waiting() + 1);
}

void acceptor::take_from_kernel(std::size_t most) noexcept {
  if (error_ != 0) return;
  for (int accepted; waiting() < most && (accepted = accept_now(fd())) >= 0;) queue_.push_back(accepted);
}

void acceptor::finish() noexcept {
  if (!leaves_rest_) take_from_kernel(static_cast<std::size_t>(listen_backlog));
  pool_.home_.drain_progressed();
}

void acceptor::release() noexcept {
  home_.check("a listener");
  released_ = true;
  ended_ = true;
  pool_.kernel_.cancel(*this);
  if (!in_flight()) delete this;
}

}  // namespace skerry::net
