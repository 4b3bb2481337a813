// SPDX-License-Identifier: Apache-2.0
// What a call to another shard costs: both awake, many in flight, the target asleep, the target busy. Two shards, each
// pinned to a CPU of its own, like the limits beside them.
#include <skerry/framework/clock.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <benchmark/benchmark.h>
#include <shards/counted_heap.hpp>
#include <shards/two_shards.hpp>

namespace {

using namespace skerry;
using perf::run_two_shards;

constexpr std::chrono::microseconds always = std::chrono::seconds(1);
constexpr std::chrono::microseconds never{0};

task<> warm_up() {
  for (int i = 0; i < 1000; ++i) co_await submit_to(1, [](int n) { return n; }, i);
}

task<> round_trips(benchmark::State& state) {
  co_await warm_up();
  const std::uint64_t before = perf::allocations();
  int n = 0;
  while (state.KeepRunning()) n = co_await submit_to(1, [](int given) { return given + 1; }, n);
  const std::uint64_t after = perf::allocations();
  state.counters["allocations"] = static_cast<double>(after - before) / static_cast<double>(state.iterations());
}

void BM_submit_to_round_trip(benchmark::State& state) {
  run_two_shards(always, [&state] { return round_trips(state); });
}
BENCHMARK(BM_submit_to_round_trip)->UseRealTime();

void BM_submit_to_sleeping(benchmark::State& state) {
  run_two_shards(never, [&state] { return round_trips(state); });
}
BENCHMARK(BM_submit_to_sleeping)->UseRealTime();

// Each of 256 tasks has one call in flight at a time; spawning them is a 64th of the calls.
constexpr int in_flight = 256;
constexpr int calls_each = 64;

task<> call_on_and_on() {
  int n = 0;
  for (int i = 0; i < calls_each; ++i) n = co_await submit_to(1, [](int given) { return given + 1; }, n);
}

void BM_submit_to_256_in_flight(benchmark::State& state) {
  run_two_shards(always, [&state]() -> task<> {
    co_await warm_up();
    std::vector<join_handle<>> callers(in_flight);
    while (state.KeepRunningBatch(in_flight * calls_each)) {
      for (auto& caller : callers) caller = spawn(call_on_and_on());
      for (auto& caller : callers) co_await caller;
    }
    const double per_batch = co_await submit_to(1, [] {
      const pair_stats seen = stats().received_from[0];
      return static_cast<double>(seen.requests) / static_cast<double>(std::max<std::uint64_t>(seen.batches, 1));
    });
    state.counters["per_batch"] = per_batch;
  });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_submit_to_256_in_flight)->UseRealTime();

// The busy shard's tasks, each a few microseconds of work between two yields.
struct busy_work {
  bool stop = false;
};
constexpr int busy_tasks = 100;

task<> work_and_yield(busy_work& work) {
  while (!work.stop) {
    for (int i = 0; i < 5000; ++i) benchmark::DoNotOptimize(i);
    co_await yield();
  }
}

void begin_work() {
  auto& work = resources().emplace<busy_work>();
  for (int i = 0; i < busy_tasks; ++i) spawn(work_and_yield(work));
}

task<> measure_each(benchmark::State& state) {
  co_await submit_to(1, [] { begin_work(); });
  std::vector<double> micros;
  micros.reserve(static_cast<std::size_t>(state.max_iterations));
  while (state.KeepRunning()) {
    const clock::time_point before = clock::read();
    co_await submit_to(1, [] {});
    micros.push_back(std::chrono::duration<double, std::micro>(clock::read() - before).count());
  }
  co_await submit_to(1, [] { resource<busy_work>().stop = true; });
  const auto rank = micros.begin() + static_cast<std::ptrdiff_t>(micros.size() * 99 / 100);
  std::nth_element(micros.begin(), rank, micros.end());
  state.counters["p99_us"] = *rank;
}

void BM_submit_to_busy(benchmark::State& state) {
  run_two_shards(always, [&state] { return measure_each(state); });
}
BENCHMARK(BM_submit_to_busy)->UseRealTime();

}  // namespace
