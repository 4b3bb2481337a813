// SPDX-License-Identifier: Apache-2.0
// How fast a simulation is: CPU time per step (a turn of a shard, an event of the world) and per hour of virtual time,
// of the key-value server on eight shards with three clients, and of the same server for a day with nothing to do.
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>

#include <benchmark/benchmark.h>
#include <support/kv_load.hpp>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

using kv_load::be_client;
using kv_load::serve;

sim::report run_server(std::uint64_t seed, clock::duration loaded, clock::duration idle) {
  sim::options o;
  o.seed = seed;
  o.steps_max = std::numeric_limits<std::uint64_t>::max();
  return sim::run(o, [=]() -> task<> {
    sim::host_handle server = sim::host("server", 8);
    server.start(serve);
    co_await sleep_for(10ms);
    for (int i = 0; i < 3; ++i) {
      sim::host_handle client = sim::host("client" + std::to_string(i));
      client.start([ip = server.ip(), loaded] { return be_client(ip, loaded); }, true);
    }
    for (int i = 0; i < 3; ++i) co_await sim::host("client" + std::to_string(i)).ended();
    co_await sleep_for(idle);
    server.stop();
    co_await server.ended();
  });
}

void BM_loaded_server(benchmark::State& state) {
  std::uint64_t steps = 0, seed = 0;
  double virtual_seconds = 0;
  for (auto _ : state) {
    const sim::report made = run_server(++seed, 10s, 0s);
    if (!made.ok()) return state.SkipWithError(made.violation.c_str());
    steps += made.steps;
    virtual_seconds += std::chrono::duration<double>(made.virtual_time).count();
  }
  const auto time_per = benchmark::Counter::kIsRate | benchmark::Counter::kInvert;
  state.counters["ns_per_step"] = benchmark::Counter(static_cast<double>(steps) / 1e9, time_per);
  state.counters["cpu_s_per_hour"] = benchmark::Counter(virtual_seconds / 3600, time_per);
}
BENCHMARK(BM_loaded_server);

void BM_idle_day(benchmark::State& state) {
  std::uint64_t seed = 0;
  for (auto _ : state) {
    const sim::report made = run_server(++seed, 1s, 24h);
    if (!made.ok()) return state.SkipWithError(made.violation.c_str());
  }
}
BENCHMARK(BM_idle_day);

}  // namespace
