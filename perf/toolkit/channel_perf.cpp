// SPDX-License-Identifier: Apache-2.0
// What an item costs that goes through a local channel when nobody has to wait, and what a hand-over between two tasks
// costs.
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/channel/channel.hpp>

#include <cstddef>
#include <cstdint>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;

// The loop's own bookkeeping would be a tenth of what is measured.
constexpr benchmark::IterationCount batch = 1024;

void send_and_receive(benchmark::State& state, auto bound) {
  block_on([&state, bound]() -> task<> {
    channel<std::uint64_t> c(bound);
    while (state.KeepRunningBatch(batch)) {
      for (std::uint64_t i = 0; i < batch; ++i) {
        co_await c.send(i);
        benchmark::DoNotOptimize(co_await c.recv());
      }
    }
  });
}
void BM_channel_send_recv(benchmark::State& state) { send_and_receive(state, std::size_t{16}); }
BENCHMARK(BM_channel_send_recv);
void BM_unbounded_channel_send_recv(benchmark::State& state) { send_and_receive(state, unbounded); }
BENCHMARK(BM_unbounded_channel_send_recv);

// One task sends, another receives, and each waits for the other once per filled channel.
void BM_channel_between_two_tasks(benchmark::State& state) {
  block_on([&state]() -> task<> {
    channel<std::uint64_t> c(static_cast<std::size_t>(state.range(0)));
    auto receiver = spawn([&c]() -> task<> {
      while (auto item = co_await c.recv()) benchmark::DoNotOptimize(*item);
    });
    while (state.KeepRunningBatch(batch)) {
      for (std::uint64_t i = 0; i < batch; ++i) co_await c.send(i);
    }
    c.close();
    co_await receiver;
  });
}
BENCHMARK(BM_channel_between_two_tasks)->Arg(1)->Arg(64);

}  // namespace
