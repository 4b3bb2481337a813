// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/reactor/reactor.hpp>

#include <algorithm>
#include <system_error>

namespace skerry::detail {

namespace {
backend& kernel() noexcept { return current_shard->loop->kernel(); }
}  // namespace

submission& single_operation::begin(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  return kernel().submit(*this);
}

void single_operation::let_go() noexcept { kernel().cancel(*this); }

std::uint32_t events_or_error(std::int32_t result) {
  if (result < 0) throw std::system_error(-result, std::generic_category(), "poll");
  return static_cast<std::uint32_t>(result);
}

void poll_many::arm() noexcept { prepare::poll_multishot(kernel().submit(*this), fd_, events_); }

void poll_many::complete(std::int32_t result, std::uint32_t flags) noexcept {
  if (abandoned_) {
    if (!in_flight()) delete this;
    return;
  }
  result_ = result < 0 ? result : std::max(result_, 0) | result;
  if (result >= 0 && !completion::more(flags)) arm();
  if (std::exchange(waited_for_, false)) wake();
}

void poll_many::abandon() noexcept {
  SKERRY_ASSERT(!waited_for_, "nobody waits for events when their owner drops them");
  abandoned_ = true;
  kernel().cancel(*this);
  if (!in_flight()) delete this;
}

}  // namespace skerry::detail
