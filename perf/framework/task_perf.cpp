// SPDX-License-Identifier: Apache-2.0
// What tasks cost: spawning and joining one, awaiting one that is ready, and going round the run queue.
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;

// The loop's own bookkeeping would be a tenth of what is measured.
constexpr benchmark::IterationCount batch = 1024;

task<int> ready(int n) { co_return n; }

void BM_spawn_join(benchmark::State& state) {
  block_on([&state]() -> task<> {
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await spawn(ready(i)));
    }
  });
}
BENCHMARK(BM_spawn_join);

void BM_ready_co_await(benchmark::State& state) {
  block_on([&state]() -> task<> {
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await ready(i));
    }
  });
}
BENCHMARK(BM_ready_co_await);

void BM_yield(benchmark::State& state) {
  block_on([&state]() -> task<> {
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) co_await yield();
    }
  });
}
BENCHMARK(BM_yield);

}  // namespace
