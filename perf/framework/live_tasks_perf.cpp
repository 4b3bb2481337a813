// SPDX-License-Identifier: Apache-2.0
// What a task costs among many that live at the same time: all are spawned, each waits, all are woken, and each ends.
// At a thousand the frames stay in the caches; at millions every step of a task is a few cache misses, and how many is
// what grows. `bytes` is the frame pool's memory per task: the spawned node, the frame, and what the slabs leave
// unused.
//
//     build/release/perf/live_tasks_perf --benchmark_filter=/1000000
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/toolkit/sync/gate.hpp>

#include <cstddef>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;

task<> wait_and_end(event& start, latch& ended) {
  co_await start.wait();
  ended.count_down();
}

task<> live_and_end(benchmark::State& state) {
  const auto count = static_cast<benchmark::IterationCount>(state.range(0));
  while (state.KeepRunningBatch(count)) {
    event start("the start");
    latch ended(static_cast<std::size_t>(count));
    for (benchmark::IterationCount i = 0; i < count; ++i) spawn(wait_and_end(start, ended));
    co_await yield();  // behind all of them: each has taken its first step and waits
    start.set();
    co_await ended.wait();
  }
  state.counters["bytes"] = static_cast<double>(stats().frame_bytes_reserved) / static_cast<double>(state.range(0));
}

void life_of_tasks(benchmark::State& state) {
  block_on([&state] { return live_and_end(state); });
}
BENCHMARK(life_of_tasks)->RangeMultiplier(10)->Range(1'000, 10'000'000);

}  // namespace
