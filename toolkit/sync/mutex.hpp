// SPDX-License-Identifier: Apache-2.0
#pragma once

/// semaphore, mutex, shared_mutex, condition, once: at most so many at a time, first come first served; for state that
/// must stay consistent across a suspension. Between suspensions a task is alone on its shard and needs none of this.
///
///     semaphore connections(100);
///     units place = co_await connections.acquire();    // given back when `place` goes
///     if (auto more = connections.try_acquire(5)) { /* six in all */ }
///
///     mutex m;
///     condition changed;
///     units held = co_await m.lock();                  // unlocked when `held` goes
///     while (slots.empty()) co_await changed.wait(held);
///
/// A mutex has one unit; a shared_mutex has one per possible reader and a writer takes all. Whoever wants many units is
/// not overtaken by those that want few. `condition::wait` gives the lock back and a notification moves the waiter into
/// the mutex's list, so it wakes once, with the lock.
///
/// A condition has no `try_` form: it keeps no notification for those who come later. What was notified about has one:
/// who holds the lock looks at it.
///
/// Affinity:     the shard that made it (asserted).
/// Ownership:    units and locks belong to their guard (`units`); what they are of outlives guards and waiters
///               (asserted).
/// Invariants:   a notification reaches a task that acts on it: one that is cancelled after it was notified notifies
///               the next. Nobody else is woken without a notification.
/// Cancellation: at once; what was reserved goes to the next. A task cancelled in `condition::wait` holds no lock.
/// Limits:       2^64 - 1 units; asking for more than there are waits until `add` makes them. `readers_max` readers.

#include <skerry/framework/sync/wait_list.hpp>
#include <skerry/framework/task/task.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace skerry {

/// Units that somebody holds: of a semaphore, or a lock. Movable.
class [[nodiscard("what is not kept is given back at once")]] units {
 public:
  units() noexcept = default;
  units(units&& other) noexcept : from_(std::exchange(other.from_, nullptr)), count_(other.count_) {}
  units& operator=(units other) noexcept {
    std::swap(from_, other.from_);
    std::swap(count_, other.count_);
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
    units_.give(count);
    total_ += count;
  }
  std::uint64_t available() const noexcept {
    units_.check_home();
    return units_.free();
  }

 private:
  detail::wait_list units_;
  std::uint64_t total_;
};

class mutex {
 public:
  ~mutex() { SKERRY_ASSERT(lock_.free() == 1, "a mutex must be unlocked before it goes away"); }

  units::awaiter lock() noexcept { return {lock_, 1}; }
  std::optional<units> try_lock() noexcept { return units::try_take(lock_, 1); }
  bool is_locked() const noexcept {
    lock_.check_home();
    return lock_.free() == 0;
  }

  void check_home() const noexcept { lock_.check_home(); }

 private:
  detail::wait_list lock_{"mutex", 1};
};

/// One writer or many readers.
class shared_mutex {
 public:
  static constexpr std::uint64_t readers_max = std::uint64_t{1} << 32;

  ~shared_mutex() {
    SKERRY_ASSERT(locks_.free() == readers_max, "a shared_mutex must be unlocked before it goes away");
  }

  units::awaiter lock() noexcept { return {locks_, readers_max}; }
  units::awaiter lock_shared() noexcept { return {locks_, 1}; }
  std::optional<units> try_lock() noexcept { return units::try_take(locks_, readers_max); }
  std::optional<units> try_lock_shared() noexcept { return units::try_take(locks_, 1); }

 private:
  detail::wait_list locks_{"shared_mutex", readers_max};
};

class condition {
 public:
  ~condition() { SKERRY_ASSERT(notified_ == 0, "a condition must outlive the tasks it has notified"); }

  class [[nodiscard("co_await it")]] awaiter final : public detail::waiter {
   public:
    awaiter(condition& owner, units& held) noexcept
        : waiter(owner.waiting_, held.count()), owner_(owner), held_(held), lock_(held.from_) {
      SKERRY_ASSERT(lock_ != nullptr, "a condition is waited for with the lock held");
    }
    ~awaiter() {
      if (!notified_) return;
      --owner_.notified_;
      owner_.notify_one();
    }
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      waiter::await_suspend(resume_point);
      held_.release();
    }
    void await_resume() noexcept {
      --owner_.notified_;
      notified_ = false;
      accept();
      held_ = units(*lock_, unit_count());
    }

   private:
    friend class condition;
    condition& owner_;
    units& held_;
    detail::wait_list* lock_;
    bool notified_ = false;
  };

  /// Gives `held` back, waits to be notified and takes it again. `held` must outlive the wait.
  awaiter wait(units& held) noexcept { return {*this, held}; }
  /// Wakes the one that waits longest, as soon as it can have the lock.
  void notify_one() noexcept {
    waiting_.check_home();
    if (waiting_.waiting_count() == 0) return;
    auto& next = static_cast<awaiter&>(waiting_.front());
    next.notified_ = true;
    ++notified_;
    waiting_.move_front_to(*next.lock_);
  }
  void notify_all() noexcept {
    waiting_.check_home();
    for (std::size_t count = waiting_.waiting_count(); count > 0; --count) notify_one();
  }

 private:
  detail::wait_list waiting_{"condition"};
  std::size_t notified_ = 0;  // tasks on their way from a notification to the lock
};

/// Something that is done by whoever needs it first; the others wait for it.
class once {
 public:
  /// Returns when `fn()`, a task, has succeeded once. If it fails or its caller is cancelled, the next runs its own.
  template <class Fn>
  task<> call(Fn fn) {
    if (is_done()) co_return;
    units running = co_await running_.lock();
    if (done_) co_return;
    co_await fn();
    done_ = true;
  }
  /// The `try_` form of `call`.
  bool is_done() const noexcept {
    running_.check_home();
    return done_;
  }

 private:
  mutex running_;
  bool done_ = false;
};

}  // namespace skerry
