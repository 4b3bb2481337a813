// SPDX-License-Identifier: Apache-2.0
#pragma once

/// oneshot<T>: one value from one task to another, or the news that there will be none.
///
///     oneshot<int> answer;
///     auto asked = spawn(count_into(answer.sender()));        // an argument, so that it goes when the task ends
///     std::optional<int> got = co_await answer.recv();        // none when the sender goes without sending
///
/// The two ends may go in any order: each knows the other and tells it, so nothing is allocated.
///
/// Affinity:     the shard that made it.
/// Ownership:    the value belongs to the oneshot until it is received. The oneshot does not move; its sender does.
/// Invariants:   it opens once: by `send`, or because the sender went.
/// Cancellation: at once; a value that was sent stays until somebody receives it.

#include <skerry/framework/sync/wait_list.hpp>

#include <optional>
#include <utility>

namespace skerry {

template <class T>
class oneshot;

/// The end that sends. Dropping it says that no value comes.
template <class T>
class oneshot_sender {
 public:
  oneshot_sender(oneshot_sender&& other) noexcept : to_(std::exchange(other.to_, nullptr)) {
    if (to_ != nullptr) to_->sender_ = this;
  }
  oneshot_sender& operator=(oneshot_sender&&) = delete;
  ~oneshot_sender() {
    if (to_ != nullptr) to_->open();
  }

  /// Whether there is still somebody to send to: false once the oneshot has gone. Once only.
  bool send(T value) {
    SKERRY_ASSERT(!std::exchange(sent_, true), "a oneshot carries one value");
    if (to_ == nullptr) return false;
    to_->waiting_.check_home();
    to_->value_.emplace(std::move(value));
    std::exchange(to_, nullptr)->open();
    return true;
  }

 private:
  friend class oneshot<T>;
  explicit oneshot_sender(oneshot<T>& to) noexcept : to_(&to) { to.sender_ = this; }

  oneshot<T>* to_;
  bool sent_ = false;
};

template <class T>
class oneshot {
 public:
  oneshot() noexcept = default;
  ~oneshot() {
    if (sender_ != nullptr) sender_->to_ = nullptr;
  }

  /// The other end. Once only.
  oneshot_sender<T> sender() noexcept {
    SKERRY_ASSERT(!std::exchange(has_sender_, true), "a oneshot has one sender");
    return oneshot_sender<T>(*this);
  }
  /// Waits for the value; none if the sender went without, or another receive took it. Must outlive the wait.
  auto recv() noexcept {
    return detail::wait_awaiter(
        waiting_, *this, [](oneshot& from) { return from.is_finished(); },
        [](oneshot& from, detail::waiter&) { return from.try_recv(); });
  }
  std::optional<T> try_recv() {
    waiting_.check_home();
    return std::exchange(value_, std::nullopt);
  }
  /// Whether the value has come, or never will.
  bool is_finished() const noexcept {
    waiting_.check_home();
    return finished_;
  }

 private:
  friend class oneshot_sender<T>;
  void open() noexcept {
    waiting_.wake_all();
    sender_ = nullptr;
    finished_ = true;
  }

  detail::wait_list waiting_{"oneshot"};
  std::optional<T> value_;
  oneshot_sender<T>* sender_ = nullptr;
  bool has_sender_ = false;
  bool finished_ = false;
};

}  // namespace skerry
