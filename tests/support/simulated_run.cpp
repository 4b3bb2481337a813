// SPDX-License-Identifier: Apache-2.0
// With SKERRY_TEST_SIM=N the shards of a test run in a simulation (run_shards, run_alone, block_on): the n-th run of
// the process with seed N + n, so that --gtest_repeat takes another one each time.
#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/sim.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>

#include <support/run_shards.hpp>

namespace skerry::test_support {

namespace {

std::uint64_t next_seed() {
  static std::uint64_t seed = std::strtoull(std::getenv("SKERRY_TEST_SIM"), nullptr, 0);
  return seed++;
}

using way = simulation_of_tests::way;

void run_simulated(const app_options& options, const std::function<task<>()>& main, way how) {
  sim::options given;
  given.seed = options.seed.value_or(next_seed());
  given.shards = options.shards.value_or(1);
  given.order = sim::schedule::adversarial;
  given.system.late_completion = 0.05;
  given.system.short_transfer = 0.1;
  given.system.ended_multishot = 0.02;
  given.system.interrupted = 0.01;
  given.network.small_segment = 0.02;
  given.settings = [&](app_options& settings) {
    const std::string log_level = settings.log_level, bind = settings.bind;
    settings = options;
    settings.log_level = log_level;
    settings.bind = bind;
    settings.thread_names = false;
    // A step takes no virtual time, only a look at the clock does: what never rests would take a million in 500 us.
    settings.task_budget = std::min(settings.task_budget, std::chrono::microseconds(20));
  };
  std::exception_ptr thrown;
  const auto body = [&]() -> task<> {
    if (how == way::from_zero) {
      sim::host("test").shift_wall(std::chrono::hours(1) - std::chrono::floor<std::chrono::seconds>(clock::wall()));
    }
    try {
      co_await main();
    } catch (...) {
      thrown = std::current_exception();
    }
    if (how != way::alone) co_return;
    this_shard().root->cancel();
    app::shutdown();
  };
  const sim::report made = sim::run(given, body);
  if (thrown != nullptr) std::rethrow_exception(thrown);
  if (!made.ok()) throw std::logic_error(made.violation);
}

std::ptrdiff_t descriptors() noexcept {
  return sim::simulated() ? static_cast<std::ptrdiff_t>(sim::host("test").impl().open_descriptors()) : -1;
}

[[maybe_unused]] const bool wanted = [] {
  static constexpr simulation_of_tests here{&run_simulated, &sim::simulated, &sim::skip, &descriptors};
  if (std::getenv("SKERRY_TEST_SIM") != nullptr) simulation = &here;
  return true;
}();

}  // namespace

}  // namespace skerry::test_support

// block_on, for programs that are linked with --wrap for it.
extern "C" {
void __real__ZN6skerry6detail13block_on_hostERKSt8functionIFNS_4taskIvEEvEE(
    const std::function<skerry::task<>()>& main);
void __wrap__ZN6skerry6detail13block_on_hostERKSt8functionIFNS_4taskIvEEvEE(
    const std::function<skerry::task<>()>& main) {
  namespace support = skerry::test_support;
  if (support::simulation == nullptr)
    return __real__ZN6skerry6detail13block_on_hostERKSt8functionIFNS_4taskIvEEvEE(main);
  support::simulation->run(support::quiet_options(1), main, support::simulation_of_tests::way::alone);
}
}
