// SPDX-License-Identifier: Apache-2.0
#pragma once

/// yield: lets others run. A loop that computes for long calls `co_await maybe_yield()` in each round.
///
/// Affinity:     any task; resumes on the same shard, behind what is ready in its group.
/// Cancellation: `yield` is a cancellation point; `maybe_yield` is one even when it need not yield.

#include <skerry/framework/task/chain.hpp>

#include <coroutine>

namespace skerry {

/// Whether the running task should let others go first: its slice is over, a message or a completion waits. A few
/// loads; every 16th call reads the clock.
bool need_preempt() noexcept;

/// Goes to the back of the run queue.
struct [[nodiscard("co_await it")]] yield {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) const noexcept {
    detail::current_shard->current->requeue(resume_point);
  }
  void await_resume() const noexcept {}
};

/// Yields if `need_preempt()`, or if the task is being cancelled.
struct [[nodiscard("co_await it")]] maybe_yield : yield {
  bool await_ready() const noexcept { return !need_preempt() && !detail::current_shard->current->cancel_requested(); }
};

}  // namespace skerry
