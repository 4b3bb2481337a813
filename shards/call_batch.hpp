// SPDX-License-Identifier: Apache-2.0
#pragma once

/// call_batch: several calls of one function on several shards, awaited together. For a server that fans a request
/// out: the slots are allocated once and used again for every round.
///
///     call_batch<decltype(fn), int> calls(shard_count());
///     calls.add(0, fn, 1);
///     calls.add(1, fn, 2);
///     co_await calls.all();
///     use(calls.take(0), calls.take(1));
///     calls.clear();
///
/// Affinity:     one task; results are fetched on its shard.
/// Errors:       each take() rethrows what its call threw; the others are not disturbed.
/// Cancellation: all calls are cancelled, and all come home before the frame goes.
/// Limits:       `capacity` calls at a time, asserted.

#include <skerry/shards/submit_to.hpp>

#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry {

template <class Fn, class... Args>
class call_batch final : private detail::leaf {
 public:
  using call_type = detail::call<call_batch, Fn, Args...>;
  using value = typename call_type::value;

  explicit call_batch(std::size_t capacity, detail::handler_scope which = detail::handler_scope::root)
      : slots_(std::make_unique<std::optional<call_type>[]>(capacity)), capacity_(capacity), which_(which) {
    detail::require_call_crosses<Fn, Args...>();
  }

  /// Prepares one call; nothing is sent before `all()`.
  template <class... Given>
  void add(shard_id target, Fn fn, Given&&... args) {
    SKERRY_ASSERT(size_ < capacity_, "a call_batch holds as many calls as it was made for");
    slots_[size_].emplace(target, *this, which_, std::move(fn), std::forward<Given>(args)...);
    ++size_;
  }

  /// Sends all calls and waits until the last one is back.
  auto all() noexcept {
    struct [[nodiscard]] awaiter {
      call_batch& batch;
      bool await_ready() const noexcept { return batch.size_ == 0; }
      bool await_suspend(std::coroutine_handle<> resume_point) const noexcept {
        batch.away_ = batch.size_ + 1;  // one more, so that none that comes home at once is the last
        for (std::size_t i = 0; i < batch.size_; ++i) detail::this_mailboxes().send(batch.slots_[i]->with_origin());
        if (--batch.away_ == 0) return false;
        batch.suspend(resume_point);
        return true;
      }
      void await_resume() const noexcept {}
    };
    return awaiter{*this};
  }

  std::size_t size() const noexcept { return size_; }
  /// The result of call `i`, in the order of add; rethrows its error.
  value take(std::size_t i) {
    SKERRY_ASSERT(i < size_, "there is no such call");
    return slots_[i]->take();
  }
  /// Makes room for the next round.
  void clear() noexcept {
    while (size_ > 0) slots_[--size_].reset();
  }

 private:
  friend call_type;
  void one_home() noexcept {
    if (--away_ == 0) wake();
  }
  void let_go() noexcept override {
    // A cancelled call may come home at once, and the last one ends the wait; none goes before the task runs again.
    for (std::size_t i = 0; i < size_; ++i) detail::this_mailboxes().cancel(*slots_[i]);
  }
  const char* describe() const noexcept override { return "call_batch"; }

  std::unique_ptr<std::optional<call_type>[]> slots_;
  std::size_t capacity_;
  std::size_t size_ = 0;
  std::size_t away_ = 0;
  detail::handler_scope which_;
};

namespace detail {

/// Calls `fn(args...)` on every shard at once and waits for all; the results by shard, or the first one's error.
template <class Fn, class... Args, class T = call_value_t<Fn, Args...>>
task<std::conditional_t<std::is_void_v<T>, void, std::vector<T>>> call_everywhere(handler_scope which, Fn fn,
                                                                                  Args... args) {
  call_batch<Fn, Args...> calls(shard_count(), which);
  for (shard_id s = 0; s < shard_count(); ++s) calls.add(s, fn, args...);
  co_await calls.all();
  if constexpr (std::is_void_v<T>) {
    for (std::size_t i = 0; i < calls.size(); ++i) calls.take(i);
  } else {
    std::vector<T> results;
    for (std::size_t i = 0; i < calls.size(); ++i) results.push_back(calls.take(i));
    co_return results;
  }
}

}  // namespace detail

}  // namespace skerry
