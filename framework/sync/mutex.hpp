// SPDX-License-Identifier: Apache-2.0
#pragma once

/// mutex, shared_mutex, condition, once: for state that must stay consistent across a suspension. Between suspensions a
/// task is alone on its shard and needs none of this.
///
///     mutex m;
///     condition changed;
///     units held = co_await m.lock();                  // unlocked when `held` goes
///     while (slots.empty()) co_await changed.wait(held);
///
/// Each is a wait list in disguise. A mutex has one unit; a shared_mutex has one per possible reader and a writer takes
/// all, so that readers who come after a waiting writer queue behind it. `condition::wait` gives the lock back and a
/// notification moves the waiter into the mutex's list, so it wakes once, with the lock.
///
/// Affinity:     the shard that made it.
/// Ownership:    locks belong to their guard (`units`); mutex and condition outlive guards and waiters (asserted).
/// Invariants:   a notification reaches a task that acts on it: one that is cancelled after it was notified notifies
///               the next. Nobody else is woken without a notification.
/// Cancellation: at once; a lock that was reserved goes to the next. A task cancelled in `wait` holds no lock.
/// Limits:       `readers_max` readers of a shared_mutex; the next one waits.

#include <skerry/framework/sync/semaphore.hpp>
#include <skerry/framework/task/task.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace skerry {

class mutex {
 public:
  mutex() noexcept = default;
  ~mutex() { SKERRY_ASSERT(!is_locked(), "a mutex must be unlocked before it goes away"); }

  units::awaiter lock() noexcept { return {lock_, 1}; }
  std::optional<units> try_lock() noexcept { return units::try_take(lock_, 1); }
  bool is_locked() const noexcept { return lock_.free() == 0; }

 private:
  detail::wait_list lock_{"mutex", 1};
};

/// One writer or many readers.
class shared_mutex {
 public:
  static constexpr std::uint64_t readers_max = std::uint64_t{1} << 32;

  shared_mutex() noexcept = default;
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
  condition() noexcept = default;
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
    for (std::size_t count = waiting_.waiting_count(); count > 0; --count) notify_one();
  }

 private:
  detail::wait_list waiting_{"condition"};
  std::size_t notified_ = 0;  // tasks on their way from a notification to the lock
};

/// Something that is done by whoever needs it first; the others wait for it.
class once {
 public:
  /// Returns when `fn()`, which gives a task, has succeeded once. If it throws or its caller is cancelled, the next
  /// caller runs its own.
  template <class Fn>
  task<> call(Fn fn) {
    if (done_) co_return;
    units running = co_await running_.lock();
    if (done_) co_return;
    co_await fn();
    done_ = true;
  }
  bool is_done() const noexcept { return done_; }

 private:
  mutex running_;
  bool done_ = false;
};

}  // namespace skerry
