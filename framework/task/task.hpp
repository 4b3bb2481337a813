// SPDX-License-Identifier: Apache-2.0
#pragma once

/// task<T>: a coroutine that computes a T. Lazy, move-only, awaited once.
///
/// Awaiting a task runs it inside the awaiting coroutine's `await_suspend`:
///
///     co_await child()
///       ready:     caller -> child -> caller                      no queue, no suspension
///       suspends:  caller -> child -> (leaf published) -> run queue ... -> child -> caller
///
/// Rejected: symmetric transfer. g++ 12 makes it a tail call only at some optimisation levels, and a loop of a million
/// ready awaits overflows the stack in debug and sanitizer builds. On the way up the chain's step resumes the awaiting
/// frame after the child's has returned, so the stack does not grow with the depth of the chain.
///
/// What it returns goes straight into a slot of whoever waits (the awaiter, the node of a spawned task), and the frame
/// frees itself at its end. Rejected: the result in the promise, as is usual. The frame has to live until somebody has
/// fetched it, and destroying it is a second indirect call: 102 instructions for a ready await instead of 76.
///
/// Affinity:     made, awaited and destroyed on one shard (asserted by the frame pool). A task made where no shard runs
///               may be given to block_on.
/// Ownership:    the task owns its frame until it is awaited, then the await does. Arguments by value go with it before
///               the caller goes on; what arguments refer to must live until the task has ended.
/// Errors:       an exception leaves through co_await.
/// Cancellation: see chain.hpp. Awaiting a task that is ready is no cancellation point.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace skerry {

template <class T = void>
class task;

namespace detail {

enum class outcome : unsigned char { none, value, error };

[[gnu::cold, gnu::noinline]] inline void destroy_error(std::exception_ptr& error) noexcept { std::destroy_at(&error); }

/// What a coroutine returned or threw, until somebody takes it; with whoever waits, for the frame is gone by then.
template <class T>
class result_slot {
 public:
  result_slot() noexcept {}
  ~result_slot() {
    if (outcome_ == outcome::value) std::destroy_at(&value_);
    if (outcome_ == outcome::error) [[unlikely]]
      destroy_error(error_);
  }
  result_slot(const result_slot&) = delete;
  result_slot& operator=(const result_slot&) = delete;

  bool filled() const noexcept { return outcome_ != outcome::none; }
  bool has_value() const noexcept { return outcome_ == outcome::value; }
  outcome how() const noexcept { return outcome_; }
  template <class U>
  void set_value(U&& value) {
    if constexpr (std::is_reference_v<T>) {
      std::construct_at(&value_, std::addressof(value));
    } else {
      std::construct_at(&value_, std::forward<U>(value));
    }
    outcome_ = outcome::value;
  }
  void set_error(std::exception_ptr error) noexcept {
    std::construct_at(&error_, std::move(error));
    outcome_ = outcome::error;
  }
  /// What was thrown and has not been taken.
  std::exception_ptr error() const noexcept { return outcome_ == outcome::error ? error_ : nullptr; }
  std::exception_ptr take_error() noexcept {
    return outcome_ == outcome::error ? std::exchange(error_, nullptr) : nullptr;
  }
  T take() {
    if (!has_value()) [[unlikely]] {
      SKERRY_ASSERT(outcome_ == outcome::error, "a result exists once the task has ended");
      std::rethrow_exception(take_error());
    }
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(*value_);
    } else {
      return std::move(value_);
    }
  }

 private:
  using stored = std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, T>;

  union {
    stored value_;
    std::exception_ptr error_;
  };
  outcome outcome_ = outcome::none;
};

/// For a task that returns nothing, in one word, because every frame that awaits one holds it: a small number says how
/// it stands, anything else is what was thrown (an exception_ptr is a pointer in both standard libraries).
template <>
class result_slot<void> {
 public:
  result_slot() noexcept { set(none); }
  ~result_slot() {
    if (word() > taken) [[unlikely]]
      destroy_error(thrown());
  }
  result_slot(const result_slot&) = delete;
  result_slot& operator=(const result_slot&) = delete;

