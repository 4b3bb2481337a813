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
/// After `close` a send, also one that waits, gives false and has sent nothing; recv gives what is in the channel, then
/// std::nullopt: a loop over a channel ends. A receiver that waits stays as long as an item is on its way to another
/// one, which may be cancelled.
///
/// Affinity:     the shard that made it.
/// Ownership:    items in the channel belong to it and go with it. It must outlive those who wait (asserted).
/// Invariants:   (1) free places + reserved places + items = capacity; (2) items that are not free are reserved.
/// Cancellation: at once. A cancelled send has sent nothing; a cancelled receive leaves the item to the next.
/// Errors:       an unbounded channel's storage may throw std::bad_alloc; the item is then not sent.
/// Limits:       `capacity` items, with storage taken once. An `unbounded` one shares with all others of its shard the
///               bytes of `unbounded_channels` (64 MiB unless set, sizeof(T) for an item); beyond them senders wait.
///               Its storage doubles when it must and is kept until the channel goes. Where one task's output is
///               another's input in a circle, waiting for these bytes may never end: use bounded ones.

#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/sync/wait_list.hpp>
#include <skerry/toolkit/channel/ring.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace skerry {

/// What bounds the unbounded channels of one shard. `resources().emplace<unbounded_channels>(bytes)` at start-up sets
/// another limit; otherwise the first such channel makes it.
class unbounded_channels {
 public:
  explicit unbounded_channels(std::uint64_t bytes_max = std::uint64_t{64} << 20);
  ~unbounded_channels() { SKERRY_ASSERT(bytes() == 0, "unbounded channels end before their shard's resources"); }

  static unbounded_channels& of_this_shard();
  std::uint64_t bytes() const noexcept { return bytes_max_ - room_.free(); }

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

/// Who waits to send, or has a place reserved. Unbounded channels of every T share a wait list, so each has to know its
/// own. One whose task is being destroyed is in it, too, until that has happened.
class send_waiter : public waiter, public list_hook<struct sender_tag> {
 public:
  using of_channel = list_hook<sender_tag>;
  bool waits() const noexcept { return list_hook<waiter>::linked(); }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    waiter::await_suspend(resume_point);
    others_.push_back(*this);
  }
  /// Resumes, and has no place.
  void turn_away() noexcept {
    of_channel::unlink();
    let_go();
  }

 protected:
  using senders = intrusive_list<send_waiter, sender_tag>;
  send_waiter(wait_list& room, std::uint64_t places, senders& others) noexcept
      : waiter(room, places), others_(others) {}
  ~send_waiter() {
    if (of_channel::linked()) of_channel::unlink();
  }

 private:
  senders& others_;
};

}  // namespace detail

template <class T>
class channel {
 public:
  class send_awaiter;
  class recv_awaiter;

  explicit channel(std::size_t capacity) : items_(capacity), room_(&places_), places_("channel send", capacity) {
    SKERRY_ASSERT(capacity > 0, "a channel has room for an item");
  }
  explicit channel(unbounded_t) : channel(unbounded_channels::of_this_shard()) {}
  ~channel();

  /// Whether it was sent; false once the channel is closed.
  send_awaiter send(T item) { return send_awaiter(*this, std::move(item)); }
  /// The oldest item; none once the channel is closed and empty.
  recv_awaiter recv() noexcept { return recv_awaiter(*this); }
  /// Declines when it is full, closed, or others wait to send; `item` is then as it was.
  bool try_send(T&& item) {
    if (!try_take_place()) return false;
    push(std::move(item));
    return true;
  }
  bool try_send(const T& item) { return try_send(T(item)); }
  /// Declines when it is empty, or what is in it is on its way to others.
  std::optional<T> try_recv() noexcept {
    if (!unread_.try_take()) return std::nullopt;
    return pop();
  }
  /// Nothing comes any more. Idempotent.
  void close() noexcept {
    unread_.check_home();
    if (std::exchange(closed_, true)) return;
    turn_senders_away();
    if (items_.empty()) unread_.wake_all();
  }

