// SPDX-License-Identifier: Apache-2.0
// Scheduling groups: two kinds of work that compete for the CPU get it by their shares, and a third, with little to do,
// goes before both as soon as the step that runs has ended.
// Run it with: build/release/apps/29_shares --shards 1
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/toolkit/scheduling_groups.hpp>
#include <skerry/toolkit/time/precise_sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <fmt/core.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

/// Counts until `end`, in steps of some microseconds.
task<std::uint64_t> count_until(clock::time_point end) {
  std::uint64_t steps = 0;
  while (clock::now() < end) {
    for (int i = 0; i < 1000; ++i) asm volatile("");
    ++steps;
    co_await yield();
  }
  co_return steps;
}

task<> run() {
  const auto much = co_await create_scheduling_group("much", 900);
  const auto little = co_await create_scheduling_group("little", 100);
  const auto replies = co_await create_scheduling_group("replies", 100, 500us);

  const auto end = clock::now() + 200ms;
  auto first = spawn(count_until(end), "count", much);
  auto second = spawn(count_until(end), "count", little);
  auto waits = [end]() -> task<std::chrono::nanoseconds> {
    std::chrono::nanoseconds latest{0};
    while (clock::now() < end) {
      const auto due = clock::now() + 2ms;
      co_await precise_sleep_until(due);
      latest = std::max(latest, clock::read() - due);
    }
    co_return latest;
  };
  auto third = spawn(waits, "reply", replies);

  const auto a = co_await first, b = co_await second;
  const auto late = std::chrono::duration_cast<std::chrono::microseconds>(co_await third);
  fmt::print("much took {} steps and little {}; nobody waited for replies for more than {}us\n", a, b, late.count());
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("29_shares").run(argc, argv, run); }
