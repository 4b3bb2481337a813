// SPDX-License-Identifier: Apache-2.0
#pragma once

/// coarse_clock, fine_clock: the shard's time with and without looking at the clock, under names that say which.
///
///     const auto before = fine_clock::now();
///     look_at(fd);
///     const std::chrono::nanoseconds took = fine_clock::now() - before;
///
///     clock          now() costs                now() is
///     coarse_clock   a load                     the loop's last reading: up to a task budget (500 us) old
///     fine_clock     about 25 ns                read now; it becomes the loop's last reading
///
/// Both tell the same time (`time_point` is the same type) and never go back. In simulation both are virtual.
///
/// Affinity: any thread; see clock.hpp.
/// Units:    nanoseconds since an arbitrary origin.

#include <skerry/framework/clock.hpp>

namespace skerry {

using coarse_clock = clock;

struct fine_clock : clock {
  static time_point now() noexcept { return read(); }
};

}  // namespace skerry
