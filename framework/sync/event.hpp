// SPDX-License-Identifier: Apache-2.0
#pragma once

/// event, auto_reset_event: tasks that wait until something is so.
///
///     event             stays set until reset; all pass
///     auto_reset_event  each set lets one pass, now or later; sets that nobody has used are one
///
/// Affinity:     the shard that made it.
/// Ownership:    each outlives its waiters (asserted). One that was woken needs it no more, except that of an
///               auto_reset_event, which has the set reserved.
/// Cancellation: at once. A set reserved by an auto_reset_event goes to the next. Invariants and limits: wait_list's.

#include <skerry/framework/sync/wait_list.hpp>

#include <algorithm>
#include <cstdint>

namespace skerry {

class event {
 public:
  explicit event(const char* what = "event") noexcept : waiting_(what) {}

  void set() noexcept {
    waiting_.wake_all();
    set_ = true;
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
  auto wait() noexcept {
    return detail::wait_awaiter(waiting_, *this, [](event& e) { return e.is_set(); });
  }
  void check_home() const noexcept { waiting_.check_home(); }

 private:
  detail::wait_list waiting_;
  bool set_ = false;
};

class auto_reset_event {
 public:
  void set() noexcept { sets_.give(sets_.free() == 0 ? 1 : 0); }
  /// Uses a set if there is one. A reservation that came back may lie beside a later set; they are one.
  bool try_wait() noexcept { return sets_.try_take(std::max<std::uint64_t>(1, sets_.free())); }
  auto wait() noexcept {
    return detail::wait_awaiter(
        sets_, *this, [](auto_reset_event& e) { return e.try_wait(); },
        [](auto_reset_event&, detail::waiter& served) { served.accept(); });
  }

 private:
  detail::wait_list sets_{"auto_reset_event"};
};

}  // namespace skerry
