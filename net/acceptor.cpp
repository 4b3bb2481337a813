// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/net/acceptor.hpp>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <unistd.h>

namespace skerry::net {

acceptor::acceptor(endpoint_pool& pool, int fd) : pool_(pool), fd_(fd) {
  queue_.reserve(queue_max);
  pool_.acceptors_.push_back(*this);
  arm();
}

acceptor::~acceptor() {
  if (armed()) timers::this_timers().cancel(*this);
  for (int fd : queue_) ::close(fd);
  ::close(fd_);
  static_cast<list_hook<pool_tag>&>(*this).unlink();
  pool_.home_.drain_progressed();
}

void acceptor::arm() noexcept { prepare::accept_multishot(pool_.kernel_.submit(*this), fd_); }

void acceptor::complete(std::int32_t result, std::uint32_t flags) noexcept {
  if (result >= 0) {
    // The queue holds what arrived before the cancel at queue_max took effect, too.
    queue_.push_back(result);
    if (queue_.size() == queue_max) pool_.kernel_.cancel(*this);
  } else if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM) {
    if (++pool_.accept_failures_ == 1)
      log::warning("accept: {}; waiting for one", std::generic_category().message(-result));
    parked_ = true;
    timers::this_timers().arm(*this, clock::now() + out_of_descriptors_pause);
  } else if (result != -ECANCELED && result != -ECONNABORTED && result != -EINTR) {
    error_ = -result;
  }
  if (completion::more(flags)) return wake_waiter();
  if (ended_ || released_) {
    wake_waiter();
    return free_when_done();
  }
  if (!parked_ && error_ == 0 && queue_.size() < queue_max) arm();
  wake_waiter();
}

void acceptor::wake_waiter() noexcept {
  if (ready() && waiter_ != nullptr) std::exchange(waiter_, nullptr)->progressed();
}

void acceptor::expired() noexcept { descriptor_freed(); }

void acceptor::descriptor_freed() noexcept {
  if (!std::exchange(parked_, false)) return;
  if (armed()) timers::this_timers().cancel(*this);
  if (!ended_ && !in_flight()) arm();
}

int acceptor::take() {
  SKERRY_ASSERT(ready(), "a connection is taken when there is one");
  if (!queue_.empty()) {
    int fd = queue_.front();
    queue_.erase(queue_.begin());
    if (queue_.size() == queue_max / 2 && !in_flight() && !ended_ && !parked_) arm();
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
  if (in_flight()) pool_.kernel_.cancel(*this);
  wake_waiter();
}

void acceptor::release() noexcept {
  released_ = true;
  ended_ = true;
  if (in_flight()) {
    pool_.kernel_.cancel(*this);
  } else {
    free_when_done();
  }
}

void acceptor::free_when_done() noexcept {
  if (released_) delete this;
}

}  // namespace skerry::net
