// SPDX-License-Identifier: Apache-2.0
// What an item costs that goes through a channel to another shard, both awake: the sender waits for places, the
// receiver for items, so it is the slower of the two.
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/channel.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/shards/submit_to.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;
constexpr benchmark::IterationCount batch = 1024;

void run_two_shards(const std::function<task<>()>& main) {
  app_options options;
  options.shards = 2;
  options.log_level = "error";  // a benchmark is one long step
  options.idle_spin = std::chrono::seconds(1);
  placement where;
  where.shards = {place{{0}, {}}, place{{1}, {}}};
  where.pinned = true;
  where.count_reason = where.pin_reason = "benchmark";
  host machine(options, where);
  machine.run(main, true);
}

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
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await from.recv());
  }
  from.close();
  co_await feeding;
}

void BM_spsc_channel(benchmark::State& state) {
  run_two_shards([&state] { return receive<spsc_channel<std::uint64_t>>(state); });
}
BENCHMARK(BM_spsc_channel)->Arg(1024)->UseRealTime();

void BM_mpsc_channel(benchmark::State& state) {
  run_two_shards([&state] { return receive<mpsc_channel<std::uint64_t>>(state); });
}
BENCHMARK(BM_mpsc_channel)->Arg(1024)->UseRealTime();

}  // namespace
