// SPDX-License-Identifier: Apache-2.0
#pragma once

/// with_timeout, with_deadline: a task's result, or timeout_error when it takes too long.
///
///     std::string line = co_await with_timeout(std::chrono::seconds(5), read_line(connection));
///
/// The task runs as a branch of its own. When the deadline comes first the branch is cancelled, and only when it has
/// let go of everything (the kernel has answered, its frames are destroyed) does the caller go on with the exception. A
/// task that completes in the same turn as its deadline wins: its result is never lost.
///
/// Affinity:     the caller's shard throughout.
/// Errors:       what the task throws; timeout_error (std::errc::timed_out) when the deadline came first.
/// Cancellation: cancels the branch and waits for it.
/// Limits:       none; timer and branch live in the caller's frame.

#include <skerry/framework/task/task.hpp>
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

class timed_branch : private leaf, private timers::timer, private chain {
 public:
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    timers::this_timers().arm(*this, deadline_);
    start(std::exchange(body_, nullptr));
  }

 protected:
  timed_branch(clock::time_point deadline, std::coroutine_handle<> body) noexcept
      : chain(this_shard().current->name(), this_shard().current->group(), this_shard().current),
        deadline_(deadline),
        body_(body) {}
  ~timed_branch() {
    if (body_ != nullptr) body_.destroy();
  }

  void require_result() const {
    if (was_cancelled()) throw timeout_error();
  }

 private:
  void expired() noexcept override { chain::cancel(); }
  void let_go() noexcept override {
    timers::this_timers().cancel(*this);
    chain::cancel();
  }
  void ended() noexcept override {
    timers::this_timers().cancel(*this);
    leaf::wake();
  }
  const char* describe() const noexcept override { return "with_timeout"; }

  clock::time_point deadline_;
  std::coroutine_handle<> body_;
};

template <class T>
class [[nodiscard("co_await it")]] timeout_awaiter final : private result_slot<T>, public timed_branch {
 public:
  timeout_awaiter(clock::time_point deadline, task<T> body) noexcept
      : timed_branch(deadline, std::move(body).release(*this)) {}
  T await_resume() {
    this->require_result();
    return this->take();
  }
};

}  // namespace detail

/// The result of `body` if it is there by `deadline`.
template <class T>
detail::timeout_awaiter<T> with_deadline(clock::time_point deadline, task<T> body) {
  return detail::timeout_awaiter<T>(deadline, std::move(body));
}

/// The result of `body` if it takes at most `limit`.
template <class T>
detail::timeout_awaiter<T> with_timeout(clock::duration limit, task<T> body) {
  return detail::timeout_awaiter<T>(timers::saturating_add(clock::now(), limit), std::move(body));
}

}  // namespace skerry
