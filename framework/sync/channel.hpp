// SPDX-License-Identifier: Apache-2.0
#pragma once

/// channel<T>: items from any number of tasks to any number of tasks of one shard, in order.
///
///     channel<int> numbers(64);
///     bool sent = co_await numbers.send(7);                             // waits while 64 are in it
///     numbers.close();
///     while (auto item = co_await numbers.recv()) use(*item, 1);        // what is in it, then the end
///
/// Two counts with a wait list each: free places, for which senders wait, and items, for which receivers wait. An item
/// stays in the channel until its receiver resumes; a sender that was woken has a place reserved until it resumes.
///
///     send: take a place --> push the item --> give an item to the receivers
///     recv: take an item --> pop it --------> give a place to the senders
///
/// After `close`:   send, try_send   false, and the item is not sent; a sender that waits wakes with that answer
///                  recv             what is in the channel, then std::nullopt
/// A receiver that waits when the channel closes stays as long as an item is on its way to another one, which may be
/// cancelled and leave it.
///
/// Affinity:     the shard that made it.
/// Ownership:    items in the channel belong to it and go with it. It must outlive those who wait (asserted).
/// Invariants:   (1) free places + reserved places + items = capacity; (2) items that are not free are reserved.
/// Cancellation: at once. A cancelled send has sent nothing; a cancelled receive leaves the item to the next.
/// Errors:       an unbounded channel's storage may throw std::bad_alloc; the item is then not sent.
/// Limits:       `capacity` items, with storage taken once. An `unbounded` one shares with all others of its shard the
///               bytes of `unbounded_channels` (default 64 MiB, counting sizeof(T) for an item and not what the item
///               owns); beyond them senders wait. Its storage doubles when it must and is kept until the channel goes.
///               Waiting for those bytes couples channels: where one task's output is another's input in a circle, use
///               bounded ones.

#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/sync/ring.hpp>
#include <skerry/framework/sync/wait_list.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace skerry {

/// What bounds the unbounded channels of one shard. `resources().emplace<unbounded_channels>(bytes)` at start-up sets
/// another limit; otherwise the first such channel makes it.
class unbounded_channels {
 public:
  static constexpr std::uint64_t bytes_max_default = std::uint64_t{64} << 20;

  explicit unbounded_channels(std::uint64_t bytes_max = bytes_max_default);
  ~unbounded_channels() { SKERRY_ASSERT(bytes() == 0, "unbounded channels end before their shard's resources"); }

  static unbounded_channels& of_this_shard();
  std::uint64_t bytes() const noexcept { return bytes_max_ - room_.free(); }
  std::uint64_t bytes_max() const noexcept { return bytes_max_; }

 private:
  template <class T>
  friend class channel;
  std::uint64_t bytes_max_;
  detail::wait_list room_;
  std::int64_t items_ = 0;
  observe::registration items_shown_;
  observe::registration bytes_shown_;
};

/// Says that a channel is bounded by its shard's `unbounded_channels` only.
struct unbounded_t {};
inline constexpr unbounded_t unbounded{};

namespace detail {
/// Who waits to send. Unbounded channels share a list, so each has to know its own.
class channel_sender : public waiter {
 public:
  channel_sender(wait_list& room, std::uint64_t places, const void* to) noexcept : waiter(room, places), to_(to) {}
  static auto to(const void* wanted) noexcept {
    return [wanted](const waiter& each) { return static_cast<const channel_sender&>(each).to_ == wanted; };
  }

 private:
  const void* to_;
};
}  // namespace detail

template <class T>
class channel {
 public:
  class send_awaiter;
  class recv_awaiter;

  explicit channel(std::size_t capacity)
      : items_(capacity), room_(&places_), places_("channel send", capacity), capacity_(capacity) {
    SKERRY_ASSERT(capacity > 0, "a channel has room for an item");
  }
  explicit channel(unbounded_t) : channel(unbounded_channels::of_this_shard()) {}
  ~channel();

  /// Whether it was sent; false once the channel is closed.
  send_awaiter send(T item) { return send_awaiter(*this, std::move(item)); }
  /// The oldest item; none once the channel is closed and empty.
  recv_awaiter recv() noexcept { return recv_awaiter(*this); }
  /// Declines when it is full, closed, or others wait to send; `item` is then as it was.
  bool try_send(T&& item);
  bool try_send(const T& item) { return try_send(T(item)); }
  /// Declines when it is empty, or what is in it is on its way to others.
  std::optional<T> try_recv() noexcept;
  /// Nothing comes any more. Idempotent.
  void close() noexcept;

