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
/// So a message carries whatever was sent until it was flushed: one item when little happens, a quarter of the ring at
/// full load, and neither side allocates or copies an item twice. Rejected: a message per item (it costs three times as
/// much as the item), and a ring that both shards poll (every look at an empty one is a cache miss, and nobody can
/// sleep).
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

#include <bit>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace skerry {

namespace detail {

class channel_feed;
class channel_inbox;

/// A range of a feed's items, on its way to the receiver, there, or on its way back.
class alignas(64) channel_carrier final : public message {
 public:
  channel_carrier(shard_id receiver, channel_feed& feed) noexcept : message(receiver), feed_(feed) {}
  void run_here() noexcept override;
  void cancel_here() noexcept override {}
  void come_home() noexcept override;

 private:
  friend class channel_feed;
  friend class channel_inbox;
  channel_feed& feed_;
  channel_carrier* next_ = nullptr;  // among the idle ones of its feed, or the arrived ones of the inbox
  std::size_t begin_ = 0;            // items are numbered from the feed's first on
  std::size_t count_ = 0;
  std::size_t taken_ = 0;  // by the receiver
  bool last_ = false;      // its feed sends nothing after it
  bool refused_ = false;   // the receiver has closed
};

/// The receiver's end: ranges that have arrived. Lives until the channel and all feeds have gone.
class channel_inbox {
 public:
  /// What comes next: an item of this feed with this number.
  struct place {
    channel_feed& feed;
    std::size_t number;
  };

  void add_sender() noexcept { ++senders_, any_ = true; }
  void arrived(channel_carrier& c) noexcept;
  place front() const noexcept { return {first_->feed_, first_->begin_ + first_->taken_}; }
  /// The front has been moved out and destroyed.
  void drop_front() noexcept;
  void close() noexcept;
  /// The channel is gone.
  void drop() noexcept;

  wait_list& items() noexcept { return items_; }
  bool closed() const noexcept { return closed_; }
  bool ended() const noexcept { return closed_ || (first_ == nullptr && senders_ == 0 && any_); }

 private:
  void finish(channel_carrier& c) noexcept;
  void discard(channel_carrier& c) noexcept;

  wait_list items_{"channel recv"};  // a unit per item
  channel_carrier* first_ = nullptr;
  channel_carrier* last_ = nullptr;
  std::size_t senders_ = 0;  // that may still send
  bool any_ = false;
  bool closed_ = false;
  bool held_ = true;
};

/// A sender's end: made by the receiver, bound to the shard of its first use, gone when the sender is and all carriers
/// are back. What the receiver reads comes first, on a cache line that nobody writes.
class channel_feed {
 public:
  static constexpr std::size_t carriers = 4;

  channel_feed(channel_inbox& to, shard_id receiver, std::size_t capacity, void* slots) noexcept;
  channel_feed(const channel_feed&) = delete;
  channel_feed& operator=(const channel_feed&) = delete;

  /// Where senders wait for places; binds the feed to this shard.
  wait_list& room() noexcept {
    if (!room_) [[unlikely]]
      room_.emplace("channel send", capacity_);
    return *room_;
  }
  bool open() const noexcept { return !closing_ && !refused_; }
  std::size_t next_number() const noexcept { return put_; }
  /// The item with the next number is in its slot.
  void added() noexcept {
    ++put_;
    if (filling_ != nullptr && !filling_->with_target() && filling_->count_ + 1 < per_carrier_) [[likely]] {
      ++filling_->count_;
    } else {
      announce();
    }
  }
  void close() noexcept;
  /// The sender is gone.
  void drop() noexcept;

 protected:
  virtual ~channel_feed() = default;
  virtual void destroy_items(std::size_t begin, std::size_t end) noexcept = 0;
  std::size_t slot_of(std::size_t number) const noexcept { return number & slot_mask_; }
  void* slots() const noexcept { return slots_; }

 private:
  friend class channel_carrier;
  friend class channel_inbox;
  std::size_t announced() const noexcept { return filling_ != nullptr ? covered_ + filling_->count_ : covered_; }
  void announce() noexcept;
  void came_home(channel_carrier& c) noexcept;
  void end_if_done() noexcept;

  channel_inbox& inbox_;
  void* const slots_;
  const std::size_t slot_mask_;
  const std::size_t capacity_;
  const std::size_t per_carrier_;
  channel_carrier carriers_[carriers];  // on lines of their own, and what follows is the sender's
  std::optional<wait_list> room_;       // a unit per place
  channel_carrier* idle_ = nullptr;
  channel_carrier* filling_ = nullptr;  // the last one that was sent, while it is away
  std::size_t idle_count_ = 0;
  std::size_t put_ = 0;      // items ever sent
  std::size_t covered_ = 0;  // those before `filling_`'s that a carrier covers or has covered
  bool closing_ = false;
  bool last_sent_ = false;
  bool refused_ = false;
  bool dropped_ = false;
  bool announcing_ = false;
};

template <class T>
class feed_of final : public channel_feed {
 public:
  feed_of(channel_inbox& to, shard_id receiver, std::size_t capacity)
      : channel_feed(to, receiver, capacity, new slot[std::bit_ceil(capacity)]) {}

