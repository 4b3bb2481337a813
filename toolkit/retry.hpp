// SPDX-License-Identifier: Apache-2.0
#pragma once

/// retry: calls a function again when it fails, each time later.
///
///     retry_policy policy;
///     policy.attempts_max = 8;
///     std::string line = co_await retry(policy, [&] { return read_line(connection); });
///
/// Before attempt n + 1 it sleeps between half and all of first_delay * factor^(n-1), at most delay_max. The random
/// part keeps those who failed together from coming back together; a run repeats with its seed.
///
/// Affinity:     the caller's shard.
/// Ownership:    a function that has a name is referred to; another is kept until the end.
/// Errors:       a std::system_error (timeout_error is one) is worth another attempt, unless `worth_retrying` says no;
///               the last attempt's leaves. Any other exception leaves at once.
/// Cancellation: ends the attempt or the sleep, and so the retry.
/// Limits:       `attempts_max`. For a limit in time, wrap the whole in with_timeout, or each attempt.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/clock.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/task/branch.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

namespace skerry {

struct retry_policy {
  retry_policy() noexcept {}  // no aggregate: g++ 12 destroys an aggregate temporary in a co_await operand twice

  unsigned attempts_max = 5;  ///< the first one included
  clock::duration first_delay = std::chrono::milliseconds(10);
  double factor = 2;
  clock::duration delay_max = std::chrono::seconds(10);
  bool (*worth_retrying)(const std::system_error&) = [](const std::system_error&) { return true; };
};

namespace detail {

/// Draws a time to sleep between half and all of `delay`, and lengthens `delay` for the next time.
inline clock::duration draw_delay(const retry_policy& policy, clock::duration& delay) noexcept {
  const clock::duration half = delay / 2;
  const auto drawn = this_shard().random->uniform(static_cast<std::uint64_t>((delay - half).count()) + 1);
  // In floating point, so that no factor overflows.
  const double longer = static_cast<double>(delay.count()) * policy.factor;
  delay = longer < static_cast<double>(policy.delay_max.count())
              ? clock::duration(static_cast<clock::duration::rep>(longer))
              : policy.delay_max;
  return half + clock::duration(static_cast<clock::duration::rep>(drawn));
}

template <class T, class Fn>
task<T> attempt_again(retry_policy policy, Fn fn) {
  SKERRY_ASSERT(policy.attempts_max > 0, "a retry makes at least one attempt");
  SKERRY_ASSERT(policy.first_delay >= clock::duration::zero(), "a delay is not negative");
  SKERRY_ASSERT(policy.factor >= 1, "delays do not shrink");
  clock::duration delay = std::min(policy.first_delay, policy.delay_max);
  for (unsigned attempt = 1;; ++attempt) {
    try {
      co_return co_await fn();
    } catch (const std::system_error& error) {
      if (attempt >= policy.attempts_max || !policy.worth_retrying(error)) throw;
    }
    co_await sleep_for(draw_delay(policy, delay));
  }
}

}  // namespace detail

/// The result of the first `fn()` that does not fail; `fn` returns a task or another awaitable.
template <class Fn>
auto retry(const retry_policy& policy, Fn&& fn) {
  static_assert(detail::safe_in_co_await<Fn>, "name this function before the co_await: " SKERRY_DESTROYED_TWICE);
  using result = detail::awaited_t<std::invoke_result_t<Fn&>>;
  return detail::attempt_again<result, Fn>(policy, std::forward<Fn>(fn));
}

}  // namespace skerry
