// SPDX-License-Identifier: Apache-2.0
#pragma once

/// run_shards: a host of some unpinned shards for one test; ends when main and everything it spawned have ended.

#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/placement.hpp>

#include <chrono>
#include <functional>

namespace skerry::test_support {

/// Options of a quiet host with `shards` shards.
inline app_options quiet_options(unsigned shards) {
  app_options options;
  options.shards = shards;
  options.log_level = "warning";
  options.overprovision = true;
  return options;
}

/// Runs `main` on shard 0 of `options.shards` shards. Rethrows what main throws.
inline void run_shards(const app_options& options, const std::function<task<>()>& main) {
  placement where;
  where.shards.resize(*options.shards);
  where.count_reason = "test";
  host machine(options, where);
  machine.run(main, true);
}

inline void run_shards(unsigned shards, const std::function<task<>()>& main) {
  run_shards(quiet_options(shards), main);
}

}  // namespace skerry::test_support
