// SPDX-License-Identifier: Apache-2.0
#pragma once

/// run_queue: the tasks of one shard that are ready, and which of them goes next.
///
/// Tasks of one scheduling group run first in, first out. Of the groups, the one with the least virtual runtime (CPU
/// time / shares) goes next, so ten times the shares are ten times the CPU under saturation. A group that was idle
/// starts where the busy ones stand: it goes next, but it cannot spend what it did not use. One of the latency class
/// starts `ahead` of them: it goes first, after the step that runs, until it has had that much more than its shares.
///
/// First steps of message handlers go before all groups, in the express lane; at most `express_run_max` in a row, so
/// that a flood of messages cannot stop the groups.
///
/// Affinity:   home shard.
/// Ownership:  none: a task links itself in through its hook and is owned elsewhere.
/// Invariants: (1) a task is in at most one lane, once; (2) between turns a group is active exactly when it has tasks;
///             during its turn it stays so, and a task that goes back to the queue costs no scheduling decision.
/// Limits:     16 groups, made at start-up, the same on every shard; whoever makes tasks bounds their number.
/// Source:     virtual runtime as in stride scheduling (Waldspurger and Weihl, 1995).

#include <skerry/framework/this_shard.hpp>

#include <array>
#include <chrono>
#include <cstdint>

namespace skerry {

/// Which share of the CPU a task is charged to.
enum class scheduling_group : std::uint8_t { main = 0 };

class run_queue {
  struct group;

 public:
  static constexpr unsigned groups_max = 16;
  static constexpr unsigned express_run_max = 64;

  class hook {
   protected:
    hook() noexcept {}
    explicit hook(const hook& other) noexcept : group_(other.group_) {}  ///< charged to the same group
    union {
      hook* next_;          // while in a lane
      detail::leaf* leaf_;  // for the task, while in none
    };

   private:
    friend class run_queue;
    group* group_;  // of its shard's queue: a push that looked for it would take a dozen instructions
  };

  run_queue() noexcept;
  ~run_queue();
  run_queue(const run_queue&) = delete;
  run_queue& operator=(const run_queue&) = delete;

  bool empty() const noexcept { return active_ == 0 && express_.head == nullptr; }

  /// Before a task's first push.
  void charge_to(hook& task, scheduling_group g) noexcept { task.group_ = &groups_[static_cast<unsigned>(g)]; }
  /// As `other` is, or to `main` if that is null.
  void charge_as(hook& task, const hook* other) noexcept {
    task.group_ = other != nullptr ? other->group_ : &groups_.front();
  }
  scheduling_group group_of(const hook& task) const noexcept {
    return static_cast<scheduling_group>(task.group_ - groups_.data());
  }
  /// For a task that starts.
  std::uint64_t next_id() noexcept { return ++task_ids_; }
  static void push(hook& task) noexcept {
    run_queue& queue = *detail::current_shard->ready;
    if (task.group_ != queue.running_) return queue.push_to_other(task);
    queue.running_->tasks.push(task);
  }
  void push_express(hook& task) noexcept {
    express_.push(task);
    interrupted_ = true;
  }

  /// One lane's turn, from next_turn to end_turn.
  struct turn {
    unsigned group;
    bool express;
  };
  /// Asserts that the queue is not empty.
  turn next_turn() noexcept;
  /// Null when the lane is empty.
  hook* pop(turn t) noexcept { return (t.express ? express_ : groups_[t.group].tasks).pop(); }
  /// Queues `woken`, if any, or gives it back if it is this turn's next: then the caller runs or queues it at once.
  hook* queue_or_next(hook* woken) noexcept {
    if (woken == nullptr || (woken->group_ == running_ && running_->tasks.head == nullptr)) return woken;
    push(*woken);
    return nullptr;
  }
  void end_turn(turn t) noexcept {
    group& g = groups_[t.group];
    if (t.express || g.tasks.head != nullptr) return;
    running_ = nullptr;
    g.active = false;
    active_ &= ~(1u << t.group);
  }

  /// Whether the turn ends after this step: it is one of the express lane, somebody waits there, or was told to.
  bool interrupted() const noexcept { return interrupted_; }
  void interrupt() noexcept { interrupted_ = true; }
  /// Whether other lanes than that of `t` have tasks.
  bool contended(turn t) const noexcept {
    return t.express ? active_ != 0 : express_.head != nullptr || (active_ & ~(1u << t.group)) != 0;
  }

  void charge(turn t, std::chrono::nanoseconds used) noexcept;

  /// `name` must live for ever. For users: create_scheduling_group (toolkit), which adds to all shards.
  scheduling_group add_group(const char* name, unsigned shares, std::chrono::nanoseconds ahead = {}) noexcept;
  /// Empty where there is no such group.
  const char* name(scheduling_group g) const noexcept { return groups_[static_cast<unsigned>(g)].name; }
  std::chrono::nanoseconds cpu_time(scheduling_group g) const noexcept {
    return groups_[static_cast<unsigned>(g)].cpu_time;
  }
  std::uint64_t tasks_started_total() const noexcept { return task_ids_; }

 private:
  struct lane {
    hook* head = nullptr;
    hook* last = nullptr;  // its link says nothing

    void push(hook& task) noexcept {
      if (head == nullptr) {
        head = &task;
      } else {
        last->next_ = &task;
      }
      last = &task;
    }
    hook* pop() noexcept {
      hook* first = head;
      if (first == nullptr) return nullptr;
      if (first == last) {
        head = nullptr;
      } else {
        head = first->next_;
      }
      return first;
    }
  };
  struct group {
    lane tasks;
    bool active = false;  // its bit of active_
    std::uint64_t virtual_runtime = 0;
    std::uint64_t weight = 0;  // virtual nanoseconds per nanosecond, scaled by 2^16
    std::uint64_t ahead = 0;   // in virtual nanoseconds
    std::chrono::nanoseconds cpu_time{0};
    const char* name = "";
  };

  void push_to_other(hook& task) noexcept;
  unsigned least_used() const noexcept;

  group* running_ = nullptr;  // whose turn it is, or comes; a push to it waits for no load through the task
  std::uint32_t active_ = 0;
  bool interrupted_ = false;
  std::uint64_t reached_ = std::uint64_t{1} << 56;  // the greatest one that was the least: where idle groups start
  unsigned express_run_ = 0;
  lane express_;
  std::array<group, groups_max> groups_;
  unsigned group_count_ = 0;
  std::uint64_t task_ids_ = 0;
};

}  // namespace skerry
