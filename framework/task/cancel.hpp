// SPDX-License-Identifier: Apache-2.0
#pragma once

/// cancel_source, cancel_token: ends things that wait in several places by one call.
///
///     cancel_source stop;
///     cancel_source request(stop.token());                   // a child: ends with stop, or before it on its own
///     std::string line = co_await with_cancel(request.token(), read_line(connection));
///
/// and elsewhere on the shard `stop.cancel()`.
///
/// Whoever owns a task by its structure (a scope, a group, a timeout) needs none of this; it is for a wish to end that
/// comes from the side, such as a stop request or a newer version of the same question.
///
/// Affinity:   one shard.
/// Ownership:  a token refers to its source, which outlives it (asserted); `with_cancel` keeps its token.
/// Invariants: `cancel()` is idempotent, allocates nothing, resumes nothing and destroys nothing.
/// Errors:     with_cancel throws std::system_error(operation_canceled) when the token was cancelled before the result
///             was there.
/// Limits:     none; a source, a token and a wait are each a few words in place. Children nest as deep as the stack.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/branch.hpp>

#include <coroutine>
#include <utility>

namespace skerry {

class cancel_source;

namespace detail {

struct cancel_tag;

/// Hears once of a source's cancel.
class cancel_listener : public list_hook<cancel_tag> {
 public:
  virtual void source_cancelled() noexcept = 0;

 protected:
  cancel_listener() = default;
  ~cancel_listener() {
    if (linked()) unlink();
  }
};

}  // namespace detail

/// Tells whether its source was cancelled, and lets others hear of it. Copies refer to the same source; a default one
/// has none and is never cancelled.
class cancel_token {
 public:
  cancel_token() noexcept = default;
  cancel_token(const cancel_token& other) noexcept : cancel_token(other.source_) {}
  cancel_token(cancel_token&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}
  cancel_token& operator=(cancel_token other) noexcept {
    std::swap(source_, other.source_);
    return *this;
  }
  ~cancel_token();

  bool cancelled() const noexcept;
  /// Tells `listener` once, at the cancel; at once if that has been. It stops listening when it goes.
  void tell(detail::cancel_listener& listener) const noexcept;

 private:
  friend class cancel_source;
  explicit cancel_token(cancel_source* source) noexcept;

  cancel_source* source_ = nullptr;
};

/// Where a cancel comes from.
class cancel_source final : private detail::cancel_listener {
 public:
  cancel_source() = default;
  /// A child: cancelled with `parent`'s source.
  explicit cancel_source(cancel_token parent) noexcept : parent_(std::move(parent)) { parent_.tell(*this); }
  ~cancel_source() { SKERRY_ASSERT(tokens_ == 0, "a cancel_source outlives its tokens"); }

  /// Asks everything under this source's tokens, and its children, to end.
  void cancel() noexcept {
    if (std::exchange(cancelled_, true)) return;
    while (!listeners_.empty()) listeners_.pop_front().source_cancelled();
  }
  bool cancelled() const noexcept { return cancelled_; }
  cancel_token token() noexcept { return cancel_token(this); }

 private:
  friend class cancel_token;
  void source_cancelled() noexcept override { cancel(); }

  detail::intrusive_list<detail::cancel_listener, detail::cancel_tag> listeners_;
  cancel_token parent_;
  std::size_t tokens_ = 0;
  bool cancelled_ = false;
};

inline cancel_token::cancel_token(cancel_source* source) noexcept : source_(source) {
  if (source_ != nullptr) ++source_->tokens_;
}
inline cancel_token::~cancel_token() {
  if (source_ != nullptr) --source_->tokens_;
}
inline bool cancel_token::cancelled() const noexcept { return source_ != nullptr && source_->cancelled(); }
inline void cancel_token::tell(detail::cancel_listener& listener) const noexcept {
  if (source_ == nullptr) return;
  if (source_->cancelled()) return listener.source_cancelled();
  source_->listeners_.push_back(listener);
}

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

}  // namespace detail

/// The result of `operation`, unless `token` is cancelled first. One that completes in the turn of the cancel has won.
template <detail::branchable Operation>
auto with_cancel(cancel_token token, Operation&& operation) {
  return detail::cancel_awaiter<detail::branch_result_t<Operation>>(
      std::move(token), detail::as_task(std::forward<Operation>(operation)));
}

}  // namespace skerry
