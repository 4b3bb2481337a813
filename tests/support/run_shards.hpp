// SPDX-License-Identifier: Apache-2.0
#pragma once

/// run_shards: a host of some unpinned shards for one test; ends when main and everything it spawned have ended, or in
/// a drain when a stop was requested. On disturbed backends where SKERRY_TEST_FAULTS is set.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <support/faulty_backend.hpp>

namespace skerry::test_support {

/// What a program of tests has of a simulation.
struct simulation_of_tests {
  enum class way : std::uint8_t {
    whole,      ///< until all has ended
    alone,      ///< what main left behind is not waited for
    from_zero,  ///< whole, and its wall clock begins in 1970, as a manual_clock's
  };
  /// Runs the shards in one. Rethrows what main throws; a violation is a failure.
  void (*run)(const app_options& options, const std::function<task<>()>& main, way how);
  /// Whether the caller runs in one.
  bool (*runs)() noexcept;
  /// Time jumps.
  void (*skip)(std::chrono::nanoseconds time) noexcept;
  /// How many descriptors the simulated host has, or -1 outside of one.
  std::ptrdiff_t (*descriptors)() noexcept;
};
/// Null unless SKERRY_TEST_SIM is set and the program is linked for it (skerry_simulate_tests).
extern const simulation_of_tests* simulation;
/// What needs other processes or devices of the real kernel is not tried there.
inline bool simulating() noexcept { return simulation != nullptr; }
inline bool simulated() noexcept { return simulation != nullptr && simulation->runs(); }

/// Options of a quiet host with `shards` shards, on the backend that the environment names.
inline app_options quiet_options(unsigned shards) {
  app_options options;
  options.shards = shards;
  options.log_level = "warning";
  options.admin = "off";
  options.overprovision = true;
  options.backend = backend_of_environment();
  options.sqpoll_idle = sqpoll_of_environment();
  return options;
}

/// Time that stands still but for what one test adds: seconds pass in the next turn of its shard. In a simulation that
/// is what is added to a time that goes on by microseconds.
class manual_clock final : public clock_source {
 public:
  std::chrono::nanoseconds monotonic() noexcept override { return passed_; }
  std::chrono::nanoseconds wall() noexcept override { return passed_; }
  /// On the shard, which takes notice at once.
  void pass(std::chrono::nanoseconds time) noexcept {
    simulated() ? simulation->skip(time) : void(passed_ += time);
    clock::read();
  }

 private:
  std::chrono::nanoseconds passed_ = std::chrono::hours(1);
};

/// `main` on shards whose connections send as the environment says.
inline task<> with_its_sends(const std::function<task<>()>& main) {
  if (zero_copy_wanted()) {
    for (shard_id id = 0; id < shard_count(); ++id) {
      co_await submit_to(id, [] {
        backend& kernel = this_assembled_shard().loop().kernel();
        kernel.zero_copy_from = 1;
        kernel.zero_copy_anywhere = true;
      });
    }
  }
  co_await main();
}

/// As block_on does, on `backends`, or on one that the host makes.
inline void run_alone(const std::function<task<>()>& body, std::vector<std::unique_ptr<backend>> backends,
                      const std::string& log_level = "warning") {
  const std::function<task<>()> main = [&] { return with_its_sends(body); };
  placement where;
  where.shards.resize(1);
  where.count_reason = "test";
  app_options options = quiet_options(1);
  options.log_level = log_level;
  if (simulation != nullptr && backends.empty()) {
    return simulation->run(options, main, simulation_of_tests::way::alone);
  }
  host machine(options, where, kernel_clock(), std::move(backends));
  auto main_alone = [&]() -> task<> {
    co_await main();
    this_shard().root->cancel();  // what main left behind is not waited for
    machine.request_stop();
  };
  machine.run(main_alone, false);
}

/// Runs `main` on shard 0 of `options.shards` shards. Rethrows what main throws.
inline void run_shards(const app_options& options, const std::function<task<>()>& body,
                       clock_source& time = kernel_clock()) {
  const std::function<task<>()> main = [&] { return with_its_sends(body); };
  if (simulation != nullptr) {
    const bool by_hand = &time != &kernel_clock();
    using way = simulation_of_tests::way;
    return simulation->run(options, main, by_hand ? way::from_zero : way::whole);
  }
  placement where;
  where.shards.resize(*options.shards);
  where.count_reason = "test";
  host machine(options, where, time, backends_for_test(*options.shards));
  machine.run(main, true);
}

inline void run_shards(unsigned shards, const std::function<task<>()>& main) {
  run_shards(quiet_options(shards), main);
}

}  // namespace skerry::test_support
