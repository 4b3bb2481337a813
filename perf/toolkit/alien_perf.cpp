// SPDX-License-Identifier: Apache-2.0
// What a thread that is no shard pays to reach one: a call and its future while both sleep in between, the same while
// the shard spins, and a post. The thread and the shard are pinned to the first two CPUs that this process may use.
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/toolkit/alien/alien.hpp>
#include <skerry/toolkit/alien/embedded.hpp>

#include <chrono>
#include <cstdint>
#include <thread>

#include <benchmark/benchmark.h>
#include <sched.h>
#include <shards/two_shards.hpp>

namespace {

using namespace skerry;

void pin_to(unsigned cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
}

/// `body(door)` on the first CPU beside a shard on the second, which spins for `idle_spin` before it sleeps.
template <class Fn>
void run_beside_a_shard(std::chrono::microseconds idle_spin, Fn body) {
  const placement& two = perf::first_two_cpus();
  std::thread([&] {
    app_options options;
    options.shards = 1;
    options.cpuset = format_cpu_list(two.shards[1].cpus);
    options.pin = pin_mode::on;
    options.idle_spin = idle_spin;
    options.log_level = "error";
    alien::embedded_app shard(options);
    shard.start();
    pin_to(two.shards[0].cpus.front());
    body(shard.door());
  }).join();
}

void round_trips(benchmark::State& state, std::chrono::microseconds idle_spin) {
  run_beside_a_shard(idle_spin, [&state](const alien::entry& door) {
    int n = 0;
    for (auto _ : state) n = alien::submit_to(door, 0, [](int given) { return given + 1; }, n).get();
  });
}

void alien_round_trip(benchmark::State& state) { round_trips(state, std::chrono::microseconds(0)); }
BENCHMARK(alien_round_trip)->UseRealTime();

void alien_round_trip_awake(benchmark::State& state) { round_trips(state, std::chrono::seconds(1)); }
BENCHMARK(alien_round_trip_awake)->UseRealTime();

// The shard keeps up: where it is `waiting_max` behind, the wait for it counts, too.
void alien_post(benchmark::State& state) {
  run_beside_a_shard(std::chrono::seconds(1), [&state](const alien::entry& door) {
    std::uint64_t seen = 0;
    auto count = [](borrowed<std::uint64_t> n) { ++*n; };
    for (auto _ : state) {
      while (!alien::post(door, 0, count, borrowed(seen))) std::this_thread::yield();
    }
    alien::submit_to(door, 0, [] {}).get();  // all have arrived
  });
}
BENCHMARK(alien_post)->UseRealTime();

}  // namespace
