// SPDX-License-Identifier: Apache-2.0
#pragma once

/// mpsc_channel, spsc_channel: items from tasks on other shards to a task on this one.
///
///     mpsc_channel<int> numbers(1024);                     // on the shard that receives
///     auto produce = [](channel_sender<int> to) -> task<> {
///       for (int i = 0; i < 100; ++i) co_await to.send(i);
///     };
///     co_await submit_to(1, produce, numbers.sender());    // a sender crosses, and belongs to where it arrived
///     while (auto n = co_await numbers.recv()) use(*n, 1);  // until the last sender has gone
///
/// Every sender has a ring of `capacity` items of its own and four messages that carry ranges of it:
///
///     sender's shard                                      receiver's shard
///     send: item -> ring; the message that is in the      items are moved out of the ring, one by one,
///     outbox covers it too, else the next idle one  --->  when a range is empty its message goes back
///     places are free again  <---------------------------------------'
///
/// So a message carries what was sent until it was flushed: one item, or a quarter of the ring at full load. Rejected:
/// a message per item (three times the item's cost), and a ring that both shards poll (every look at an empty one is a
/// cache miss, and nobody can sleep).
///
/// The end:   senders close or go --> what they sent is received --> recv() gives std::nullopt
///            the receiver closes or goes --> what is on the way is destroyed --> send() gives false
///
/// Affinity:     the channel on the shard that made it; a sender on any one shard, from its first use on.
/// Order:        first in, first out per sender.
/// Ownership:    items on the way belong to the channel. A sender and its channel may go in any order.
/// Cancellation: at once. A cancelled send has sent nothing; a cancelled receive leaves the item.
/// Limits:       `capacity` items per sender; past it `send` waits and `try_send` declines.
/// Errors:       a sender is made with its storage, so only `sender()` may throw (std::bad_alloc).

#include <skerry/framework/sync/wait_list.hpp>
#include <skerry/shards/mailbox.hpp>
#include <skerry/shards/transferable.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace skerry {

namespace detail {

template <class T>
class channel_feed;

/// A range of a feed's items, on its way to the receiver, there, or on its way back.
template <class T>
struct alignas(64) channel_carrier final : message {
  channel_carrier(shard_id receiver, channel_feed<T>& its) noexcept : message(receiver), feed(its) {}
  void run_here() noexcept override { feed.inbox().arrived(*this); }
  void cancel_here() noexcept override {}
  void come_home() noexcept override { feed.came_home(*this); }

  channel_feed<T>& feed;
  shard_id sender = 0;
  channel_carrier* next = nullptr;  // among those that have arrived
  std::size_t begin = 0;            // items are numbered from the feed's first on
  std::size_t count = 0;
  std::size_t taken = 0;  // by the receiver
  bool last = false;      // its feed sends nothing after it
  bool refused = false;   // the receiver has closed
};

/// The receiver's end: ranges that have arrived. Lives until the channel and all feeds have gone.
template <class T>
class channel_inbox {
 public:
  using carrier = channel_carrier<T>;

  void add_sender() noexcept { ++senders_, any_ = true; }
  void arrived(carrier& c) noexcept {
    if (closed_) return discard(c);
    if (c.count == 0) return finish(c);
    c.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &c;
    last_ = &c;
    items_.give(c.count);
  }
  /// The item that the caller has taken of `items()`; none if this was closed since.
  std::optional<T> pop() noexcept {
    if (closed_) return std::nullopt;
    carrier& c = *first_;
    T& place = c.feed.at(c.begin + c.taken);
    std::optional<T> item(std::move(place));
    std::destroy_at(&place);
    if (++c.taken == c.count) {
      first_ = c.next;
      const shard_id sender = c.sender;
      finish(c);
      if (sender != this_shard_id()) this_mailboxes().hurry(sender);  // who may be waiting for places
    }
    return item;
  }
  void close() noexcept {
    if (std::exchange(closed_, true)) return;
    items_.wake_all();
    for (carrier* c = std::exchange(first_, nullptr); c != nullptr;) discard(*std::exchange(c, c->next));
  }
  /// The channel is gone.
  void drop() noexcept {
    close();
    held_ = false;
    if (senders_ == 0) delete this;
  }

  wait_list& items() noexcept { return items_; }
  bool ended() const noexcept { return closed_ || (first_ == nullptr && senders_ == 0 && any_); }

 private:
  /// Nothing of it is left here.
  void finish(carrier& c) noexcept {
    if (c.last) --senders_;
    this_mailboxes().reply(c);
    if (!held_ && senders_ == 0) {
      delete this;
    } else if (ended()) {
      items_.wake_all();
    }
  }
  void discard(carrier& c) noexcept {
    c.feed.destroy_items(c.begin + c.taken, c.begin + c.count);
    c.refused = true;
    finish(c);
  }

