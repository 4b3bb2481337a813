// SPDX-License-Identifier: Apache-2.0
// What an item costs that goes through a channel to another shard, both awake: the sender waits for places, the
// receiver for items, so it is the slower of the two. `allocations` are those of both, per item.
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/channel/shard_channel.hpp>

#include <chrono>
#include <cstdint>
#include <utility>

#include <benchmark/benchmark.h>
#include <shards/counted_heap.hpp>
#include <shards/two_shards.hpp>

namespace {

using namespace skerry;
constexpr benchmark::IterationCount batch = 1024;

task<> feed(channel_sender<std::uint64_t> to) {
  auto send_on_and_on = [](channel_sender<std::uint64_t> there) -> task<> {
    for (std::uint64_t n = 0; co_await there.send(n); ++n) {
    }
  };
  co_await submit_to(1, send_on_and_on, std::move(to));
}

template <class Channel>
task<> receive(benchmark::State& state) {
  Channel from(static_cast<std::size_t>(state.range(0)));
  auto feeding = spawn(feed(from.sender()));
  for (int i = 0; i < 64 * batch; ++i) benchmark::DoNotOptimize(co_await from.recv());  // until it has been full
  const std::uint64_t before = perf::allocations();
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await from.recv());
  }
  const std::uint64_t after = perf::allocations();
  state.counters["allocations"] = static_cast<double>(after - before) / static_cast<double>(state.iterations());
  from.close();
  co_await feeding;
}

void BM_spsc_channel(benchmark::State& state) {
  perf::run_two_shards(std::chrono::seconds(1), [&state] { return receive<spsc_channel<std::uint64_t>>(state); });
}
BENCHMARK(BM_spsc_channel)->Arg(1024)->UseRealTime();

void BM_mpsc_channel(benchmark::State& state) {
  perf::run_two_shards(std::chrono::seconds(1), [&state] { return receive<mpsc_channel<std::uint64_t>>(state); });
}
BENCHMARK(BM_mpsc_channel)->Arg(1024)->UseRealTime();

}  // namespace
