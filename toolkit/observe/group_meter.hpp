// SPDX-License-Identifier: Apache-2.0
#pragma once

/// group_meter: how long tasks of each scheduling group wait for the CPU once they are ready.
///
///     co_await meter_groups();                 // skerry_group_wait_seconds{group="main"} on every shard, from here on
///
/// A stamp at each push into the run queue would cost every wake-up a store and every task 8 bytes. Instead a probe, a
/// task that ends in its first step, goes into every group's lane at random times, `period` apart on average, and
/// measures what any task that became ready then would have waited. So the histogram weighs moments, not tasks: a group
/// that waits for a second of ten shows it in a tenth of its samples, however few of its tasks there were.
///
/// Affinity:   one shard, as a resource of it.
/// Ownership:  ends with the shard's resources; a probe is of the root scope, and none begins while that ends.
/// Limits:     a histogram per group, at most run_queue::groups_max. An idle shard wakes once a period.
/// Units:      nanoseconds in the histogram.

#include <skerry/framework/observe/histogram.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/timers/timer.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>

namespace skerry {

class group_meter final : private timers::timer {
 public:
  explicit group_meter(std::chrono::milliseconds period);
  ~group_meter();

  /// Null for a group that was not there when a probe was last sent.
  const observe::histogram* waits_of(scheduling_group group) const noexcept;
  /// Sends a probe into every group now.
  void probe() noexcept;

 private:
  struct meter {
    observe::histogram waits;
    observe::registration shown;
    bool under_way = false;  // its probe waits; a second one would say the same
  };

  void expired() noexcept override;
  void arm() noexcept;
  static task<> end_at_once(meter* of, clock::time_point ready_since);

  const std::chrono::milliseconds period_;
  std::array<std::unique_ptr<meter>, run_queue::groups_max> groups_;
};

/// Makes a group_meter on every shard that has none.
task<> meter_groups(std::chrono::milliseconds period = std::chrono::milliseconds(20));

}  // namespace skerry