  wait_list items_{"channel recv"};  // a unit per item
  carrier* first_ = nullptr;
  carrier* last_ = nullptr;
  std::size_t senders_ = 0;  // that may still send
  bool any_ = false;
  bool closed_ = false;
  bool held_ = true;
};

/// A sender's end: made by the receiver, bound to the shard of its first use, gone when the sender is and all carriers
/// are back. What the receiver reads comes first, on a cache line that nobody writes.
template <class T>
class channel_feed {
 public:
  using carrier = channel_carrier<T>;

  channel_feed(channel_inbox<T>& to, shard_id receiver, std::size_t capacity)
      : inbox_(to),
        receiver_(receiver),
        slots_(new slot[std::bit_ceil(capacity)]),
        slot_mask_(std::bit_ceil(capacity) - 1),
        capacity_(capacity),
        per_carrier_((capacity + 3) / 4),
        carriers_{{receiver, *this}, {receiver, *this}, {receiver, *this}, {receiver, *this}} {
    inbox_.add_sender();
  }

  /// Where senders wait for places; binds the feed to this shard.
  wait_list& room() noexcept {
    if (!room_) [[unlikely]]
      room_.emplace("channel send", capacity_);
    return *room_;
  }
  bool open() const noexcept { return !closing_ && !refused_; }
  void put(T&& item) noexcept {
    std::construct_at(&at(put_++), std::move(item));
    if (filling_ != nullptr && !handed_over() && filling_->count + 1 < per_carrier_) [[likely]] {
      ++filling_->count;
    } else {
      announce();
    }
  }
  void close() noexcept {
    if (std::exchange(closing_, true)) return;
    room().wake_all();
    announce();
  }
  /// The sender is gone.
  void drop() noexcept {
    dropped_ = true;
    room();  // a sender that was never used is bound to where it goes
    closing_ ? end_if_done() : close();
  }

  /// The rest is for carriers and the inbox.
  channel_inbox<T>& inbox() const noexcept { return inbox_; }
  T& at(std::size_t number) const noexcept { return slots_[number & slot_mask_].item; }
  void destroy_items(std::size_t begin, std::size_t end) noexcept {
    for (; begin != end; ++begin) std::destroy_at(&at(begin));
  }
  void came_home(carrier& c) noexcept {
    if (filling_ == &c) covered_ = announced(), filling_ = nullptr;
    idle_ |= 1u << (&c - carriers_);
    if (c.refused && !std::exchange(refused_, true)) {
      destroy_items(announced(), put_);
      put_ = announced();
      room_->wake_all();
    } else if (!refused_) {
      room_->give(c.count);
    }
    if (!announcing_) announce();
  }

 private:
  union slot {
    slot() noexcept {}
    ~slot() {}
    T item;
  };
  static constexpr unsigned all_idle = 0b1111;

  /// Whether the carrier that is being filled may be with the receiver.
  bool handed_over() const noexcept { return *pushed_total_ != pushed_before_; }
  std::size_t announced() const noexcept { return filling_ != nullptr ? covered_ + filling_->count : covered_; }
  /// Covers what no carrier covers yet: by the one that is still in the outbox, then by idle ones. What is left waits
  /// for one to come home.
  void announce() noexcept {
    announcing_ = true;
    while (announced() != put_ || (closing_ && !last_sent_)) {
      const bool fresh = filling_ == nullptr || handed_over() || filling_->count == per_carrier_;
      if (fresh) {
        if (idle_ == 0) break;
        covered_ = announced();
        filling_ = &carriers_[std::countr_zero(idle_)];
        idle_ &= idle_ - 1;
        filling_->sender = this_shard_id();
        filling_->begin = covered_;
        filling_->count = filling_->taken = 0;
        pushed_total_ = &this_mailboxes().pushed_total(receiver_);
        pushed_before_ = *pushed_total_;
      }
      carrier& c = *filling_;
      c.count += std::min(put_ - announced(), per_carrier_ - c.count);
      if (closing_ && announced() == put_) c.last = last_sent_ = true;
      // To this shard itself it is there before send() returns, and perhaps back.
      const bool here = receiver_ == this_shard_id();
      if (here) covered_ = announced(), filling_ = nullptr;
      if (fresh) this_mailboxes().send(c);
      if (!here && c.count == per_carrier_) this_mailboxes().hurry(receiver_);  // the receiver starts on it
    }
    announcing_ = false;
    end_if_done();
  }
  void end_if_done() noexcept {
    if (dropped_ && last_sent_ && idle_ == all_idle && !announcing_) delete this;
  }

  channel_inbox<T>& inbox_;
  const shard_id receiver_;
  const std::unique_ptr<slot[]> slots_;
  const std::size_t slot_mask_;
  const std::size_t capacity_;
  const std::size_t per_carrier_;
  carrier carriers_[4];                          // on lines of their own, and what follows is the sender's
  std::optional<wait_list> room_;                // a unit per place
  unsigned idle_ = all_idle;                     // a bit per carrier
  carrier* filling_ = nullptr;                   // the last one that was sent, while it is away
  const std::uint64_t* pushed_total_ = nullptr;  // the outbox's, for the carrier that is being filled
  std::uint64_t pushed_before_ = 0;
  std::size_t put_ = 0;      // items ever sent
  std::size_t covered_ = 0;  // those before `filling_`'s that a carrier covers or has covered
  bool closing_ = false;
  bool last_sent_ = false;
  bool refused_ = false;
  bool dropped_ = false;
  bool announcing_ = false;
};

/// Of a handle to an end that lives as long as both sides need it.
struct drop_end {
  void operator()(auto* end) const noexcept { end->drop(); }
};

}  // namespace detail

