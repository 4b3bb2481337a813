// SPDX-License-Identifier: Apache-2.0
#pragma once

/// watchdog: time limits for everything a connection waits for, at the price of a store for each.
///
///     net::watchdog dog;
///     auto serve = [&]() -> task<> {
///       while (true) {
///         dog.give(std::chrono::seconds(60));                                  // for the next line
///         auto line = co_await read_line(connection);
///         dog.give(std::chrono::seconds(10));                                  // for its answer to be taken
///         co_await connection.write(line);
///       }
///     };
///     co_await with_cancel(dog.token(), serve());
///
/// A timeout around each wait would arm and cancel a timer, and start a branch, several times a request. Here one timer
/// watches all of them: a new deadline is noted, and the timer looks at it when it expires. Only a deadline before the
/// one that is armed arms again. When one passes, everything under the token is cancelled where it stands.
///
/// Affinity:     the shard that made it.
/// Ownership:    outlives its tokens (asserted).
/// Cancellation: it fires once, for good. with_cancel then throws std::system_error(operation_canceled), and `fired`
///               tells it from other errors.
/// Units:        the loop's milliseconds; never early.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/timers/timer.hpp>

#include <chrono>

namespace skerry::net {

class watchdog final : timers::timer {
 public:
  watchdog() = default;
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;
  ~watchdog() { timers::this_timers().cancel(*this); }

  /// So much time from now on, instead of what was given before.
  void give(std::chrono::nanoseconds time) noexcept {
    deadline_ = timers::saturating_add(clock::now(), time);
    if (!armed() || deadline_ < armed_for_) rearm();
  }
  bool fired() const noexcept { return ended_.cancelled(); }
  cancel_token token() noexcept { return ended_.token(); }

 private:
  void rearm() noexcept;
  void expired() noexcept override;

  cancel_source ended_;
  clock::time_point deadline_{};
  clock::time_point armed_for_{};
};

}  // namespace skerry::net
