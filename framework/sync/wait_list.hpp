// SPDX-License-Identifier: Apache-2.0
#pragma once

/// wait_list: units that tasks wait for, first come first served. The one mechanism under every local primitive: a
/// mutex has one unit, a semaphore many.
///
/// The rule it enforces: a wake-up transfers nothing. A unit that is given back is reserved for the first waiter, which
/// takes it when it resumes. Until then nobody overtakes it, and if its task ends instead, the waiter's destructor
/// gives the unit to the next one. (Given to whoever asks first, a task in a loop would starve all others.)
///
///     outside --await_suspend()--> waiting --give(): serve()--> reserved --await_resume(): accept()--> holds it
///        ^                          |   |                          |
///        +---------let_go()---------+   |                          +--~waiter(): give()--> the next waiter
///        +---------wake_all()-----------+      (nothing is reserved: the waiter sees for itself why it was woken)
///
/// Affinity:     the shard that made it (asserted at every use).
/// Ownership:    waiters live in the awaiters, so in coroutine frames. The list outlives those who wait (asserted) or
///               have a reservation; who was woken by `wake_all` touches it no more.
/// Invariants:   (1) while somebody waits, fewer units are free than the first one wants; (2) units are free, reserved
///               or held, and only `give` makes new ones.
/// Cancellation: a waiter leaves at once, and those it held up are served.
/// Limits:       none of its own: tasks are bounded by the frame pool.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/this_shard.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>

namespace skerry::detail {

class wait_list;

/// A task's place in a wait list; awaiters derive from it. `await_ready` tries to take the units, `await_resume` calls
/// `accept`, which makes the reservation the caller's.
class waiter : public leaf, public list_hook<waiter> {
 public:
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  void let_go() noexcept final;
  const char* describe() const noexcept final;

  wait_list& list() const noexcept { return *list_; }
  std::uint64_t unit_count() const noexcept { return units_; }
  void accept() noexcept { reserved_ = false; }
  bool reserved() const noexcept { return reserved_; }

 protected:
  explicit waiter(wait_list& list, std::uint64_t units = 1) noexcept : list_(&list), units_(units) {}
  waiter(unasked u, wait_list& list) noexcept : leaf(u), list_(&list), units_(1) {}
  ~waiter();

 private:
  friend class wait_list;
  wait_list* list_;
  std::uint64_t units_;
  bool reserved_ = false;
};

class wait_list {
 public:
  /// `what` is shown to people and lives for ever.
  explicit wait_list(const char* what, std::uint64_t units = 0) noexcept
      : free_(units), home_(current_shard), what_(what) {}
  ~wait_list() { SKERRY_ASSERT(waiting_.empty(), "what tasks wait for must outlive their wait"); }
  wait_list(const wait_list&) = delete;
  wait_list& operator=(const wait_list&) = delete;

  /// Takes units that nobody else has, has reserved or waits for.
  bool try_take(std::uint64_t units = 1) noexcept {
    check_home();
    if (free_ < units || !waiting_.empty()) return false;
    free_ -= units;
    return true;
  }
  /// Gives units back, or makes new ones.
  void give(std::uint64_t units = 1) noexcept {
    check_home();
    free_ += units;
    if (!waiting_.empty()) serve();
  }
  /// Wakes those who wait, without a reservation.
  void wake_all() noexcept;
  /// Asserts that somebody waits.
  waiter& front() const noexcept { return waiting_.front(); }
  /// The first waiter waits there from now on.
  void move_front_to(wait_list& there) noexcept;

  std::uint64_t free() const noexcept { return free_; }
  std::size_t waiting_count() const noexcept { return waiting_count_; }
  const char* what() const noexcept { return what_; }
  void check_home() const noexcept {
    SKERRY_ASSERT(home_ == current_shard, "a primitive is used only on the shard that made it");
  }

 private:
  friend class waiter;
  void join(waiter& last) noexcept;
  void serve() noexcept;

  std::uint64_t free_;
  intrusive_list<waiter, waiter> waiting_;
  const shard_core* home_;
  const char* what_;
  std::size_t waiting_count_ = 0;
};

inline waiter::~waiter() {
  if (reserved_) [[unlikely]]
    list_->give(units_);
}

/// The awaiter of most primitives. `ready(owner)`: there is nothing to wait for. `resume(owner, waiter)`: the result,
/// after a wait or without one; by default none.
struct no_result {
  void operator()(auto&, waiter&) const noexcept {}
};
template <class Owner, class Ready, class Resume = no_result>
class [[nodiscard("co_await it")]] wait_awaiter final : public waiter {
 public:
  wait_awaiter(wait_list& list, Owner& owner, Ready ready, Resume resume = {}) noexcept
      : waiter(unasked(), list), owner_(owner), ready_(ready), resume_(resume) {}
  bool await_ready() const noexcept { return ready_(owner_); }
  auto await_resume() { return resume_(owner_, *this); }

 private:
  Owner& owner_;
  [[no_unique_address]] Ready ready_;
  [[no_unique_address]] Resume resume_;
};

}  // namespace skerry::detail
