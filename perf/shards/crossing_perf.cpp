// SPDX-License-Identifier: Apache-2.0
// What calls cost by the part of them that crosses to another shard: 256 in flight from one shard, of which so many in
// a hundred go to the second shard and the others stay. A call to the own shard runs there and then; so the line
// between the ends says what each per cent of crossing costs, and what batching takes back when much crosses. Two
// shards, each pinned to a CPU of its own.
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>

#include <chrono>
#include <cstdint>
#include <vector>

#include <benchmark/benchmark.h>
#include <shards/two_shards.hpp>

namespace {

using namespace skerry;

constexpr int in_flight = 256;
constexpr int calls_each = 64;

// Which calls cross is drawn anew for each, and not every fourth: neighbours in a batch must not march in step.
struct small_random {
  std::uint32_t state = 2463534242;
  std::uint32_t below(std::uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % limit;
  }
};

task<> call_on_and_on(small_random& random, std::uint32_t percent) {
  int n = 0;
  for (int i = 0; i < calls_each; ++i) {
    const shard_id target = random.below(100) < percent ? 1 : 0;
    n = co_await submit_to(target, [](int given) { return given + 1; }, n);
  }
}

task<> call_in_parallel(benchmark::State& state) {
  small_random random;
  const auto percent = static_cast<std::uint32_t>(state.range(0));
  std::vector<join_handle<>> callers(in_flight);
  while (state.KeepRunningBatch(in_flight * calls_each)) {
    for (auto& caller : callers) caller = spawn(call_on_and_on(random, percent));
    for (auto& caller : callers) co_await caller;
  }
  state.SetItemsProcessed(state.iterations());
}

void calls(benchmark::State& state) {
  perf::run_two_shards(std::chrono::seconds(1), [&state] { return call_in_parallel(state); });
}
BENCHMARK(calls)->ArgName("percent")->Arg(0)->Arg(5)->Arg(10)->Arg(25)->Arg(50)->Arg(75)->Arg(100)->UseRealTime();

}  // namespace
