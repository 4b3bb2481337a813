// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/time/precise_sleep.hpp>

#include <algorithm>
#include <utility>

namespace skerry::timers {

precise_timer_service::precise_timer_service() { this_shard().loop->add(*this); }

precise_timer_service::~precise_timer_service() {
  SKERRY_ASSERT(wheel_.empty(), "a shard ends after its last sleeper");
  this_shard().loop->remove(*this);
}

void precise_timer_service::poll() noexcept {
  if (clock::now() >= asked_for_) learn_from_wake_up();
  wheel_.advance(tick(clock::now()), [](timer_node& due) noexcept { static_cast<timer&>(due).expired(); });
}

/// Moves the margin to where three of four wake-ups are no later: up by three steps for one beyond it, else down by
/// one. What comes later than any margin was a busy shard, and says nothing.
void precise_timer_service::learn_from_wake_up() noexcept {
  constexpr std::chrono::nanoseconds step{500};
  const clock::duration late = clock::now() - std::exchange(asked_for_, clock::time_point::max());
  if (late > margin_max) return;
  margin_ = std::clamp<clock::duration>(margin_ + (late > margin_ ? 3 * step : -step), clock::duration(0), margin_max);
}

clock::time_point precise_timer_service::deadline() noexcept {
  asked_for_ = clock::time_point::max();
  const std::optional<std::uint64_t> next = wheel_.next_deadline();
  if (!next) return clock::time_point::max();
  const clock::time_point wake_at = clock::time_point(clock::duration(static_cast<std::int64_t>(*next))) - margin_;
  if (wake_at > clock::now()) asked_for_ = wake_at;
  return wake_at;
}

precise_timer_service& these_precise_timers() {
  auto* found = resources().find<precise_timer_service>();
  return found != nullptr ? *found : resources().emplace<precise_timer_service>();
}

}  // namespace skerry::timers
