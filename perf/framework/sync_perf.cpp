// SPDX-License-Identifier: Apache-2.0
// What local primitives cost when nobody has to wait.
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;

// The loop's own bookkeeping would be a tenth of what is measured.
constexpr benchmark::IterationCount batch = 1024;

void BM_mutex_lock_unlock(benchmark::State& state) {
  block_on([&state]() -> task<> {
    mutex m;
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) {
        units held = co_await m.lock();
        benchmark::ClobberMemory();
      }
    }
  });
}
BENCHMARK(BM_mutex_lock_unlock);

void BM_semaphore_acquire_release(benchmark::State& state) {
  block_on([&state]() -> task<> {
    semaphore s(8);
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) {
        units held = co_await s.acquire(2);
        benchmark::ClobberMemory();
      }
    }
  });
}
BENCHMARK(BM_semaphore_acquire_release);

}  // namespace