  bool is_closed() const noexcept { return closed_; }
  /// Closed and empty: the end.
  bool is_drained() const noexcept { return closed_ && items_.empty(); }
  std::size_t size() const noexcept { return items_.size(); }

 private:
  static constexpr std::size_t slots_at_first = 16;  // of an unbounded channel

  explicit channel(unbounded_channels& shared)
      : items_(slots_at_first), room_(&shared.room_), places_("channel send"), shared_(&shared), place_(sizeof(T)) {
    SKERRY_ASSERT(sizeof(T) <= shared.bytes_max(), "one item fits into the limit");
  }
  bool try_take_place() noexcept { return !closed_ && room_->try_take(place_); }
  void push(T&& item);
  [[gnu::cold, gnu::noinline]] void make_room();
  T pop() noexcept;

  detail::ring<T> items_;
  detail::wait_list unread_{"channel recv"};  // a unit per item
  detail::wait_list* room_;                   // a unit per place, or per byte when it is shared
  detail::wait_list places_;
  unbounded_channels* shared_ = nullptr;
  std::uint64_t place_ = 1;  // units that an item takes of `room_`
  std::size_t capacity_ = 0;
  bool closed_ = false;
};

template <class T>
class [[nodiscard("co_await it")]] channel<T>::send_awaiter final : public detail::channel_sender {
 public:
  send_awaiter(channel& to, T&& item) noexcept
      : channel_sender(*to.room_, to.place_, &to), channel_(to), item_(std::move(item)) {}
  bool await_ready() const noexcept { return channel_.closed_ || channel_.try_take_place(); }
  bool await_resume() {
    if (has_suspended() && !reserved()) return false;  // woken by `close`; the channel may be gone
    if (channel_.closed_) return false;                // a reserved place is given back by the destructor
    accept();
    channel_.push(std::move(item_));
    return true;
  }

 private:
  channel& channel_;
  T item_;
};

template <class T>
class [[nodiscard("co_await it")]] channel<T>::recv_awaiter final : public detail::waiter {
 public:
  explicit recv_awaiter(channel& from) noexcept : waiter(from.unread_, 1), channel_(from) {}
  bool await_ready() const noexcept { return list().try_take() || channel_.is_drained(); }
  std::optional<T> await_resume() noexcept {
    if (has_suspended() ? !reserved() : channel_.is_drained()) return std::nullopt;
    accept();
    return channel_.pop();
  }

 private:
  channel& channel_;
};

template <class T>
channel<T>::~channel() {
  SKERRY_ASSERT(unread_.free() == items_.size(), "a channel must outlive the receivers it has woken");
  const bool waited_for = room_->wake_if(detail::channel_sender::to(this)) > 0;
  SKERRY_ASSERT(!waited_for, "a channel must outlive those who wait to send");
  if (shared_ == nullptr) {
    SKERRY_ASSERT(places_.free() + items_.size() == capacity_, "a channel must outlive the senders it has woken");
  } else {
    shared_->items_ -= static_cast<std::int64_t>(items_.size());
    room_->give(items_.size() * place_);
  }
}

template <class T>
bool channel<T>::try_send(T&& item) {
  if (!try_take_place()) return false;
  push(std::move(item));
  return true;
}

template <class T>
std::optional<T> channel<T>::try_recv() noexcept {
  if (!unread_.try_take()) return std::nullopt;
  return pop();
}

template <class T>
void channel<T>::close() noexcept {
  if (std::exchange(closed_, true)) return;
  room_->wake_if(detail::channel_sender::to(this));
  if (items_.empty()) unread_.wake_all();
}

template <class T>
void channel<T>::push(T&& item) {
  if (shared_ != nullptr) {
    if (items_.size() == items_.slot_count()) [[unlikely]]
      make_room();
    ++shared_->items_;
  }
  items_.push(std::move(item));
  unread_.give();
}

template <class T>
void channel<T>::make_room() {
  try {
    items_.grow();
  } catch (...) {
    room_->give(place_);
    throw;
  }
}

template <class T>
T channel<T>::pop() noexcept {
  T item = std::move(items_.front());
  items_.drop();
  room_->give(place_);
  if (shared_ != nullptr) --shared_->items_;
  if (closed_ && items_.empty()) unread_.wake_all();
  return item;
}

}  // namespace skerry
