// SPDX-License-Identifier: Apache-2.0
#pragma once
// Two shards, each pinned to a CPU of its own: the first two that this process may use, so that whoever compares can
// give it the same two as the raw program beside it (`taskset -c 0,2`). On a machine with one, both share it.
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/placement.hpp>

#include <chrono>
#include <functional>

#include <sched.h>

namespace perf {

inline skerry::placement look_for_two_cpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  skerry::placement where;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE && where.shards.size() < 2; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) where.shards.push_back(skerry::place{{cpu}, {}});
  }
  if (where.shards.size() == 1) where.shards.push_back(where.shards.front());
  where.pinned = true;
  where.count_reason = where.pin_reason = "benchmark";
  return where;
}

/// Looked for once: the first run pins this thread, and from then on it may use one CPU only.
inline const skerry::placement& first_two_cpus() {
  static const skerry::placement found = look_for_two_cpus();
  return found;
}

/// Runs `main` on the first of two shards that look for work for `idle_spin` before they sleep.
inline void run_two_shards(std::chrono::microseconds idle_spin, const std::function<skerry::task<>()>& main) {
  skerry::app_options options;
  options.shards = 2;
  options.log_level = "error";  // a benchmark is one long step
  options.idle_spin = idle_spin;
  skerry::host machine(options, first_two_cpus());
  machine.run(main, true);
}

}  // namespace perf
