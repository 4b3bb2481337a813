// SPDX-License-Identifier: Apache-2.0
#pragma once

/// test: a GoogleTest whose body runs in a simulation, once per seed.
///
///     SKERRY_SIM_TEST(answers_come_back) {
///       co_await skerry::submit_to(1, [] {});
///       EXPECT_EQ(skerry::shard_count(), 2u);
///     }
///
/// SKERRY_SIM_TEST_WITH(name, options) takes options of one's own. The body is a coroutine, main of shard 0 of a host
/// with two shards. A failed expectation, an exception that leaves it and a violation end the test, with the seed and
/// the command that replays it.
///
/// The program's command line takes --seeds N (100), --seed S, --trace FILE, --until STEP and --only NUMBERS beside
/// GoogleTest's options, which are left alone. Link skerry::simulation and GTest::gtest_main. This header is
/// <skerry/shards/sim/test.hpp>, too.

#include <skerry/framework/task/task.hpp>
#include <skerry/simulation/campaign.hpp>
#include <skerry/simulation/sim.hpp>

#include <string>

#include <gtest/gtest.h>

namespace skerry::sim {

/// Two shards, and nothing goes wrong.
inline options two_shards() {
  options o;
  o.shards = 2;
  return o;
}

namespace detail {

/// What this process's command line says, GoogleTest's options aside.
campaign_options options_of_this_process();
/// How this process was called.
std::string program_of_this_process();

inline void run_sim_test(const std::string& name, const options& with, task<> (*body)()) {
  const test_case t{name,
                    [&](options& o) {
                      const std::uint64_t seed = o.seed;
                      o = with;
                      o.seed = seed;
                    },
                    body};
  bool told = false;
  const auto failed = [&told] {
    return !std::exchange(told, ::testing::Test::HasFailure()) && ::testing::Test::HasFailure();
  };
  const std::string replay = program_of_this_process() + " --gtest_filter=sim." + name;
  const campaign_result result = run_campaign(t, options_of_this_process(), replay, failed);
  if (!result.ok()) ADD_FAILURE() << result.told;
}

}  // namespace detail

}  // namespace skerry::sim

#define SKERRY_SIM_TEST_WITH(name, ...)                                                                      \
  static ::skerry::task<> skerry_sim_body_of_##name();                                                       \
  TEST(sim, name) { ::skerry::sim::detail::run_sim_test(#name, (__VA_ARGS__), &skerry_sim_body_of_##name); } \
  static ::skerry::task<> skerry_sim_body_of_##name()

#define SKERRY_SIM_TEST(name) SKERRY_SIM_TEST_WITH(name, ::skerry::sim::two_shards())
