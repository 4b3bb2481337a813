// SPDX-License-Identifier: Apache-2.0
#pragma once

/// latch, barrier, gate: tasks that wait until all have come, or all have gone.
///
///     latch    opens for good after so many counts
///     barrier  opens each time so many have come, and starts again
///     gate     counts who is inside; `close` refuses newcomers and waits until all have left
///
///     gate requests;
///     if (auto inside = requests.try_enter()) look_at(fd);        // inside until `inside` goes
///     co_await requests.close();
///
/// A latch's and a gate's `try_` forms are `try_wait` and `try_enter`. A barrier has none: who comes before the last
/// one can only wait, and if it came and went it would be missing when the last one comes.
///
/// Affinity:     the shard that made it (asserted).
/// Ownership:    each outlives its waiters, and a gate its holders (asserted).
/// Invariants:   (1) an open latch stays open; (2) who waits at a barrier has arrived, so their number is all that it
///               keeps; (3) who is inside a gate is in its count until the holder goes.
/// Cancellation: at once. An arrival at a barrier is withdrawn; a gate stays closed.
/// Errors:       `gate::enter` throws gate_closed.
/// Limits:       2^64 - 1 counts, arrivals or holders; those who wait are bounded by the frame pool.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/sync/wait_list.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

namespace skerry {

class latch {
 public:
  explicit latch(std::uint64_t count) noexcept : count_(count) { count_down(0); }

  void count_down(std::uint64_t by = 1) noexcept {
    open_.check_home();
    SKERRY_ASSERT(by <= count_, "a latch is counted down to zero and not past it");
    if ((count_ -= by) == 0) open_.set();
  }
  bool try_wait() const noexcept { return open_.is_set(); }
  auto wait() noexcept { return open_.wait(); }

 private:
  event open_{"latch"};
  std::uint64_t count_;
};

class barrier {
 public:
  explicit barrier(std::size_t participants) noexcept : participants_(participants) {
    SKERRY_ASSERT(participants > 0, "somebody must come to a barrier");
  }

  /// Waits until all participants have arrived. The last one does not wait.
  auto arrive_and_wait() noexcept {
    return detail::wait_awaiter(arrived_, *this, [](barrier& b) {
      if (b.arrived_.waiting_count() + 1 < b.participants_) return false;
      b.arrived_.wake_all();
      return true;
    });
  }

 private:
  detail::wait_list arrived_{"barrier"};  // whoever waits has arrived, so their number is all there is to keep
  std::size_t participants_;
};

/// Somebody wants to enter a gate that was closed.
class gate_closed : public std::system_error {
 public:
  gate_closed() : std::system_error(std::make_error_code(std::errc::operation_canceled), "the gate is closed") {}
};

class gate {
 public:
  struct leave {
    void operator()(gate* inside) const noexcept {
      inside->empty_.check_home();
      if (--inside->holders_ == 0 && inside->closed_) inside->empty_.set();
    }
  };
  /// Being inside, until it goes.
  using holder = std::unique_ptr<gate, leave>;

  ~gate() { SKERRY_ASSERT(holders_ == 0, "a gate must be empty before it goes away: close it and wait"); }

  [[nodiscard("what is not kept leaves at once")]] holder enter() {
    if (is_closed()) throw gate_closed();
    ++holders_;
    return holder(this);
  }
  std::optional<holder> try_enter() {
    if (is_closed()) return std::nullopt;
    ++holders_;
    return holder(this);
  }
  /// Refuses newcomers from this call on, and waits until all have left. Any number of tasks may do so.
  auto close() noexcept {
    empty_.check_home();
    closed_ = true;
    if (holders_ == 0) empty_.set();
    return empty_.wait();
  }
  bool is_closed() const noexcept {
    empty_.check_home();
    return closed_;
  }

 private:
  event empty_{"gate"};
  std::size_t holders_ = 0;
  bool closed_ = false;
};

}  // namespace skerry
