// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/net/acceptor.hpp>

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
  if (armed()) timers::this_timers().cancel(*this);
  for (std::size_t i = taken_; i < queue_.size(); ++i) ::close(queue_[i]);
  static_cast<list_hook<pool_tag>&>(*this).unlink();
  --pool_.stats_.listeners;
  pool_.home_.drain_progressed();
}

void acceptor::arm() noexcept { prepare::accept_multishot(pool_.kernel_.submit(*this), fd()); }

void acceptor::complete(std::int32_t result, std::uint32_t flags) noexcept {
  if (result >= 0) {
    queue_.push_back(result);
    if (waiting() == queue_max) pool_.kernel_.cancel(*this);
  } else if (is_fatal(-result)) {
    error_ = -result;
  } else if (result != -ECANCELED && result != -ECONNABORTED && result != -EINTR) {
    if (++pool_.stats_.accept_failures == 1) {
      log::warning("accept: {}; trying again when a descriptor is freed, and every {} ms",
                   std::generic_category().message(-result), failure_pause.count());
    }
    parked_ = true;
    timers::this_timers().arm(*this, clock::now() + failure_pause);
  }
  if (completion::more(flags)) return wake_waiter();
  if (wants_more()) arm();
  wake_waiter();
  if (released_) delete this;
}

void acceptor::wake_waiter() noexcept {
  if (ready() && waiter_ != nullptr) std::exchange(waiter_, nullptr)->progressed();
}

void acceptor::expired() noexcept { descriptor_freed(); }

void acceptor::descriptor_freed() noexcept {
  if (!std::exchange(parked_, false)) return;
  if (armed()) timers::this_timers().cancel(*this);
  if (wants_more()) arm();
}

int acceptor::take() {
  SKERRY_ASSERT(ready(), "a connection is taken when there is one");
  if (waiting() != 0) {
    int fd = queue_[taken_++];
    if (waiting() == 0 || taken_ == queue_max) {
      queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(std::exchange(taken_, 0)));
    }
    if (waiting() == queue_max / 2 && wants_more() && !in_flight()) arm();
    return fd;
  }
  if (error_ != 0) throw std::system_error(error_, std::generic_category(), "accept");
  return -1;
}

void acceptor::wait(endpoint_leaf* waiter) noexcept {
  SKERRY_ASSERT(waiter == nullptr || waiter_ == nullptr, "one task at a time accepts from a listener");
  waiter_ = waiter;
}

void acceptor::end() noexcept {
  ended_ = true;
  pool_.kernel_.cancel(*this);
  wake_waiter();
}

void acceptor::release() noexcept {
  released_ = true;
  ended_ = true;
  pool_.kernel_.cancel(*this);
  if (!in_flight()) delete this;
}

}  // namespace skerry::net
