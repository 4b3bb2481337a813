// SPDX-License-Identifier: Apache-2.0
#pragma once

/// with_timeout, with_deadline: a result, or timeout_error when it takes too long.
///
///     std::string line = co_await with_timeout(std::chrono::seconds(5), read_line(connection));
///
/// What is waited for is a branch. When the deadline comes first the branch is cancelled, and only when it has let go
/// of everything (the kernel has answered, its frames are destroyed) does the caller go on with the exception. A branch
/// that completes in the same turn as its deadline wins: its result is never lost.
///
/// Affinity:     the caller's shard throughout.
/// Errors:       what the task throws; timeout_error (std::errc::timed_out) when the deadline came first.
/// Cancellation: cancels the branch and waits for it.
/// Limits:       none; timer and branch live in the caller's frame.

#include <skerry/framework/task/branch.hpp>
#include <skerry/timers/timer.hpp>

#include <coroutine>
#include <system_error>
#include <utility>

namespace skerry {

/// A deadline came before the result.
class timeout_error : public std::system_error {
 public:
  timeout_error() : std::system_error(std::make_error_code(std::errc::timed_out), "deadline passed") {}
};

namespace detail {

template <class T>
class [[nodiscard("co_await it")]] timeout_awaiter final : public lone_fork<T>, private timers::timer {
 public:
  timeout_awaiter(clock::time_point deadline, task<T>&& body) noexcept
      : lone_fork<T>(std::move(body)), deadline_(deadline) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    timers::this_timers().arm(*this, deadline_);
    lone_fork<T>::await_suspend(resume_point);
  }
  T await_resume() {
    if (this->branch_.was_cancelled()) throw timeout_error();
    return lone_fork<T>::await_resume();
  }
  const char* describe() const noexcept override { return "with_timeout"; }

 private:
  void expired() noexcept override { this->branch_.cancel(); }
  chain* branch_ended(branch_base& which, outcome how) noexcept override {
    timers::this_timers().cancel(*this);
    return lone_fork<T>::branch_ended(which, how);
  }

  clock::time_point deadline_;
};

}  // namespace detail

/// The result of `operation` if it is there by `deadline`.
template <detail::branchable Operation>
auto with_deadline(clock::time_point deadline, Operation&& operation) {
  return detail::timeout_awaiter<detail::branch_result_t<Operation>>(
      deadline, detail::as_task(std::forward<Operation>(operation)));
}

/// The result of `operation` if it takes at most `limit`.
template <detail::branchable Operation>
auto with_timeout(clock::duration limit, Operation&& operation) {
  return with_deadline(timers::saturating_add(clock::now(), limit), std::forward<Operation>(operation));
}

}  // namespace skerry