  bool filled() const noexcept { return word() != none; }
  bool has_value() const noexcept { return word() == done; }
  outcome how() const noexcept {
    return has_value() ? outcome::value : word() == none ? outcome::none : outcome::error;
  }
  void set_value() noexcept { set(done); }
  void set_error(std::exception_ptr error) noexcept {
    ::new (static_cast<void*>(word_)) std::exception_ptr(std::move(error));
  }
  std::exception_ptr error() const noexcept {
    return word() > taken ? const_cast<result_slot*>(this)->thrown() : nullptr;
  }
  std::exception_ptr take_error() noexcept {
    if (word() <= taken) return nullptr;
    std::exception_ptr error = std::move(thrown());
    set(taken);
    return error;
  }
  void take() {
    if (has_value()) [[likely]]
      return;
    SKERRY_ASSERT(filled(), "a result exists once the task has ended");
    std::rethrow_exception(take_error());
  }

 private:
  static constexpr std::uintptr_t done = 0, none = 1, taken = 2;
  static_assert(sizeof(std::exception_ptr) == sizeof(std::uintptr_t));

  std::uintptr_t word() const noexcept {
    std::uintptr_t w;
    std::memcpy(&w, word_, sizeof w);
    return w;
  }
  void set(std::uintptr_t state) noexcept { std::memcpy(word_, &state, sizeof state); }
  std::exception_ptr& thrown() noexcept { return *std::launder(reinterpret_cast<std::exception_ptr*>(word_)); }

  alignas(std::exception_ptr) std::byte word_[sizeof(std::exception_ptr)];
};

template <class T>
struct promise_base : pooled {
  promise_base() noexcept {}
  result_slot<T>* result;  ///< set before the first step, and so is what follows
  /// Who goes on after this frame: the one that awaits it, or `end_of_chain`. Null while the parent's await_suspend is
  /// on the stack, which looks at the result itself.
  union {
    std::coroutine_handle<> parent;
  };

  /// Becomes the task when the frame is complete: its store would come between those of the frame, and divide them.
  struct unmade_task {
    promise_base& made;
    operator task<T>() const noexcept;
  };
  unmade_task get_return_object() noexcept { return {*this}; }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  std::suspend_never final_suspend() const noexcept {
    if (parent != nullptr) current_shard->current->frame_ended(parent);
    return {};
  }
  void unhandled_exception() const noexcept { result->set_error(std::current_exception()); }
};

template <class T>
struct promise : promise_base<T> {
  template <class U = T>
    requires std::is_convertible_v<U&&, T>
  void return_value(U&& value) const {
    this->result->set_value(std::forward<U>(value));
  }
};

template <>
struct promise<void> : promise_base<void> {
  void return_void() const noexcept { result->set_value(); }
};

}  // namespace detail

template <class T>
class [[nodiscard("a task does nothing until it is awaited or spawned")]] task {
 public:
  using promise_type = detail::promise<T>;
  using value_type = T;

  task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  task& operator=(task other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~task() {
    if (frame_ != nullptr) frame_.destroy();
  }

  auto operator co_await() && noexcept {
    class awaiter : detail::result_slot<T> {
     public:
      explicit awaiter(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
      ~awaiter() {
        if (!this->filled()) frame_.destroy();
      }
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> parent) noexcept {
        frame_.promise().result = this;
        frame_.promise().parent = nullptr;
        frame_.resume();
        if (this->filled()) return false;
        frame_.promise().parent = parent;
        return true;
      }
      T await_resume() { return this->take(); }

     private:
      std::coroutine_handle<promise_type> frame_;  // until the result is there
    };
    SKERRY_ASSERT(frame_ != nullptr, "a task is awaited once, and not after it was moved from");
    return awaiter(std::exchange(frame_, nullptr));
  }

  explicit operator bool() const noexcept { return frame_ != nullptr; }

  /// Gives the frame to a chain, which then owns it until it has ended and filled `result`.
  std::coroutine_handle<> release(detail::result_slot<T>& result) && noexcept {
    SKERRY_ASSERT(frame_ != nullptr, "a task that was moved from cannot be started");
    frame_.promise().result = &result;
    frame_.promise().parent = detail::end_of_chain();
    return std::exchange(frame_, nullptr);
  }

 private:
  friend detail::promise_base<T>;
  explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

  std::coroutine_handle<promise_type> frame_;
};

namespace detail {

template <class T>
promise_base<T>::unmade_task::operator task<T>() const noexcept {
  return task<T>(std::coroutine_handle<promise<T>>::from_promise(static_cast<promise<T>&>(made)));
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
