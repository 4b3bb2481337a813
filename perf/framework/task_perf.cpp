// SPDX-License-Identifier: Apache-2.0
// What tasks cost: spawning and joining one, awaiting one that is ready, going round the run queue, and waiting for
// several.
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>

#include <coroutine>

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

void BM_when_all_of_8_ready(benchmark::State& state) {
  block_on([&state]() -> task<> {
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) {
        benchmark::DoNotOptimize(
            co_await when_all(ready(1), ready(2), ready(3), ready(4), ready(5), ready(6), ready(7), ready(i)));
      }
    }
  });
}
BENCHMARK(BM_when_all_of_8_ready);

/// Waits until it is cancelled.
struct never final : detail::leaf {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept { suspend(resume_point); }
  void await_resume() const noexcept {}
  void let_go() noexcept override { wake(); }
  const char* describe() const noexcept override { return "never"; }
};

task<int> loses(int n) {
  co_await never();
  co_return n;
}

void BM_when_any_of_2_with_a_waiting_loser(benchmark::State& state) {
  block_on([&state]() -> task<> {
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await when_any(loses(1), ready(i)));
    }
  });
}
BENCHMARK(BM_when_any_of_2_with_a_waiting_loser);

void BM_when_any_of_2_with_an_unstarted_loser(benchmark::State& state) {
  block_on([&state]() -> task<> {
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await when_any(ready(i), loses(1)));
    }
  });
}
BENCHMARK(BM_when_any_of_2_with_an_unstarted_loser);

}  // namespace
