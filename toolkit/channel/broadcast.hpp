// SPDX-License-Identifier: Apache-2.0
#pragma once

/// broadcast<T>: every item to every receiver; the sender never waits, and a receiver that is too slow is told how many
/// items it missed. watch<T>: the latest value only, for tasks that want to know when it changes (a configuration).
///
///     broadcast<int> news(16);
///     broadcast<int>::receiver mine(news);           // sees what is sent from here on
///     news.send(7);
///     news.close();
///     while (auto item = co_await mine.recv()) use(item->value, static_cast<int>(item->missed));
///
///     watch<int> level(1);
///     watch<int>::receiver now(level);
///     level.set(2);
///     level.close();
///     for (bool news = co_await now.changed(); news; news = co_await now.changed()) use(now.get(), 0);
///
/// A broadcast's last `capacity` items lie in one ring, in which each receiver has a place: when 0 to 7 were sent and
/// the capacity is 5, a receiver that has read 0 gets 3, with missed = 2.
///
/// Affinity:     the shard that made it; one task at a time waits at a receiver.
/// Ownership:    items belong to the broadcast or watch, which must outlive its receivers (asserted). A broadcast's
///               receivers get copies, a watch's a reference that is valid until the next `set`.
/// Cancellation: at once; a receiver's place moves when it resumes, so nothing is lost.
/// Errors:       what copying T throws; the item is then still to be fetched.
/// Limits:       `capacity` items of a broadcast, the next one replaces the oldest; one value of a watch.

#include <skerry/framework/sync/wait_list.hpp>
#include <skerry/toolkit/channel/ring.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace skerry {

namespace detail {

/// What is counted as it is published, until it is closed, with readers that know how much of it they have seen.
class publication {
 public:
  /// Receivers get what they have not seen, then the end. Idempotent.
  void close() noexcept {
    waiting_.wake_all();
    closed_ = true;
  }

 protected:
  explicit publication(const char* what) noexcept : waiting_(what) {}
  ~publication() { SKERRY_ASSERT(readers_ == 0, "a broadcast or watch must outlive its receivers"); }
  void published() noexcept {
    ++count_;
    waiting_.wake_all();
  }

  template <class Owner>
  class reader {
   public:
    reader(const reader&) = delete;
    reader& operator=(const reader&) = delete;

   protected:
    explicit reader(Owner& of) noexcept : of_(of), seen_(of.count_) {
      of.waiting_.check_home();
      ++of.readers_;
    }
    ~reader() {
      of_.waiting_.check_home();
      --of_.readers_;
    }
    Owner& of_;
    std::uint64_t seen_;  // of what was ever published
  };

  wait_list waiting_;
  std::uint64_t count_ = 0;
  std::size_t readers_ = 0;
  bool closed_ = false;
};

}  // namespace detail

template <class T>
class broadcast : public detail::publication {
 public:
  struct item {
    T value;
    std::uint64_t missed;  ///< items that were replaced before this receiver could have them, just before this one
  };

  class receiver : reader<broadcast> {
   public:
    explicit receiver(broadcast& from) noexcept : reader<broadcast>(from) {}

    /// The next item; none once the broadcast is closed and all has been fetched.
    auto recv() noexcept {
      return detail::wait_awaiter(
          this->of_.waiting_, *this, [](receiver& r) { return r.size() > 0 || r.of_.closed_; },
          [](receiver& r, detail::waiter&) {
            std::optional<item> result = r.try_recv();
            SKERRY_ASSERT(result || r.of_.closed_, "one task at a time receives through a broadcast's receiver");
            return result;
          });
    }
    std::optional<item> try_recv() {
      if (size() == 0) return std::nullopt;
      broadcast& from = this->of_;
      const std::uint64_t oldest = from.count_ - from.items_.size();
      const std::uint64_t found = std::max(this->seen_, oldest);
      std::optional<item> result(std::in_place, from.items_[found - oldest], found - this->seen_);
      this->seen_ = found + 1;
      return result;
    }
    /// Items that can be fetched.
    std::size_t size() const noexcept {
      this->of_.waiting_.check_home();
      return std::min<std::uint64_t>(this->of_.count_ - this->seen_, this->of_.items_.size());
    }
  };

  explicit broadcast(std::size_t capacity) : publication("broadcast recv"), items_(capacity), capacity_(capacity) {
    SKERRY_ASSERT(capacity > 0, "a broadcast has room for an item");
  }

  /// Whether it was sent; false once the broadcast is closed.
  bool send(T value) noexcept {
    waiting_.check_home();
    if (closed_) return false;
    if (items_.size() == capacity_) items_.drop();
    items_.push(std::move(value));
    published();
    return true;
  }

 private:
  detail::ring<T> items_;
  std::size_t capacity_;
};

template <class T>
class watch : public detail::publication {
 public:
  class receiver : reader<watch> {
   public:
    /// What the watch has now counts as seen.
    explicit receiver(watch& of) noexcept : reader<watch>(of) {}

    /// Waits for a value that is not seen yet, and counts it as seen. False once the watch is closed and its last value
    /// seen.
    auto changed() noexcept {
      return detail::wait_awaiter(
          this->of_.waiting_, *this, [](receiver& r) { return r.has_changed() || r.of_.closed_; },
          [](receiver& r, detail::waiter&) {
            const bool news = std::exchange(r.seen_, r.of_.count_) != r.of_.count_;
            return news || !r.of_.closed_;
          });
    }
    /// The `try_` form of `changed`.
    bool has_changed() const noexcept {
      this->of_.waiting_.check_home();
      return this->seen_ != this->of_.count_;
    }
    /// The latest value. Counts as seen.
    const T& get() noexcept {
      const T& latest = this->of_.get();
      this->seen_ = this->of_.count_;
      return latest;
    }
  };

  explicit watch(T value) : publication("watch"), value_(std::move(value)) {}

  /// Asserts that it is not closed.
  void set(T value) {
    waiting_.check_home();
    SKERRY_ASSERT(!closed_, "a watch that is closed changes no more");
    value_ = std::move(value);
    published();
  }
  const T& get() const noexcept {
    waiting_.check_home();
    return value_;
  }

 private:
  T value_;
};

}  // namespace skerry
