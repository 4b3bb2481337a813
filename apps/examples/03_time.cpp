// SPDX-License-Identifier: Apache-2.0
// Time: a task sleeps without holding its shard, and a deadline ends a task that takes too long.
// Run it with: build/release/apps/03_time
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <string>
#include <vector>

#include <fmt/core.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

task<> say_at(clock::time_point when, int number) {
  co_await sleep_until(when);
  fmt::print("{}\n", number);
}

task<std::string> answer_after(clock::duration thinking) {
  co_await sleep_for(thinking);
  co_return "42";
}

task<> run() {
  // Sorting by sleeping: all of them sleep at once, so it takes as long as the longest sleep and not as their sum.
  clock::time_point start = clock::now();
  std::vector<join_handle<>> sleepers;
  for (int number : {30, 10, 20}) {
    sleepers.push_back(spawn(say_at(start + number * 1ms, number), "sleeper"));
  }
  for (join_handle<>& sleeper : sleepers) co_await sleeper;

  // The limit is on all that the task does and awaits. One that is too late is cancelled before the caller goes on.
  std::string answer = co_await with_timeout(10s, answer_after(1ms));
  fmt::print("in time: {}\n", answer);
  try {
    co_await with_timeout(1ms, answer_after(1h));
  } catch (const timeout_error& late) {
    fmt::print("too late: {}\n", late.code().message());
  }
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("03_time").run(argc, argv, run); }
