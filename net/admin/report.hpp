// SPDX-License-Identifier: Apache-2.0
#pragma once

/// report: what the admin endpoint asks one shard for, as the shard itself sees it.
///
/// Everything here runs on the shard that it is about and gives text or numbers that cross. Counters are copied; only
/// the states of tasks are not counted anywhere, so they are found by a walk over the root scope.
///
/// Affinity: the shard that is told about.
/// Limits:   `tasks_told_max` tasks are listed, with `coroutines_of_shard_max` coroutines in all, and
///           `tasks_counted_max` looked at for their state. Names of coroutines are kept, 4096 of 300 bytes at most.

#include <skerry/framework/observe/histogram.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/net/admin/exposition.hpp>
#include <skerry/net/admin/text.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace skerry::net::admin {

using skerry::tasks_told_max;
constexpr std::size_t tasks_counted_max = 100'000;
constexpr std::size_t coroutines_of_shard_max = 10'000;

/// Measures how long this shard's turns take, from one flush phase to the next without the time asleep: how long what
/// has just arrived may have to wait. Two subtractions and a count per turn.
class loop_meter final : public poller {
 public:
  loop_meter();
  ~loop_meter();

  void poll() noexcept override {}
  void flush() noexcept override;

  observe::histogram seconds;

 private:
  clock::time_point last_{};
  clock::duration idle_{};
  observe::registration shown_;
};

/// An object of /shards.
std::string shard_as_json();
/// A row of /text.
shard_figures figures_of_shard();
/// Objects of /tasks, with commas between them; empty when there is no task. One that waits for several things has them
/// as `branches`, 32 deep at most, which count as tasks. `coroutines` are those that await each other in it, by name,
/// the one that waits first.
std::string tasks_as_json();
/// What the registry has, and what is only counted when somebody asks: tasks that are ready, messages by pair of
/// shards, CPU time by scheduling group.
observe::snapshot snapshot_of_shard();
/// Requests that stand for others that took as long; the next one of each duration replaces them.
std::vector<exemplar> exemplars_of_shard();

}  // namespace skerry::net::admin
