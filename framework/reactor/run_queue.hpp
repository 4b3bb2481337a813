// SPDX-License-Identifier: Apache-2.0
#pragma once

/// run_queue: the tasks of one shard that are ready, and which of them goes next.
///
/// Tasks of one scheduling group run first in, first out. Between groups the one that has used the least CPU time
/// relative to its shares goes next (virtual runtime: time / shares), so a group with ten times the shares gets ten
/// times the CPU under saturation. A group that was idle starts at the least virtual runtime of the busy ones: it goes
/// next, but it cannot spend what it did not use.
///
/// The express lane goes before all groups: first steps of message handlers. At most `express_run_max` in a row, so
/// that a flood of messages cannot stop the groups.
///
/// Affinity:   home shard.
/// Ownership:  none: a chain links itself in (`next_ready`) and is owned elsewhere.
/// Invariants: (1) a chain is in at most one lane, once; (2) bit g of the mask is set exactly when group g has tasks.
/// Limits:     16 groups; the number of tasks is bounded by whoever makes them.
/// Source:     virtual runtime as in stride scheduling (Waldspurger and Weihl, 1995).

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/chain.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace skerry {

class run_queue {
 public:
  static constexpr unsigned groups_max = 16;
  static constexpr unsigned express_run_max = 64;

  run_queue() noexcept;
  ~run_queue();
  run_queue(const run_queue&) = delete;
  run_queue& operator=(const run_queue&) = delete;

  bool empty() const noexcept { return active_ == 0 && express_.head == nullptr; }

  /// To the back of its group.
  void push(detail::chain& c) noexcept {
    auto index = static_cast<unsigned>(c.group());
    group& g = groups_[index];
    if (g.tasks.push(c)) activate(index);
  }

  /// To the back of the express lane.
  void push_express(detail::chain& c) noexcept { express_.push(c); }

  /// The group whose turn it is; the express lane first. Asserts that the queue is not empty.
  struct turn {
    unsigned group;
    bool express;
  };
  turn next_turn() noexcept;

  /// Takes the first task of `t`; null when that lane is empty.
  detail::chain* pop(turn t) noexcept {
    lane& from = t.express ? express_ : groups_[t.group].tasks;
    detail::chain* c = from.pop();
    if (!t.express && from.head == nullptr) active_ &= ~(1u << t.group);
    return c;
  }

  bool express_waiting() const noexcept { return express_.head != nullptr; }
  /// Whether other lanes than that of `t` have tasks.
  bool contended(turn t) const noexcept {
    return t.express ? active_ != 0 : express_.head != nullptr || (active_ & ~(1u << t.group)) != 0;
  }

  /// Charges CPU time to the group that ran.
  void charge(turn t, std::chrono::nanoseconds used) noexcept;

  /// A new group; `name` must live for ever. Groups are made at start-up, the same on every shard.
  scheduling_group add_group(const char* name, unsigned shares) noexcept;
  std::chrono::nanoseconds cpu_time(scheduling_group g) const noexcept {
    return groups_[static_cast<unsigned>(g)].cpu_time;
  }
  const char* name(scheduling_group g) const noexcept { return groups_[static_cast<unsigned>(g)].name; }
  unsigned group_count() const noexcept { return group_count_; }

  std::uint64_t next_task_id() noexcept { return ++task_ids_; }
  /// Tasks started since the start.
  std::uint64_t tasks_started_total() const noexcept { return task_ids_; }

 private:
  struct lane {
    detail::chain* head = nullptr;
    detail::chain* tail = nullptr;

    /// True when the lane was empty.
    bool push(detail::chain& c) noexcept {
      c.next_ready = nullptr;
      bool was_empty = head == nullptr;
      if (was_empty) {
        head = &c;
      } else {
        tail->next_ready = &c;
      }
      tail = &c;
      return was_empty;
    }
    detail::chain* pop() noexcept {
      detail::chain* c = head;
      if (c != nullptr) head = c->next_ready;
      return c;
    }
  };
  struct group {
    lane tasks;
    std::uint64_t virtual_runtime = 0;
    std::uint64_t weight = 0;  // virtual nanoseconds per nanosecond, scaled by 2^16
    std::chrono::nanoseconds cpu_time{0};
    const char* name = "";
  };

  void activate(unsigned index) noexcept;

  std::uint32_t active_ = 0;
  unsigned express_run_ = 0;
  lane express_;
  std::array<group, groups_max> groups_;
  unsigned group_count_ = 0;
  std::uint64_t task_ids_ = 0;
};

}  // namespace skerry
