// SPDX-License-Identifier: Apache-2.0
// What a message costs that nobody waits for: from one shard to another, both awake, its outbox bounded, and home
// again, where its memory is used for the next.
#include <skerry/toolkit/flow/post_to.hpp>

#include <chrono>
#include <cstdint>

#include <benchmark/benchmark.h>
#include <shards/counted_heap.hpp>
#include <shards/two_shards.hpp>

namespace {

using namespace skerry;
constexpr benchmark::IterationCount batch = 1024;

task<> post_a_batch() {
  for (std::uint64_t i = 0; i < batch; ++i) {
    co_await skerry::post_to(1, [](std::uint64_t n) { benchmark::DoNotOptimize(n); }, i);
  }
}

task<> post_on_and_on(benchmark::State& state) {
  for (int i = 0; i < 64; ++i) co_await post_a_batch();  // until the outbox has been full
  const std::uint64_t before = perf::allocations();
  while (state.KeepRunningBatch(batch)) co_await post_a_batch();
  const std::uint64_t after = perf::allocations();
  state.counters["allocations"] = static_cast<double>(after - before) / static_cast<double>(state.iterations());
}

void post_to(benchmark::State& state) {
  perf::run_two_shards(std::chrono::seconds(1), [&state] { return post_on_and_on(state); });
}
BENCHMARK(post_to)->UseRealTime();

}  // namespace
