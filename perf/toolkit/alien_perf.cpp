// SPDX-License-Identifier: Apache-2.0
// What a thread that is no shard pays to reach one: a call and its future while both sleep in between, the same while
// the shard spins, and a post. The thread and the shard are pinned to the first two CPUs that this process may use.
// Each is the median of pieces, as eventfd_ping_pong's is, so that what else the machine does hits a minority of them.
#include <skerry/framework/clock.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/toolkit/alien/alien.hpp>
#include <skerry/toolkit/alien/embedded.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <latch>
#include <thread>

#include <benchmark/benchmark.h>
#include <sched.h>
#include <shards/counted_heap.hpp>
#include <shards/two_shards.hpp>

namespace {

using namespace skerry;

constexpr int pieces = 100;

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
    cpu_set_t mine;
    CPU_ZERO(&mine);
    for (const place& each : two.shards) CPU_SET(each.cpus.front(), &mine);
    sched_setaffinity(0, sizeof mine, &mine);  // an earlier run's thread may have left one
    alien::embedded_app shard(options);
    shard.start();
    CPU_ZERO(&mine);
    CPU_SET(two.shards[0].cpus.front(), &mine);
    sched_setaffinity(0, sizeof mine, &mine);
    body(shard.door());
  }).join();
}

/// The median, over pieces, of the nanoseconds that each of `count` operations takes.
template <class Before, class Piece>
double median_ns(int count, Before&& before, Piece&& piece) {
  std::array<double, pieces> ns{};
  for (double& each : ns) {
    before();
    const clock::time_point start = clock::read();
    piece();
    each = static_cast<double>((clock::read() - start).count()) / count;
  }
  std::ranges::nth_element(ns, ns.begin() + pieces / 2);
  return ns[pieces / 2];
}

void round_trips(benchmark::State& state, std::chrono::microseconds idle_spin) {
  constexpr int trips = 50;
  run_beside_a_shard(idle_spin, [&state](alien::entry& door) {
    int n = 0;
    double ns = 0;
    auto go = [&] {
      for (int i = 0; i < trips; ++i) n = alien::submit_to(door, 0, [](int given) { return given + 1; }, n).get();
    };
    for (auto _ : state) ns = median_ns(trips, [] {}, go);
    state.counters["us"] = ns / 1000;
  });
}

void alien_round_trip(benchmark::State& state) { round_trips(state, std::chrono::microseconds(0)); }
BENCHMARK(alien_round_trip)->UseRealTime();

void alien_round_trip_awake(benchmark::State& state) { round_trips(state, std::chrono::seconds(1)); }
BENCHMARK(alien_round_trip_awake)->UseRealTime();

// Each piece begins when the shard has answered, and so is awake. Before the first, more are on their way at once than
// ever can be in one, since the shard waits: what they take is not counted.
void alien_post(benchmark::State& state) {
  constexpr int posts = 2000;
  run_beside_a_shard(std::chrono::seconds(1), [&state](alien::entry& door) {
    struct alignas(64) tally {  // the shard writes to it: not to a line that the thread needs
      std::uint64_t n = 0;
    } seen;
    auto count = [](borrowed<tally> of) { ++of->n; };
    double ns = 0;
    std::uint64_t allocated = 0, posted = 0;
    auto answer = [&] { alien::submit_to(door, 0, [] {}).get(); };
    auto go = [&] {
      const std::uint64_t before = perf::allocations();
      for (int i = 0; i < posts; ++i) benchmark::DoNotOptimize(alien::post(door, 0, count, borrowed(seen)));
      allocated += perf::allocations() - before;
      posted += posts;
    };
    std::latch on_their_way(1);
    benchmark::DoNotOptimize(
        alien::post(door, 0, [](borrowed<std::latch> all) { all->wait(); }, borrowed(on_their_way)));
    go();
    go();
    on_their_way.count_down();
    allocated = posted = 0;
    for (auto _ : state) ns = median_ns(posts, answer, go);
    answer();
    state.counters["ns"] = ns;
    state.counters["allocations"] = static_cast<double>(allocated) / static_cast<double>(posted);
  });
}
BENCHMARK(alien_post)->UseRealTime();

}  // namespace
