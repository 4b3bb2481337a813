// SPDX-License-Identifier: Apache-2.0
// With SKERRY_TEST_SIM=N the shards of a test run in a simulation (run_shards, run_alone, block_on): the n-th run of
// the process with seed N + n, so that --gtest_repeat takes another one each time.
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/sim.hpp>

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

void run_simulated(const app_options& options, const std::function<task<>()>& main, bool alone) {
  sim::options given;
  given.seed = options.seed.value_or(next_seed());
  given.shards = options.shards.value_or(1);
  given.order = sim::schedule::adversarial;
  given.system.late_completion = 0.05;
  given.settings = [&](app_options& settings) {
    const std::string log_level = settings.log_level, bind = settings.bind;
    settings = options;
    settings.log_level = log_level;
    settings.bind = bind;
    settings.thread_names = false;
  };
  std::exception_ptr thrown;
  const auto body = [&]() -> task<> {
    try {
      co_await main();
    } catch (...) {
      thrown = std::current_exception();
    }
    if (!alone) co_return;
    this_shard().root->cancel();
    app::shutdown();
  };
  const sim::report made = sim::run(given, body);
  if (thrown != nullptr) std::rethrow_exception(thrown);
  if (!made.ok()) throw std::logic_error(made.violation);
}

std::ptrdiff_t descriptors() {
  return sim::simulated() ? static_cast<std::ptrdiff_t>(sim::host("test").impl().open_descriptors()) : -1;
}

[[maybe_unused]] const bool wanted = [] {
  if (std::getenv("SKERRY_TEST_SIM") != nullptr)
    run_in_simulation = &run_simulated, descriptors_in_simulation = &descriptors;
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
  using skerry::test_support::run_in_simulation;
  if (run_in_simulation == nullptr) return __real__ZN6skerry6detail13block_on_hostERKSt8functionIFNS_4taskIvEEvEE(main);
  run_in_simulation(skerry::test_support::quiet_options(1), main, true);
}
}
