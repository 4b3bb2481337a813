// SPDX-License-Identifier: Apache-2.0
#pragma once

/// task<T>: a coroutine that computes a T. Lazy, move-only, awaited once.
///
/// Awaiting a task runs it at once, inside the awaiting coroutine's `await_suspend`; if it finishes without waiting for
/// anything, the awaiting coroutine simply goes on. If it has to wait, everything up to the run queue returns, and when
/// it finishes later it hands over to the coroutine that awaits it, through the step of its chain.
///
///     co_await child()
///       ready:     caller -> child -> caller                      no queue, no suspension
///       suspends:  caller -> child -> (leaf published) -> run queue ... -> child -> caller
///
/// Rejected: symmetric transfer on the way down. g++ 12 makes it a tail call only at some optimisation levels, and a
/// loop of a million ready awaits overflows the stack in debug and sanitizer builds. On the way up neither: the chain's
/// step resumes the awaiting frame after the child's has returned, so the stack never grows with the depth of the
/// chain.
///
/// Affinity:     made, awaited and destroyed on one shard (asserted by the frame pool). A task made where no shard runs
///               may be given to block_on.
/// Ownership:    the task owns its frame. Arguments taken by value live in the frame; arguments taken by reference must
///               live until the task has ended.
/// Errors:       an exception leaves through co_await.
/// Cancellation: see chain.hpp. Awaiting a task that is ready is no cancellation point.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace skerry {

template <class T = void>
class task;

namespace detail {

struct promise_base : pooled {
  std::coroutine_handle<> parent;  ///< who awaits this frame; null at the root of a chain
  bool awaited_inline = false;     ///< the parent's await_suspend is on the stack and looks at done() itself

  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      promise_base& promise = self.promise();
      if (!promise.awaited_inline) current_shard->current->frame_ended(promise.parent);
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  final_awaiter final_suspend() const noexcept { return {}; }
};

enum class outcome : unsigned char { none, value, error };

/// Holds what the coroutine returned or threw, until somebody takes it.
template <class T>
class promise : public promise_base {
 public:
  using stored = std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, T>;

  promise() noexcept {}
  ~promise() {
    if (outcome_ == outcome::value) std::destroy_at(&value_);
    if (outcome_ == outcome::error) std::destroy_at(&error_);
  }
  promise(const promise&) = delete;
  promise& operator=(const promise&) = delete;

  task<T> get_return_object() noexcept;

  template <class U = T>
    requires std::is_convertible_v<U&&, T>
  void return_value(U&& value) {
    if constexpr (std::is_reference_v<T>) {
      ::new (static_cast<void*>(&value_)) stored(std::addressof(value));
    } else {
      ::new (static_cast<void*>(&value_)) stored(std::forward<U>(value));
    }
    outcome_ = outcome::value;
  }

  void unhandled_exception() noexcept {
    ::new (static_cast<void*>(&error_)) std::exception_ptr(std::current_exception());
    outcome_ = outcome::error;
  }

  std::exception_ptr error() const noexcept { return outcome_ == outcome::error ? error_ : nullptr; }

  T take() {
    SKERRY_ASSERT(outcome_ != outcome::none, "a result exists once the task has ended");
    if (outcome_ == outcome::error) std::rethrow_exception(error_);
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(*value_);
    } else {
      return std::move(value_);
    }
  }

 private:
  union {
    stored value_;
    std::exception_ptr error_;
  };
  outcome outcome_ = outcome::none;
};

template <>
class promise<void> : public promise_base {
 public:
  task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { error_ = std::current_exception(); }
  std::exception_ptr error() const noexcept { return error_; }
  void take() {
    if (error_ != nullptr) [[unlikely]]
      std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

}  // namespace detail

template <class T>
class [[nodiscard("a task does nothing until it is awaited or spawned")]] task {
 public:
  using promise_type = detail::promise<T>;
  using value_type = T;

  task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      if (frame_ != nullptr) frame_.destroy();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  ~task() {
    if (frame_ != nullptr) frame_.destroy();
  }

  auto operator co_await() && noexcept {
    struct awaiter {
      std::coroutine_handle<promise_type> frame;
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> parent) const noexcept {
        detail::promise_base& promise = frame.promise();
        promise.parent = parent;
        promise.awaited_inline = true;
        frame.resume();
        if (frame.done()) return false;
        promise.awaited_inline = false;
        return true;
      }
      T await_resume() const { return frame.promise().take(); }
    };
    SKERRY_ASSERT(frame_ != nullptr, "a task that was moved from cannot be awaited");
    SKERRY_ASSERT(frame_.promise().parent == nullptr, "a task is awaited once");
    return awaiter{frame_};
  }

  /// Whether this holds a frame (false after a move).
  explicit operator bool() const noexcept { return frame_ != nullptr; }

  /// Gives the frame to a chain, which then owns it.
  std::coroutine_handle<promise_type> release() && noexcept {
    SKERRY_ASSERT(frame_ != nullptr, "a task that was moved from cannot be started");
    return std::exchange(frame_, nullptr);
  }

 private:
  friend promise_type;
  explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

  std::coroutine_handle<promise_type> frame_;
};

namespace detail {

template <class T>
task<T> promise<T>::get_return_object() noexcept {
  return task<T>(std::coroutine_handle<promise>::from_promise(*this));
}
inline task<void> promise<void>::get_return_object() noexcept {
  return task<void>(std::coroutine_handle<promise>::from_promise(*this));
}

template <class T>
struct task_value;
template <class T>
struct task_value<task<T>> {
  using type = T;
};
template <class T>
concept any_task = requires { typename task_value<std::remove_cvref_t<T>>::type; };

}  // namespace detail

}  // namespace skerry
