// SPDX-License-Identifier: Apache-2.0
#pragma once

/// generator<T>: a coroutine that gives one T after the other, and may wait in between.
///
///     generator<int> count_seconds(int end) {
///       for (int n = 0; n < end; ++n) {
///         co_await sleep_for(std::chrono::seconds(1));
///         co_yield n;
///       }
///     }
///
/// Whoever awaits its items:
///
///     auto all = lines(connection);
///     while (std::string* line = co_await all.next()) look_at(*line);
///
/// It runs only while somebody awaits the next item, as part of the chain that does, like an awaited task: an item that
/// is ready costs no queue and no suspension, one that has to be waited for suspends the caller.
///
/// Affinity:     one shard; whichever task awaits next(), one at a time (asserted).
/// Ownership:    the generator owns its frame. The item is a reference to what was yielded; it lives in that frame
///               until the following next(), and the caller may move from it.
/// Errors:       an exception leaves through next(), and the generator has ended.
/// Cancellation: a cancelled next() destroys the frame: the generator has ended. One that is dropped between two items
///               is destroyed where it stands.
/// Limits:       one frame, however many items.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>

#include <coroutine>
#include <exception>
#include <iterator>
#include <memory>
#include <type_traits>
#include <utility>

namespace skerry {

template <class T>
class [[nodiscard("a generator does nothing until its items are awaited")]] generator {
  static_assert(std::is_object_v<T>, "name the item's type; the caller gets a pointer to it");

 public:
  struct promise_type;
  class next_awaiter;
  class iterator;
  class begin_awaiter;

  generator(generator&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  generator& operator=(generator other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~generator() { end_now(); }

  /// `co_await next()`: the next item, or null when there are no more.
  next_awaiter next() noexcept { return next_awaiter(*this); }

  /// The same with iterators; a range-for cannot wait.
  ///
  ///     auto all = lines(connection);
  ///     for (auto it = co_await all.begin(); it != all.end(); co_await ++it) look_at(*it);
  begin_awaiter begin() noexcept { return begin_awaiter(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using handle = std::coroutine_handle<promise_type>;
  explicit generator(handle frame) noexcept : frame_(frame) {}
  void end_now() noexcept {
    if (frame_ != nullptr) std::exchange(frame_, nullptr).destroy();
  }

  handle frame_;  // null when it has ended or was moved from
};

template <class T>
struct generator<T>::promise_type : detail::pooled {
  T* item = nullptr;
  /// Who goes on at the next item; null while their await_suspend is on the stack and looks for itself. The second
  /// word, as `parent` is of a task's promise: who lists the coroutines that wait looks there.
  std::coroutine_handle<> consumer;
  std::exception_ptr error;
  bool handed_over = false;  ///< has yielded or ended since it was resumed
  [[no_unique_address]] home_stamp home;

  struct hand_over {
    bool await_ready() const noexcept { return false; }
    void await_suspend(handle frame) const noexcept {
      promise_type& promise = frame.promise();
      promise.handed_over = true;
      if (promise.consumer != nullptr) detail::current_shard->current->frame_ended(promise.consumer);
    }
    void await_resume() const noexcept {}
  };

  generator get_return_object() noexcept { return generator(handle::from_promise(*this)); }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  hand_over final_suspend() const noexcept { return {}; }
  hand_over yield_value(T& value) noexcept {
    item = std::addressof(value);
    return {};
  }
  hand_over yield_value(T&& value) noexcept { return yield_value(value); }  // a temporary lives until it is resumed
  void return_void() noexcept { item = nullptr; }
  void unhandled_exception() noexcept {
    item = nullptr;
    error = std::current_exception();
  }
};

template <class T>
class generator<T>::next_awaiter {
 public:
  explicit next_awaiter(generator& items) noexcept : items_(items) {}
  ~next_awaiter() {
    if (waiting_) items_.end_now();  // cancelled
  }
  next_awaiter(const next_awaiter&) = delete;
  next_awaiter& operator=(const next_awaiter&) = delete;

  bool await_ready() const noexcept { return items_.frame_ == nullptr; }
  bool await_suspend(std::coroutine_handle<> consumer) {
    promise_type& promise = items_.frame_.promise();
    promise.home.check("a generator");
    SKERRY_ASSERT(promise.handed_over || promise.consumer == nullptr, "a generator's items are awaited one at a time");
    promise.handed_over = false;
    promise.consumer = nullptr;
    items_.frame_.resume();
    if (promise.handed_over) return false;
    promise.consumer = consumer;
    waiting_ = true;
    return true;
  }
  T* await_resume() {
    waiting_ = false;
    if (items_.frame_ == nullptr) return nullptr;
    promise_type& promise = items_.frame_.promise();
    if (promise.item != nullptr) return promise.item;
    std::exception_ptr error = std::move(promise.error);
    items_.end_now();
    if (error != nullptr) std::rethrow_exception(std::move(error));
    return nullptr;
  }

 protected:
  generator& items_;

 private:
  bool waiting_ = false;
};

template <class T>
class generator<T>::iterator {
 public:
  explicit iterator(generator& items) noexcept : items_(items) {}
  T& operator*() const noexcept { return *items_.frame_.promise().item; }
  T* operator->() const noexcept { return &**this; }
  /// Is to be awaited.
  next_awaiter operator++() noexcept { return items_.next(); }
  bool operator==(std::default_sentinel_t) const noexcept { return items_.frame_ == nullptr; }

 private:
  generator& items_;
};

template <class T>
class generator<T>::begin_awaiter : public next_awaiter {
 public:
  using next_awaiter::next_awaiter;
  iterator await_resume() {
    next_awaiter::await_resume();
    return iterator(this->items_);
  }
};

}  // namespace skerry
