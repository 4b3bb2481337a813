// SPDX-License-Identifier: Apache-2.0
#pragma once

/// submit_to by a deadline that crosses: the target gives up by itself.
///
///     by soon(clock::now() + std::chrono::milliseconds(50));
///     std::size_t n = co_await submit_to(soon, owner, [](std::string key) { return local_store().erase(key); }, key);
///
/// `with_deadline(when, submit_to(…))` sends a cancel when the time has come, which a busy target hears late. Here the
/// deadline goes along: a call that comes too late is not begun, and a task that takes too long is cancelled on its own
/// shard, by its own clock. Whoever calls on from there passes the same `by` on.
///
/// Affinity:     any task; resumes on the caller's shard.
/// Errors:       as submit_to; timeout_error when the deadline came first.
/// Cancellation: as submit_to.
/// Units:        the clocks of all shards of a host count from the same origin.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <type_traits>
#include <utility>

namespace skerry {

/// A deadline that crosses.
class by {
 public:
  using crosses_shards = by;
  explicit by(clock::time_point when) noexcept : when_(when) {}
  clock::time_point when() const noexcept { return when_; }
  /// Reads the clock: a shard's latest reading may be older than the deadline of another.
  bool passed() const noexcept { return clock::read() >= when_; }

 private:
  clock::time_point when_;
};

namespace detail {

template <class Fn, class... Args>
task<call_value_t<Fn, Args...>> handle_by(by deadline, Args... args) {
  co_return co_await with_deadline(deadline.when(), Fn{}(std::move(args)...));
}

/// What crosses instead of Fn.
template <class Fn>
struct run_by {
  template <class... Args>
  auto operator()(by deadline, Args... args) const {
    if (deadline.passed()) throw timeout_error();
    if constexpr (any_task<std::invoke_result_t<Fn&, Args...>>) {
      return handle_by<Fn, Args...>(deadline, std::move(args)...);
    } else {
      return Fn{}(std::move(args)...);
    }
  }
};

}  // namespace detail

/// Runs `fn(args...)` on `target`, if it can be done by the deadline.
template <class Fn, class... Args>
auto submit_to(by deadline, shard_id target, Fn, Args&&... args) {
  detail::require_no_captures<Fn>();
  detail::require_call_crosses<Fn, std::decay_t<Args>...>();
  return submit_to(target, detail::run_by<Fn>(), deadline, std::forward<Args>(args)...);
}

}  // namespace skerry
