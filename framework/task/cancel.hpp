// SPDX-License-Identifier: Apache-2.0
#pragma once

/// cancel_source, cancel_token, with_cancel: ends things that wait in several places by one call. shielded, finally:
/// what must run to its end even when the caller is cancelled.
///
///     cancel_source stop;
///     cancel_source request(stop.token());                   // a child: ends with stop, or before it on its own
///     std::string line = co_await with_cancel(request.token(), read_line(connection));
///
///     std::string last = co_await finally(read_line(connection), greet_everybody());
///
/// and elsewhere on the shard `stop.cancel()`. A source is for a wish to end that comes from the side, such as a newer
/// version of the same question; whoever owns a task by its structure (a scope, a group, a timeout) needs none.
///
/// A destructor cannot wait; `finally` can. Its cleanup runs once the body has ended, whether it returned, threw or was
/// cancelled, and the caller goes on, or is destroyed, only after it.
///
/// Affinity:     one shard, the caller's.
/// Ownership:    a token refers to its source, which outlives it (asserted); `with_cancel` keeps its token.
/// Invariants:   `cancel()` is idempotent, allocates nothing, resumes nothing and destroys nothing.
/// Errors:       with_cancel throws std::system_error(operation_canceled) when the token was cancelled first. `finally`
///               throws what the body throws, or else the cleanup; the other of two exceptions, and both when the
///               caller is cancelled, are logged and counted.
/// Cancellation: `shielded` runs on, and the caller ends after it. `finally` cancels its body, also one that has not
///               started, and never its cleanup. Neither runs if it is not awaited.
/// Limits:       none. Child sources nest as deep as the stack. Nothing bounds how long a cancel takes to pass: give
///               what is shielded a timeout of its own.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/branch.hpp>

#include <coroutine>
#include <cstddef>
#include <utility>

namespace skerry {

namespace detail {

/// Hears once of a source's cancel.
class cancel_listener : public list_hook<cancel_listener> {
 public:
  virtual void source_cancelled() noexcept = 0;

 protected:
  ~cancel_listener() {
    if (linked()) unlink();
  }
};

/// What tokens know of their source.
struct cancel_state {
  intrusive_list<cancel_listener, cancel_listener> listeners;
  std::size_t tokens = 0;
  bool cancelled = false;
  [[no_unique_address]] home_mark home;
  cancel_state& at_home() noexcept { return home.check("a cancel_source and its tokens stay on one shard"), *this; }
};

}  // namespace detail

/// Tells whether its source was cancelled, and lets others hear of it. Copies refer to the same source; a default one
/// has none and is never cancelled.
class cancel_token {
 public:
  cancel_token() noexcept = default;
  cancel_token(const cancel_token& other) noexcept : cancel_token(other.source_) {}
  cancel_token& operator=(cancel_token other) noexcept {
    std::swap(source_, other.source_);
    return *this;
  }
  ~cancel_token() {
    if (source_ != nullptr) --source_->at_home().tokens;
  }

  bool cancelled() const noexcept { return source_ != nullptr && source_->at_home().cancelled; }
  /// Tells `listener` once, at the cancel; at once if that has been. It stops listening when it goes.
  void tell(detail::cancel_listener& listener) const noexcept {
    if (cancelled()) return listener.source_cancelled();
    if (source_ != nullptr) source_->listeners.push_back(listener);
  }

 private:
  friend class cancel_source;
  explicit cancel_token(detail::cancel_state* source) noexcept : source_(source) {
    if (source_ != nullptr) ++source_->at_home().tokens;
  }

  detail::cancel_state* source_ = nullptr;
};

/// Where a cancel comes from.
class cancel_source final : private detail::cancel_listener {
 public:
  cancel_source() = default;
  /// A child: cancelled with `parent`'s source.
  explicit cancel_source(cancel_token parent) noexcept : parent_(std::move(parent)) { parent_.tell(*this); }
  ~cancel_source() { SKERRY_ASSERT(state_.tokens == 0, "a cancel_source outlives its tokens"); }

  /// Asks everything under this source's tokens, and its children, to end.
  void cancel() noexcept {
    if (std::exchange(state_.at_home().cancelled, true)) return;
    while (!state_.listeners.empty()) state_.listeners.pop_front().source_cancelled();
  }
  bool cancelled() const noexcept { return state_.cancelled; }
  cancel_token token() noexcept { return cancel_token(&state_); }

 private:
  void source_cancelled() noexcept override { cancel(); }

  detail::cancel_state state_;
  cancel_token parent_;
};

namespace detail {

template <class T>
class [[nodiscard("co_await it")]] cancel_awaiter final : public lone_fork<T>, private cancel_listener {
 public:
  cancel_awaiter(cancel_token&& token, task<T>&& body) noexcept
      : lone_fork<T>(std::move(body)), token_(std::move(token)) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    lone_fork<T>::await_suspend(resume_point);
    token_.tell(*this);
  }
  T await_resume() {
    if (this->branch_.was_cancelled()) throw_cancelled();
    return lone_fork<T>::await_resume();
  }
  const char* describe() const noexcept override { return "with_cancel"; }

 private:
  void source_cancelled() noexcept override { this->branch_.cancel(); }

  cancel_token token_;
};

template <class T>
class [[nodiscard("co_await it")]] shielded_awaiter final : public lone_fork<T> {
 public:
  using lone_fork<T>::lone_fork;
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
    this->branch_.state() != chain_state::done ? visit(this->branch_) : visit(cleanup_);
  }
  chain* branch_ended(branch_base& which, outcome) noexcept override {
    if (&which != &this->branch_) return this->one_less();
    cleanup_.begin(*this);
    return nullptr;
  }

  branch<void> cleanup_;
};

}  // namespace detail

/// The result of `operation`, unless `token` is cancelled first. One that completes in the turn of the cancel has won.
template <detail::branchable Operation>
auto with_cancel(cancel_token token, Operation&& operation) {
  return detail::cancel_awaiter<detail::branch_result_t<Operation>>(
      std::move(token), detail::as_task(std::forward<Operation>(operation)));
}

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
