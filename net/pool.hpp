// SPDX-License-Identifier: Apache-2.0
#pragma once

/// pool: what is costly to make and serves one user at a time: connections to one server, above all.
///
///     net::pool<net::stream> links([] { return net::connect(*net::address::parse("192.0.2.1:6379")); });
///     net::pooled<net::stream> link = co_await links.acquire();
///     co_await link->write("PING\r\n");               // goes back to the pool with `link`
///     link.discard();                                 // or ends: what failed is not for the next one
///
///     wait for a place --> idle one, in order? --yes--> in use --guard goes--> idle --idle_timeout--> dropped
///                               |no, or none      ^        '----discard()----> dropped
///                               '----> make ------'
///
/// The one that was used last is given out first, so that a burst's surplus grows old and goes.
///
/// Affinity:     the shard that made it.
/// Ownership:    the pool owns what is idle, a guard what is in use. The pool outlives its guards and those who wait
///               (asserted).
/// Invariants:   in use + idle <= items_max: one is made only by who has a place and finds nobody idle.
/// Errors:       what `make` throws goes to who asked, and his place to the next. `check` throws: as if it said no.
/// Cancellation: at once, wherever `make` and `check` can be; an item that was being checked is dropped.
/// Limits:       pool_options; who finds no place waits in turn, for ever unless he says with_timeout.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <utility>

namespace skerry::net {

/// Has a constructor, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct pool_options {
  pool_options() noexcept {}

  std::size_t items_max = 16;                                       ///< in use and idle; at least 1
  std::size_t idle_max = 16;                                        ///< beyond it what comes back is dropped
  std::chrono::nanoseconds idle_timeout = std::chrono::minutes(1);  ///< unused so long, it is dropped
};

struct pool_stats {
  std::size_t in_use = 0;  ///< being made or checked included
  std::size_t idle = 0;
  std::uint64_t made = 0;  ///< since the start, as the rest
  std::uint64_t reused = 0;
  std::uint64_t refused = 0;    ///< by `check`
  std::uint64_t timed_out = 0;  ///< idle too long
};

template <class T>
class pooled;

template <class T>
class pool final : timers::timer {
 public:
  /// Makes one.
  using maker = std::function<task<T>()>;
  /// Whether one that was idle is still in order.
  using checker = std::function<task<bool>(T&)>;

  explicit pool(maker make, checker check = {}, pool_options options = pool_options())
      : options_(options), make_(std::move(make)), check_(std::move(check)), places_(options.items_max) {
    SKERRY_ASSERT(options.items_max > 0, "a pool has room for an item");
  }
  ~pool() {
    check_home();
    timers::this_timers().cancel(*this);
  }
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;

  /// An item for the caller alone: an idle one that is in order, or a new one.
  task<pooled<T>> acquire() {
    check_home();
    units place = co_await places_.acquire();
    while (!idle_.empty()) {
      T item = std::move(idle_.back().item);
      idle_.pop_back();
      const bool good = co_await in_order(item);
      if (good) {
        ++counted_.reused;
        co_return pooled<T>(*this, std::move(place), std::move(item));
      }
      ++counted_.refused;
    }
    T made = co_await make_();
    ++counted_.made;
    co_return pooled<T>(*this, std::move(place), std::move(made));
  }

  /// Drops what is idle.
  void clear() noexcept {
    check_home();
    idle_.clear();
  }

  pool_stats stats() const noexcept {
    pool_stats now = counted_;
    now.in_use = options_.items_max - places_.available();
    now.idle = idle_.size();
    return now;
  }

 private:
  friend class pooled<T>;
  struct idle_item {
    T item;
    clock::time_point until;
  };

  task<bool> in_order(T& item) {
    if (!check_) co_return true;
    try {
      co_return co_await check_(item);
    } catch (const std::exception&) {
      co_return false;
    }
  }

  void check_home() const noexcept { home_.check("a pool"); }

  void give_back(T&& item) {
    check_home();
    if (idle_.size() >= options_.idle_max) return;
    const clock::time_point until = timers::saturating_add(clock::now(), options_.idle_timeout);
    idle_.push_back({std::move(item), until});
    if (!armed()) timers::this_timers().arm(*this, until);
  }

  void expired() noexcept override {
    for (; !idle_.empty() && idle_.front().until <= clock::now(); ++counted_.timed_out) idle_.pop_front();
    if (!idle_.empty()) timers::this_timers().arm(*this, idle_.front().until);
  }

  const pool_options options_;
  const maker make_;
  const checker check_;
  semaphore places_;
  std::deque<idle_item> idle_;  // the longest first
  pool_stats counted_;
  [[no_unique_address]] home_stamp home_;
};

/// An item in use. Movable; gives it back when it goes.
template <class T>
class [[nodiscard("what is not kept goes back at once")]] pooled {
 public:
  pooled(pooled&& other) noexcept
      : from_(std::exchange(other.from_, nullptr)), place_(std::move(other.place_)), item_(std::move(other.item_)) {}
  pooled& operator=(pooled other) noexcept {
    std::swap(from_, other.from_);
    std::swap(place_, other.place_);
    std::swap(item_, other.item_);
    return *this;
  }
  ~pooled() {
    // The item before its place: whoever waits for that finds it.
    if (from_ != nullptr) from_->give_back(std::move(item_));
  }

  T& operator*() noexcept { return item_; }
  T* operator->() noexcept { return &item_; }

  /// It is not in order: it goes when this guard does, and not back. Its place is free at once.
  void discard() noexcept {
    from_ = nullptr;
    place_ = units();
  }

 private:
  friend class pool<T>;
  pooled(pool<T>& from, units place, T item) noexcept
      : from_(&from), place_(std::move(place)), item_(std::move(item)) {}

  pool<T>* from_;
  units place_;
  T item_;
};

}  // namespace skerry::net
