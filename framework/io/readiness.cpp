// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/reactor/reactor.hpp>

#include <system_error>
#include <utility>

namespace skerry::detail {

submission& single_operation::begin(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  return current_shard->loop->kernel().submit(*this);
}

void single_operation::let_go() noexcept { current_shard->loop->kernel().cancel(*this); }

std::int32_t single_operation::finish(const char* what) const {
  if (result_ < 0) throw std::system_error(-result_, std::generic_category(), what);
  return result_;
}

void poll_many::arm() noexcept { prepare::poll_multishot(current_shard->loop->kernel().submit(*this), fd_, events_); }

void poll_many::complete(std::int32_t result, std::uint32_t flags) noexcept {
  if (abandoned_) {
    if (!completion::more(flags)) delete this;
    return;
  }
  if (result < 0) {
    error_ = -result;
  } else {
    seen_ |= static_cast<std::uint32_t>(result);
    if (!completion::more(flags)) arm();
  }
  if (waiter_ != nullptr) std::exchange(waiter_, nullptr)->wake();
}

void poll_many::abandon() noexcept {
  SKERRY_ASSERT(waiter_ == nullptr, "nobody waits for events when their owner drops them");
  abandoned_ = true;
  if (in_flight()) {
    current_shard->loop->kernel().cancel(*this);
  } else {
    delete this;
  }
}

std::uint32_t poll_many::next_leaf::await_resume() {
  if (owner_.error_ != 0) throw std::system_error(std::exchange(owner_.error_, 0), std::generic_category(), "poll");
  return std::exchange(owner_.seen_, 0);
}

}  // namespace skerry::detail