  bool is_closed() const noexcept {
    unread_.check_home();
    return closed_;
  }
  /// Closed and empty: the end.
  bool is_drained() const noexcept { return is_closed() && items_.empty(); }
  std::size_t size() const noexcept {
    unread_.check_home();
    return items_.size();
  }

 private:
  static constexpr std::size_t slots_at_first = 16;  // of an unbounded channel

  explicit channel(unbounded_channels& shared)
      : items_(slots_at_first), room_(&shared.room_), places_("channel send"), shared_(&shared), place_(sizeof(T)) {
    SKERRY_ASSERT(sizeof(T) <= shared.bytes_max_, "one item fits into the limit");
  }
  /// For those who have been checked.
  bool has_ended() const noexcept { return closed_ && items_.empty(); }
  /// Asks one list what shard this is, not two: that is a part of what a send costs.
  bool try_take_place() noexcept { return closed_ ? !is_closed() : room_->try_take(place_); }
  void push(T&& item);
  [[gnu::cold, gnu::noinline]] void make_room();
  T pop() noexcept;
  void turn_senders_away() noexcept;

  detail::ring<T> items_;
  detail::wait_list unread_{"channel recv"};  // a unit per item
  detail::wait_list* room_;                   // a unit per place, or per byte when it is shared
  detail::wait_list places_;
  detail::intrusive_list<detail::send_waiter, detail::sender_tag> senders_;
  unbounded_channels* shared_ = nullptr;
  std::uint64_t place_ = 1;  // units that an item takes of `room_`
  bool closed_ = false;
};

template <class T>
class [[nodiscard("co_await it")]] channel<T>::send_awaiter final : public detail::send_waiter {
 public:
  send_awaiter(channel& c, T&& item) noexcept
      : send_waiter(*c.room_, c.place_, c.senders_), channel_(c), item_(std::move(item)) {}
  bool await_ready() const noexcept { return channel_.try_take_place() || channel_.closed_; }
  bool await_resume() {
    if (waiting() != nullptr && !reserved()) return false;  // turned away; the channel may be gone
    if (channel_.closed_) return false;                     // a reserved place is given back by the destructor
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
  explicit recv_awaiter(channel& c) noexcept : waiter(c.unread_), channel_(c) {}
  bool await_ready() const noexcept { return channel_.unread_.try_take() || channel_.has_ended(); }
  std::optional<T> await_resume() noexcept {
    if (waiting() != nullptr ? !reserved() : channel_.has_ended()) return std::nullopt;  // the channel may be gone
    accept();
    return channel_.pop();
  }

 private:
  channel& channel_;
};

template <class T>
channel<T>::~channel() {
  SKERRY_ASSERT(unread_.free() == items_.size(), "a channel must outlive the receivers it has woken");
  senders_.for_each([](detail::send_waiter& each) {
    SKERRY_ASSERT(!each.waits(), "a channel must outlive those who wait to send");
    SKERRY_ASSERT(!each.reserved(), "a channel must outlive the senders it has woken");
    each.detail::send_waiter::of_channel::unlink();
  });
  if (shared_ == nullptr) return;
  shared_->items_ -= static_cast<std::int64_t>(items_.size());
  room_->give(items_.size() * place_);
}

template <class T>
void channel<T>::turn_senders_away() noexcept {
  senders_.for_each([](detail::send_waiter& each) {
    if (each.waits()) each.turn_away();
  });
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

inline unbounded_channels::unbounded_channels(std::uint64_t bytes_max)
    : bytes_max_(bytes_max),
      room_("channel send", bytes_max),
      items_shown_(this_shard().metrics->add(
          items_, {.name = "skerry_unbounded_channel_items", .help = "Items in the shard's unbounded channels."})),
      bytes_shown_(this_shard().metrics->add_gauge([this] { return static_cast<std::int64_t>(bytes()); },
                                                   {.name = "skerry_unbounded_channel_bytes",
                                                    .help = "Bytes of the items in the shard's unbounded channels.",
                                                    .unit = observe::unit::bytes})) {}

inline unbounded_channels& unbounded_channels::of_this_shard() {
  auto* found = resources().find<unbounded_channels>();
  return found != nullptr ? *found : resources().emplace<unbounded_channels>();
}

}  // namespace skerry
