// SPDX-License-Identifier: Apache-2.0
// What a deadline costs that does not come.
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;

constexpr benchmark::IterationCount batch = 1024;

task<int> ready(int n) { co_return n; }

void BM_with_timeout(benchmark::State& state) {
  block_on([&state]() -> task<> {
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) {
        benchmark::DoNotOptimize(co_await with_timeout(std::chrono::seconds(1), ready(i)));
      }
    }
  });
}
BENCHMARK(BM_with_timeout);

}  // namespace
