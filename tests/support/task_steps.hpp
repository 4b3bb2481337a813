// SPDX-License-Identifier: Apache-2.0
#pragma once

/// task_steps: what tests of tasks need to stop them at a chosen point.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>

#include <coroutine>
#include <system_error>
#include <utility>

namespace skerry::test_support {

/// Long enough for a chain of wake-ups among the few tasks of a test.
inline task<> let_others_run() {
  for (int i = 0; i < 8; ++i) co_await yield();
}

/// Whether the task was cancelled; its result is dropped.
template <class T>
task<bool> was_cancelled(join_handle<T>& handle) {
  try {
    (void)co_await handle;
  } catch (const std::system_error& error) {
    co_return error.code() == std::errc::operation_canceled;
  }
  co_return false;
}

/// Awaits what `make()` gives, and calls `suspended()` when it has suspended, within the same step.
template <class Make, class Suspended>
class when_suspended {
 public:
  when_suspended(Make make, Suspended suspended) : inner_(make()), suspended_(std::move(suspended)) {}
  bool await_ready() { return inner_.await_ready(); }
  void await_suspend(std::coroutine_handle<> resume_point) {
    inner_.await_suspend(resume_point);
    suspended_();
  }
  decltype(auto) await_resume() { return inner_.await_resume(); }

 private:
  std::invoke_result_t<Make&> inner_;
  Suspended suspended_;
};

}  // namespace skerry::test_support
