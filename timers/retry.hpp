// SPDX-License-Identifier: Apache-2.0
#pragma once

/// retry: calls a function again when it fails, each time later.
///
///     retry_policy policy;
///     policy.attempts_max = 8;
///     std::string line = co_await retry(policy, [&] { return read_line(connection); });
///
/// Before attempt n + 1 it sleeps between half and all of first_delay * factor^(n-1), at most delay_max. The random
/// part keeps those who failed together from coming back together; it is drawn from the shard's source, so that a run
/// repeats with its seed.
///
/// Affinity:     the caller's shard.
/// Ownership:    a function that has a name is referred to; another is kept until the end.
/// Errors:       a std::system_error (and what derives from it, such as timeout_error) is worth another attempt, unless
///               `worth_retrying` says no; the last attempt's leaves. Any other exception is no passing trouble and
///               leaves at once.
/// Cancellation: ends the attempt or the sleep, and so the retry.
/// Limits:       `attempts_max`. For a limit in time, wrap the whole in with_timeout, or each attempt.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/branch.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
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

/// The delays of one retry.
class back_off {
 public:
  explicit back_off(const retry_policy& policy) noexcept;
  /// How long to sleep before the next attempt.
  clock::duration next() noexcept;

 private:
  const retry_policy& policy_;
  clock::duration delay_;
};

template <class T, class Fn>
task<T> attempt_again(retry_policy policy, Fn fn) {
  back_off delays(policy);
  for (unsigned attempt = 1;; ++attempt) {
    try {
      co_return co_await fn();
    } catch (const std::system_error& error) {
      if (attempt >= policy.attempts_max || !policy.worth_retrying(error)) throw;
    }
    co_await sleep_for(delays.next());
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
