// SPDX-License-Identifier: Apache-2.0
/// What is said of a task by name: by the assertion that it runs into, and by the log when nobody awaits what it threw.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using test_support::let_others_run;

task<std::uint64_t> ready(std::uint64_t n) { co_return n; }

task<int> fails() {
  throw std::runtime_error("as it should");
  co_return 0;
}

/// What an assertion says to which the task `name` came.
std::string told(const char* rule, const char* name) {
  return std::string(rule) + "\n.*shard 0, task \"" + name + "\"";
}

task<> await_a_task(int times) {
  task<std::uint64_t> body = ready(1);
  for (int i = 0; i < times; ++i) co_await std::move(body);
}

TEST(task, awaiting_it_twice_names_who_does) {
  const auto awaits = [](int times) {
    block_on([times]() -> task<> { co_await spawn(await_a_task(times), "greedy"); });
  };
  awaits(1);
  EXPECT_DEATH(awaits(2), told("a task is awaited once, and not after it was moved from", "greedy"));
}

task<> join_it(join_handle<std::uint64_t>& handle, int times) {
  for (int i = 0; i < times; ++i) co_await handle;
}

TEST(spawn, fetching_a_result_twice_names_who_does) {
  const auto fetch = [](int times) {
    block_on([times]() -> task<> {
      auto handle = spawn(ready(1), "joined");
      co_await spawn(join_it(handle, times), "greedy");
    });
  };
  fetch(1);
  EXPECT_DEATH(fetch(2), told("a result is fetched once", "greedy"));
}

task<std::uint64_t> later() {
  co_await let_others_run();
  co_return 1;
}

TEST(spawn, joining_a_task_that_another_one_joins_names_the_second) {
  const auto join = [](bool both) {
    block_on([both]() -> task<> {
      auto handle = spawn(later(), "joined");
      auto first = spawn(join_it(handle, 1), "first");
      auto second = spawn(join_it(handle, both ? 1 : 0), "second");
      co_await first;
      co_await second;
    });
  };
  join(false);
  EXPECT_DEATH(join(true), told("a join_handle is awaited by one task at a time", "second"));
}

task<> throws_a_number() {
  throw 1;
  co_return;
}

TEST(spawn, an_exception_that_nobody_awaits_is_logged_with_the_name_of_its_task) {
  testing::internal::CaptureStderr();
  block_on([]() -> task<> {
    {
      auto seen = spawn(fails(), "somebody looks");
      co_await let_others_run();
      EXPECT_THROW(co_await seen, std::runtime_error);
      auto dropped = spawn(fails(), "nobody looks");
      auto odd = spawn(throws_a_number(), "no std::exception");
    }
    co_await let_others_run();
  });
  const std::string said = testing::internal::GetCapturedStderr();
  const auto says = [&said](const char* line) { return said.find(line) != said.npos; };
  EXPECT_TRUE(says("task \"nobody looks\" ended with an exception that nobody awaited: as it should\n")) << said;
  EXPECT_TRUE(says("task \"no std::exception\" ended with an exception that nobody awaited\n")) << said;
  EXPECT_FALSE(says("somebody looks")) << said;
}

}  // namespace
}  // namespace skerry