/// Where one task, or several of one shard, send. Made by `mpsc_channel::sender`.
template <class T>
class channel_sender {
 public:
  using crosses_shards = channel_sender;

  class [[nodiscard("co_await it")]] send_awaiter final : public detail::waiter {
   public:
    send_awaiter(detail::channel_feed<T>& feed, T&& item) noexcept
        : waiter(feed.room(), 1), feed_(feed), item_(std::move(item)) {}
    bool await_ready() const noexcept { return !feed_.open() || list().try_take(); }
    bool await_resume() noexcept {
      if (waiting() != nullptr && !reserved()) return false;
      if (!feed_.open()) return false;  // a reserved place is given back by the destructor
      accept();
      feed_.put(std::move(item_));
      return true;
    }

   private:
    detail::channel_feed<T>& feed_;
    T item_;
  };

  /// Whether it was sent; false once this sender or the channel is closed. Waits for a place.
  send_awaiter send(T item) noexcept { return send_awaiter(feed(), std::move(item)); }
  /// Declines when there is no place, or all are promised to others, or it is closed; `item` is then as it was.
  bool try_send(T&& item) noexcept {
    if (!feed().open() || !feed_->room().try_take()) return false;
    feed_->put(std::move(item));
    return true;
  }
  bool try_send(const T& item) { return try_send(T(item)); }
  /// Nothing more comes from here. Those who wait to send get false. Idempotent.
  void close() noexcept { feed().close(); }

 private:
  template <class U>
  friend class mpsc_channel;
  explicit channel_sender(detail::channel_feed<T>* feed) noexcept : feed_(feed) {}
  detail::channel_feed<T>& feed() const noexcept {
    SKERRY_ASSERT(feed_ != nullptr, "a sender that was moved from sends nothing");
    return *feed_;
  }

  std::unique_ptr<detail::channel_feed<T>, detail::drop_end> feed_;
};

/// The receiving end, for any number of senders.
template <class T>
class mpsc_channel {
  static_assert(std::is_nothrow_move_constructible_v<T>, "an item is moved between shards, where nothing may fail");

 public:
  /// `capacity` items for each sender.
  explicit mpsc_channel(std::size_t capacity)
      : inbox_(new detail::channel_inbox<T>), home_(this_shard_id()), capacity_(capacity) {
    detail::require_crossing<T>();
    SKERRY_ASSERT(capacity > 0, "a channel has room for an item");
  }
  mpsc_channel(const mpsc_channel&) = delete;
  mpsc_channel& operator=(const mpsc_channel&) = delete;

  /// A new sender, to be given to the shard that sends.
  channel_sender<T> sender() { return channel_sender<T>(new detail::channel_feed<T>(*inbox_, home_, capacity_)); }

  class [[nodiscard("co_await it")]] recv_awaiter final : public detail::waiter {
   public:
    explicit recv_awaiter(detail::channel_inbox<T>& from) noexcept : waiter(from.items(), 1), inbox_(from) {}
    bool await_ready() noexcept { return list().try_take() || inbox_.ended(); }
    std::optional<T> await_resume() noexcept {
      if (waiting() != nullptr ? !reserved() : inbox_.ended()) return std::nullopt;
      accept();
      return inbox_.pop();
    }

   private:
    detail::channel_inbox<T>& inbox_;
  };

  /// The next item; none once all senders have closed and everything was received, or this channel is closed. Before
  /// the first sender is made, it waits.
  recv_awaiter recv() noexcept { return recv_awaiter(*inbox_); }
  /// Declines when nothing is there.
  std::optional<T> try_recv() noexcept {
    if (!inbox_->items().try_take()) return std::nullopt;
    return inbox_->pop();
  }
  /// Nothing more is received: what has arrived is destroyed, and senders are told. Idempotent.
  void close() noexcept { inbox_->close(); }

 private:
  std::unique_ptr<detail::channel_inbox<T>, detail::drop_end> inbox_;
  shard_id home_;
  std::size_t capacity_;
};

/// The same for one sender: a second one is a bug.
template <class T>
class spsc_channel : public mpsc_channel<T> {
 public:
  using mpsc_channel<T>::mpsc_channel;
  channel_sender<T> sender() {
    SKERRY_ASSERT(!std::exchange(made_, true), "an spsc_channel has one sender; mpsc_channel has any number");
    return mpsc_channel<T>::sender();
  }

 private:
  bool made_ = false;
};

}  // namespace skerry
