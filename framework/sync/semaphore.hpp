// SPDX-License-Identifier: Apache-2.0
#pragma once

/// semaphore: at most so many at a time, first come first served.
///
///     semaphore connections(100);
///     units held = co_await connections.acquire();   // given back when `held` goes
///     if (auto more = connections.try_acquire(5)) { /* six in all */ }
///
/// A task that wants many units is not overtaken by those that want few: they queue behind it.
///
/// Affinity:     the shard that made it.
/// Ownership:    units belong to their guard, which cannot leak them; the semaphore must outlive guards and waiters
///               (asserted).
/// Cancellation: a waiter leaves at once; one that was served already passes its units on.
/// Limits:       2^64 - 1 units. Asking for more units than there are waits until `add` makes them.

#include <skerry/framework/sync/wait_list.hpp>

#include <cstdint>
#include <optional>
#include <utility>

namespace skerry {

/// Units that somebody holds: of a semaphore, or a lock. Movable.
class [[nodiscard("what is not kept is given back at once")]] units {
 public:
  units() noexcept = default;
  units(units&& other) noexcept : from_(std::exchange(other.from_, nullptr)), count_(other.count_) {}
  units& operator=(units&& other) noexcept {
    if (this != &other) {
      if (from_ != nullptr) release();
      from_ = std::exchange(other.from_, nullptr);
      count_ = other.count_;
    }
    return *this;
  }
  ~units() {
    if (from_ != nullptr) from_->give(count_);
  }

  /// Gives them back before the guard goes. Asserts that there are any.
  void release() noexcept {
    SKERRY_ASSERT(from_ != nullptr, "only what is held can be given back");
    std::exchange(from_, nullptr)->give(count_);
  }
  std::uint64_t count() const noexcept { return from_ != nullptr ? count_ : 0; }
  explicit operator bool() const noexcept { return from_ != nullptr; }

  /// Waits for units of `list`: what `acquire` and the locks give to `co_await`.
  class [[nodiscard("co_await it")]] awaiter final : public detail::waiter {
   public:
    awaiter(detail::wait_list& list, std::uint64_t count) noexcept : waiter(list, count) {}
    bool await_ready() const noexcept { return list().try_take(unit_count()); }
    units await_resume() noexcept {
      accept();
      return units(list(), unit_count());
    }
  };
  static std::optional<units> try_take(detail::wait_list& list, std::uint64_t count) noexcept {
    if (!list.try_take(count)) return std::nullopt;
    return units(list, count);
  }

 private:
  friend class condition;
  units(detail::wait_list& from, std::uint64_t count) noexcept : from_(&from), count_(count) {}

  detail::wait_list* from_ = nullptr;
  std::uint64_t count_ = 0;
};

class semaphore {
 public:
  explicit semaphore(std::uint64_t count) noexcept : units_("semaphore", count), total_(count) {}
  ~semaphore() { SKERRY_ASSERT(units_.free() == total_, "a semaphore must outlive the units it gave out"); }

  units::awaiter acquire(std::uint64_t count = 1) noexcept { return {units_, count}; }
  /// Declines when there are too few, and when somebody waits.
  std::optional<units> try_acquire(std::uint64_t count = 1) noexcept { return units::try_take(units_, count); }
  /// Makes new units.
  void add(std::uint64_t count) noexcept {
    total_ += count;
    units_.give(count);
  }

  std::uint64_t available() const noexcept { return units_.free(); }
  std::size_t waiting_count() const noexcept { return units_.waiting_count(); }

 private:
  detail::wait_list units_;
  std::uint64_t total_;
};

}  // namespace skerry
