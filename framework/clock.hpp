// SPDX-License-Identifier: Apache-2.0
#pragma once

/// clock: the one place where this project learns what time it is.
///
/// A shard reads its source once per scheduling slice and everything on it (timers, shares, budgets, log stamps, ages)
/// uses that reading, `clock::now()`. In simulation the source is virtual. `scripts/check` refuses any other clock.
///
/// Units:    nanoseconds. `now()` is monotonic with an arbitrary origin; `wall()` counts from 1970-01-01 UTC.
/// Affinity: `now()` and `wall()` on a shard read that shard's source; on another thread they read the kernel's.

#include <chrono>

namespace skerry {

/// Where a shard's time comes from: the kernel, or a simulated world.
class clock_source {
 public:
  /// Monotonic nanoseconds, read now.
  virtual std::chrono::nanoseconds monotonic() noexcept = 0;
  /// Nanoseconds since 1970-01-01 UTC, read now. May jump either way.
  virtual std::chrono::nanoseconds wall() noexcept = 0;

 protected:
  ~clock_source() = default;
};

/// The kernel's clocks. One object for all shards: it holds no state.
clock_source& kernel_clock() noexcept;

/// A C++ clock in the sense of [time.clock.req].
struct clock {
  using rep = std::chrono::nanoseconds::rep;
  using period = std::chrono::nanoseconds::period;
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<clock>;
  static constexpr bool is_steady = true;

  /// The shard's latest reading, at most one task budget old; a load.
  static time_point now() noexcept;
  /// Reads the source (about 25 ns) and makes it the shard's latest reading.
  static time_point read() noexcept;
  /// Wall time since the epoch, for log stamps and dates; read from the source each time.
  static std::chrono::nanoseconds wall() noexcept;
};

}  // namespace skerry