  void put(T&& item) noexcept {
    ::new (slot_at(next_number())) T(std::move(item));
    added();
  }
  T take(std::size_t number) noexcept {
    T& place = at(number);
    T item = std::move(place);
    std::destroy_at(&place);
    return item;
  }

 private:
  struct alignas(T) slot {
    std::byte bytes[sizeof(T)];
  };
  ~feed_of() { delete[] static_cast<slot*>(slots()); }
  void* slot_at(std::size_t number) const noexcept { return static_cast<slot*>(slots()) + slot_of(number); }
  T& at(std::size_t number) const noexcept { return *std::launder(static_cast<T*>(slot_at(number))); }
  void destroy_items(std::size_t begin, std::size_t end) noexcept override {
    for (; begin != end; ++begin) std::destroy_at(&at(begin));
  }
};

}  // namespace detail

/// Where one task, or several of one shard, send. Made by `mpsc_channel::sender`.
template <class T>
class channel_sender {
 public:
  using crosses_shards = channel_sender;

  channel_sender(channel_sender&& other) noexcept : feed_(std::exchange(other.feed_, nullptr)) {}
  channel_sender& operator=(channel_sender&& other) noexcept {
    channel_sender old(std::move(*this));
    feed_ = std::exchange(other.feed_, nullptr);
    return *this;
  }
  ~channel_sender() {
    if (feed_ != nullptr) feed_->drop();
  }

  class [[nodiscard("co_await it")]] send_awaiter final : public detail::waiter {
   public:
    send_awaiter(detail::feed_of<T>& feed, T&& item) noexcept
        : waiter(feed.room(), 1), feed_(feed), item_(std::move(item)) {}
    bool await_ready() const noexcept { return !feed_.open() || list().try_take(); }
    bool await_resume() noexcept {
      if (has_suspended() && !reserved()) return false;
      if (!feed_.open()) return false;  // a reserved place is given back by the destructor
      accept();
      feed_.put(std::move(item_));
      return true;
    }

   private:
    detail::feed_of<T>& feed_;
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
  explicit channel_sender(detail::feed_of<T>* feed) noexcept : feed_(feed) {}
  detail::feed_of<T>& feed() const noexcept {
    SKERRY_ASSERT(feed_ != nullptr, "a sender that was moved from sends nothing");
    return *feed_;
  }

  detail::feed_of<T>* feed_;
};

/// The receiving end, for any number of senders.
template <class T>
class mpsc_channel {
  static_assert(std::is_nothrow_move_constructible_v<T>, "an item is moved between shards, where nothing may fail");

 public:
  /// `capacity` items for each sender.
  explicit mpsc_channel(std::size_t capacity)
      : inbox_(new detail::channel_inbox), home_(this_shard_id()), capacity_(capacity) {
    detail::require_crossing<T>();
    SKERRY_ASSERT(capacity > 0, "a channel has room for an item");
  }
  mpsc_channel(const mpsc_channel&) = delete;
  mpsc_channel& operator=(const mpsc_channel&) = delete;
  ~mpsc_channel() { inbox_->drop(); }

  /// A new sender, to be given to the shard that sends.
  channel_sender<T> sender() {
    auto* feed = new detail::feed_of<T>(*inbox_, home_, capacity_);
    inbox_->add_sender();
    return channel_sender<T>(feed);
  }

  class [[nodiscard("co_await it")]] recv_awaiter final : public detail::waiter {
   public:
    explicit recv_awaiter(mpsc_channel& from) noexcept : waiter(from.inbox_->items(), 1), channel_(from) {}
    bool await_ready() noexcept { return taken_ = list().try_take(), taken_ || channel_.inbox_->ended(); }
    std::optional<T> await_resume() noexcept {
      if (!taken_ && !reserved()) return std::nullopt;
      accept();
      return channel_.pop();
    }

   private:
    mpsc_channel& channel_;
    bool taken_ = false;
  };

  /// The next item; none once all senders have closed and everything was received, or this channel is closed. Before
  /// the first sender is made, it waits.
  recv_awaiter recv() noexcept { return recv_awaiter(*this); }
  /// Declines when nothing is there.
  std::optional<T> try_recv() noexcept {
    if (!inbox_->items().try_take()) return std::nullopt;
    return pop();
  }
  /// Nothing more is received: what has arrived is destroyed, and senders are told. Idempotent.
  void close() noexcept { inbox_->close(); }

 private:
  std::optional<T> pop() noexcept {
    if (inbox_->closed()) return std::nullopt;
    const auto [feed, number] = inbox_->front();
    std::optional<T> item(static_cast<detail::feed_of<T>&>(feed).take(number));
    inbox_->drop_front();
    return item;
  }

  detail::channel_inbox* inbox_;
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
