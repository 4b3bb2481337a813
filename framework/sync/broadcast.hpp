// SPDX-License-Identifier: Apache-2.0
#pragma once

/// broadcast<T>: every item to every receiver; the sender never waits, and a receiver that is too slow is told how many
/// items it missed.
///
///     broadcast<int> news(16);
///     broadcast<int>::receiver mine(news);           // sees what is sent from here on
///     news.send(7);
///     news.close();
///     while (auto item = co_await mine.recv()) use(item->value, static_cast<int>(item->missed));
///
/// The last `capacity` items lie in one ring, each receiver has its own place in it.
///
///     sent:   0 1 2 | 3 4 5 6 7 |        capacity 5
///     a receiver that has read 0 gets 3, with missed = 2
///
/// Affinity:     the shard that made it.
/// Ownership:    items belong to the broadcast, receivers get copies. It must outlive its receivers (asserted).
/// Cancellation: at once; the receiver's place moves when an item is fetched, so nothing is lost.
/// Errors:       what copying T throws; the item is then still to be fetched.
/// Limits:       `capacity` items; the next one replaces the oldest.

#include <skerry/framework/sync/ring.hpp>
#include <skerry/framework/sync/wait_list.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace skerry {

template <class T>
class broadcast {
 public:
  struct item {
    T value;
    std::uint64_t missed;  ///< items that were replaced before this receiver could have them, just before this one
  };
  class recv_awaiter;

  /// One task at a time receives through it.
  class receiver {
   public:
    explicit receiver(broadcast& from) noexcept : from_(from), next_(from.sent_) { ++from.receivers_; }
    ~receiver() { --from_.receivers_; }
    receiver(const receiver&) = delete;
    receiver& operator=(const receiver&) = delete;

    /// The next item; none once the broadcast is closed and all has been fetched.
    recv_awaiter recv() noexcept { return recv_awaiter(*this); }
    std::optional<item> try_recv();
    /// Items that can be fetched.
    std::size_t size() const noexcept { return std::min<std::uint64_t>(from_.sent_ - next_, from_.items_.size()); }

   private:
    friend class recv_awaiter;
    broadcast& from_;
    std::uint64_t next_;  // the number of the item to fetch, counted from the first that was sent
  };

  explicit broadcast(std::size_t capacity) : items_(capacity), capacity_(capacity) {
    SKERRY_ASSERT(capacity > 0, "a broadcast has room for an item");
  }
  ~broadcast() { SKERRY_ASSERT(receivers_ == 0, "a broadcast must outlive its receivers"); }

  /// Whether it was sent; false once the broadcast is closed.
  bool send(T value) noexcept;
  /// Receivers get what they have not fetched, then the end. Idempotent.
  void close() noexcept {
    closed_ = true;
    waiting_.wake_all();
  }
  bool is_closed() const noexcept { return closed_; }
  std::size_t receivers() const noexcept { return receivers_; }

 private:
  detail::ring<T> items_;
  detail::wait_list waiting_{"broadcast recv"};
  std::size_t capacity_;
  std::uint64_t sent_ = 0;
  std::size_t receivers_ = 0;
  bool closed_ = false;
};

template <class T>
class [[nodiscard("co_await it")]] broadcast<T>::recv_awaiter final : public detail::waiter {
 public:
  explicit recv_awaiter(receiver& to) noexcept : waiter(to.from_.waiting_, 1), to_(to) {}
  bool await_ready() const noexcept { return to_.size() > 0 || to_.from_.closed_; }
  std::optional<item> await_resume() {
    std::optional<item> result = to_.try_recv();
    SKERRY_ASSERT(result || to_.from_.closed_, "one task at a time receives through a broadcast's receiver");
    return result;
  }

 private:
  receiver& to_;
};

template <class T>
bool broadcast<T>::send(T value) noexcept {
  waiting_.check_home();
  if (closed_) return false;
  if (items_.size() == capacity_) items_.drop();
  items_.push(std::move(value));
  ++sent_;
  waiting_.wake_all();
  return true;
}

template <class T>
auto broadcast<T>::receiver::try_recv() -> std::optional<item> {
  from_.waiting_.check_home();
  if (size() == 0) return std::nullopt;
  const std::uint64_t oldest = from_.sent_ - from_.items_.size();
  const std::uint64_t found = std::max(next_, oldest);
  std::optional<item> result(std::in_place, from_.items_[found - oldest], found - next_);
  next_ = found + 1;
  return result;
}

}  // namespace skerry
