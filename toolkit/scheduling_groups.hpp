// SPDX-License-Identifier: Apache-2.0
#pragma once

/// create_scheduling_group: a share of each CPU for one kind of work, and whether it goes first.
///
///     auto batch = co_await create_scheduling_group("batch", 100);             // main has 1000 shares
///     auto replies = co_await create_scheduling_group("replies", 1000, 500us); // the latency class
///     spawn(rebuild_index(), "rebuild", batch);    // what it spawns, and its calls on other shards, are of it, too
///
/// Shares count where groups compete: with 100 against 1000 and both busy, one part in eleven of the CPU; a group that
/// is alone gets all of it. A group of the latency class goes first whenever it has been idle, as soon as the step that
/// runs has ended, until it has had `first_for` of CPU time more than its shares gave it. From then on it competes as
/// any other. So in any time it takes at most its share and `first_for`, however often it wakes.
///
/// Affinity:     any task; the group is there, under one number, on every shard.
/// Ownership:    groups stay until the shards end.
/// Errors:       std::invalid_argument: no shares, less than no time, or a group of that name is there already.
///               std::length_error: there are 16, of which one is main.
/// Cancellation: a group that is being made is made on all shards, then the caller ends.
/// Limits:       16 groups. Time is measured per turn of the queue (about 100 us), not per step.
/// Units:        CPU time, of one shard.

#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/task/task.hpp>

#include <chrono>

namespace skerry {

/// A text that the program has for as long as it runs: a literal.
class static_name {
 public:
  using crosses_shards = static_name;
  consteval static_name(const char* literal) noexcept : text_(literal) {}  // NOLINT(google-explicit-constructor)
  const char* text() const noexcept { return text_; }

 private:
  const char* text_;
};

task<scheduling_group> create_scheduling_group(static_name name, unsigned shares,
                                               std::chrono::microseconds first_for = std::chrono::microseconds(0));

}  // namespace skerry
