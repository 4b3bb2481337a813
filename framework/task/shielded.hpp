// SPDX-License-Identifier: Apache-2.0
#pragma once

/// shielded, finally: what must run to its end even when the caller is cancelled.
///
///     std::string line = co_await finally(read_line(connection), greet_everybody());
///
/// A destructor cannot wait; `finally` can. Its cleanup runs once the body has ended, whether it returned, threw or was
/// cancelled, and the caller goes on, or is destroyed, only after it.
///
///     caller cancelled:  body let go -> body destroyed -> cleanup runs -> caller destroyed
///
/// Affinity:     the caller's shard.
/// Errors:       what the body throws; what the cleanup throws if the body did not. The other of two exceptions, and
///               both when the caller is cancelled, are logged and counted.
/// Cancellation: `shielded` is none of the caller's business: it runs, and the caller ends after it. `finally` cancels
///               its body, also one that has not started, and never its cleanup. Neither runs if it is not awaited.
/// Limits:       none. Nothing bounds how long a cancel takes to pass: give what is shielded a timeout of its own.

#include <skerry/framework/task/branch.hpp>

#include <coroutine>
#include <utility>

namespace skerry {

namespace detail {

template <class T>
class [[nodiscard("co_await it")]] shielded_awaiter final : public lone_fork<T> {
 public:
  explicit shielded_awaiter(task<T>&& body) noexcept : lone_fork<T>(std::move(body)) {}
  void let_go() noexcept override {}
  const char* describe() const noexcept override { return "shielded"; }
};

template <class T>
class [[nodiscard("co_await it")]] finally_awaiter final : public lone_fork<T> {
 public:
  finally_awaiter(task<T>&& body, task<>&& cleanup) noexcept
      : lone_fork<T>(std::move(body)), cleanup_(std::move(cleanup)) {}
  T await_resume() {
    if (this->branch_.result().has_value()) cleanup_.take();
    return lone_fork<T>::await_resume();
  }
  void let_go() noexcept override { this->branch_.cancel(); }
  const char* describe() const noexcept override { return "finally"; }

 private:
  void for_each_branch(fork::visitor visit) noexcept override {
    visit(this->branch_);
    visit(cleanup_);
  }
  void branch_ended(branch_base& which, outcome) noexcept override {
    if (&which == &this->branch_) cleanup_.begin(*this);
    this->one_less();
  }

  branch<void> cleanup_;
};

}  // namespace detail

/// The result of `operation`, which the caller's cancellation does not reach.
template <detail::branchable Operation>
auto shielded(Operation&& operation) {
  return detail::shielded_awaiter<detail::branch_result_t<Operation>>(
      detail::as_task(std::forward<Operation>(operation)));
}

/// The result of `body`, after `cleanup` has run.
template <detail::branchable Body, detail::branchable Cleanup>
auto finally(Body&& body, Cleanup&& cleanup) {
  return detail::finally_awaiter<detail::branch_result_t<Body>>(detail::as_task(std::forward<Body>(body)),
                                                                detail::as_task(std::forward<Cleanup>(cleanup)));
}

}  // namespace skerry
