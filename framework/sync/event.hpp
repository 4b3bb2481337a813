// SPDX-License-Identifier: Apache-2.0
#pragma once

/// event, auto_reset_event, latch, barrier, gate: tasks that wait until something is so.
///
///     event             stays set until reset; all pass
///     auto_reset_event  each set lets one pass, now or later; sets that nobody has used are one
///     latch             opens for good after so many counts
///     barrier           opens each time so many have come, and starts again
///     gate              counts who is inside; `close` refuses newcomers and waits until all have left
///
///     gate requests;
///     if (auto inside = requests.try_enter()) look_at(fd);        // inside until `inside` goes
///     co_await requests.close();
///
/// Affinity:     the shard that made it.
/// Ownership:    each outlives its waiters, and a gate its holders (asserted). One that was woken needs it no more,
///               except that of an auto_reset_event, which has the set reserved.
/// Cancellation: at once. A set reserved by an auto_reset_event goes to the next; an arrival at a barrier is withdrawn;
///               a gate stays closed.
/// Errors:       `gate::enter` throws gate_closed.

#include <skerry/framework/sync/wait_list.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

namespace skerry {

class event {
 public:
  class [[nodiscard("co_await it")]] awaiter : public detail::waiter {
   public:
    explicit awaiter(event& owner) noexcept : waiter(owner.waiting_, 1), owner_(owner) {}
    bool await_ready() const noexcept { return owner_.is_set(); }
    void await_resume() const noexcept {}

   private:
    event& owner_;
  };

  explicit event(const char* what = "event") noexcept : waiting_(what) {}

  void set() noexcept {
    set_ = true;
    waiting_.wake_all();
  }
  void reset() noexcept {
    waiting_.check_home();
    set_ = false;
  }
  /// The `try_` form of `wait`.
  bool is_set() const noexcept {
    waiting_.check_home();
    return set_;
  }
  awaiter wait() noexcept { return awaiter(*this); }
  std::size_t waiting_count() const noexcept { return waiting_.waiting_count(); }

 private:
  detail::wait_list waiting_;
  bool set_ = false;
};

class auto_reset_event {
 public:
  class [[nodiscard("co_await it")]] awaiter final : public detail::waiter {
   public:
    explicit awaiter(auto_reset_event& owner) noexcept : waiter(owner.sets_, 1), owner_(owner) {}
    bool await_ready() const noexcept { return owner_.try_wait(); }
    void await_resume() noexcept { accept(); }

   private:
    auto_reset_event& owner_;
  };

  auto_reset_event() noexcept = default;

  void set() noexcept {
    if (sets_.free() == 0) sets_.give();
  }
  /// Forgets a set that nobody has used.
  void reset() noexcept { (void)sets_.try_take(sets_.free()); }
  /// Uses a set if there is one. A reservation that came back may lie beside a later set; they are one.
  bool try_wait() noexcept { return sets_.try_take(std::max<std::uint64_t>(1, sets_.free())); }
  awaiter wait() noexcept { return awaiter(*this); }

 private:
  detail::wait_list sets_{"auto_reset_event"};
};

class latch {
 public:
  explicit latch(std::uint64_t count) noexcept : count_(count) {
    if (count == 0) open_.set();
  }

  void count_down(std::uint64_t by = 1) noexcept {
    SKERRY_ASSERT(by <= count_, "a latch is counted down to zero and not past it");
    count_ -= by;
    if (count_ == 0) open_.set();
  }
  bool try_wait() const noexcept { return open_.is_set(); }
  event::awaiter wait() noexcept { return open_.wait(); }

 private:
  event open_{"latch"};
  std::uint64_t count_;
};

class barrier {
 public:
  class [[nodiscard("co_await it")]] awaiter final : public detail::waiter {
   public:
    explicit awaiter(barrier& owner) noexcept : waiter(owner.arrived_, 1), owner_(owner) {}
    bool await_ready() const noexcept { return owner_.try_complete(1); }
    void await_resume() const noexcept {}

   private:
    barrier& owner_;
  };

  explicit barrier(std::size_t participants) noexcept : participants_(participants) {
    SKERRY_ASSERT(participants > 0, "somebody must come to a barrier");
  }

  /// Waits until all participants have arrived. The last one does not wait.
  awaiter arrive_and_wait() noexcept { return awaiter(*this); }
  /// One participant less from now on, in this phase too: for one that ends early.
  void leave() noexcept {
    SKERRY_ASSERT(participants_ > arrived_.waiting_count(), "only a participant that does not wait can leave");
    --participants_;
    (void)try_complete(0);
  }
  std::size_t participants() const noexcept { return participants_; }

 private:
  /// Whoever waits has arrived, so their number is all there is to keep.
  bool try_complete(std::size_t more) noexcept {
    if (arrived_.waiting_count() + more < participants_) return false;
    arrived_.wake_all();
    return true;
  }

  detail::wait_list arrived_{"barrier"};
  std::size_t participants_;
};

/// Somebody wants to enter a gate that was closed.
class gate_closed : public std::system_error {
 public:
  gate_closed() : std::system_error(std::make_error_code(std::errc::operation_canceled), "the gate is closed") {}
};

class gate {
 public:
  /// Being inside. Movable.
  class [[nodiscard("what is not kept leaves at once")]] holder {
   public:
    holder(holder&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    holder& operator=(holder&& other) noexcept {
      std::swap(gate_, other.gate_);
      return *this;
    }
    ~holder() {
      if (gate_ != nullptr) gate_->count(-1);
    }

   private:
    friend class gate;
    explicit holder(gate& inside) noexcept : gate_(&inside) { gate_->count(1); }
    gate* gate_;
  };

  gate() noexcept = default;
  ~gate() { SKERRY_ASSERT(holders_ == 0, "a gate must be empty before it goes away: close it and wait"); }

  holder enter() {
    if (closed_) throw gate_closed();
    return holder(*this);
  }
  std::optional<holder> try_enter() noexcept {
    if (closed_) return std::nullopt;
    return holder(*this);
  }
  /// Refuses newcomers from this call on, and waits until all have left. Any number of tasks may do so.
  event::awaiter close() noexcept {
    closed_ = true;
    if (holders_ == 0) empty_.set();
    return empty_.wait();
  }
  bool is_closed() const noexcept { return closed_; }
  std::size_t holders() const noexcept { return holders_; }

 private:
  void count(std::ptrdiff_t change) noexcept {
    SKERRY_ASSERT(!empty_.is_set(), "nobody is in a gate that has closed");
    holders_ += static_cast<std::size_t>(change);
    if (holders_ == 0 && closed_) empty_.set();
  }

  event empty_{"gate"};
  std::size_t holders_ = 0;
  bool closed_ = false;
};

}  // namespace skerry
