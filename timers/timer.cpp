// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/trace.hpp>
#include <skerry/timers/timer.hpp>

namespace skerry::timers {

void timer_service::poll() noexcept {
  std::uint64_t tick = tick_before(clock::now());
  if (tick <= wheel_.now() && !overdue_) return;
  overdue_ = false;
  expired_total_ += wheel_.advance(tick, [](timer_node& node) noexcept {
    observe::trace(observe::trace_kind::timer, 0, node.deadline_tick());
    static_cast<timer&>(node).expired();
  });
}

clock::time_point timer_service::deadline() noexcept {
  std::optional<std::uint64_t> tick = wheel_.next_deadline();
  if (!tick || *tick > static_cast<std::uint64_t>(INT64_MAX / tick_ns)) return clock::time_point::max();
  return clock::time_point{clock::duration(static_cast<std::int64_t>(*tick) * tick_ns)};
}

}  // namespace skerry::timers
