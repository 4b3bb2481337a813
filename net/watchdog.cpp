// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/watchdog.hpp>

namespace skerry::net {

void watchdog::rearm() noexcept {
  timers::timer_service& timers = timers::this_timers();
  timers.cancel(*this);
  timers.arm(*this, armed_for_ = deadline_);
}

void watchdog::expired() noexcept {
  if (clock::now() < deadline_) return rearm();
  ended_.cancel();
}

}  // namespace skerry::net
