// SPDX-License-Identifier: Apache-2.0
// The limit of a submit_to round trip between two shards that are awake: two threads, each pinned to a CPU and spinning
// on a bare boost::lockfree::spsc_queue, pass one pointer back and forth. Nothing shorter exists on this queue: a round
// trip is two pushes and two pops, and what it costs is the cache lines that must move (the index and the slot, each
// way).
//
// Compare only within one run, over many rounds: a hypervisor that moves virtual CPUs between cores changes this from
// 70 to 220 to 830 ns from one second to the next. Pieces are short, so that a piece during which the machine ran
// something else is one of a minority.
//
//     build/release/perf/spsc_ping_pong [CPU CPU]
//     {"ns": 180.0, "best_ns": 170.0}      the median and the best of 400 pieces of 1000 round trips
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <boost/lockfree/spsc_queue.hpp>
#include <pthread.h>
#include <sched.h>

namespace {

using queue = boost::lockfree::spsc_queue<void*, boost::lockfree::capacity<127>>;
constexpr int pieces = 400, round_trips = 1'000;

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    std::fprintf(stderr, "spsc_ping_pong: CPU %d is not there; name two that are\n", cpu);
    std::exit(1);
  }
}

void* take(queue& from) {
  void* item = nullptr;
  while (!from.pop(item)) {
  }
  return item;
}

}  // namespace

int main(int argc, char** argv) {
  const int here = argc == 3 ? std::atoi(argv[1]) : 0;
  const int there = argc == 3 ? std::atoi(argv[2]) : 1;
  static queue request, reply;
  pin(here);
  std::thread echo([there] {
    pin(there);
    while (void* item = take(request)) reply.push(item);
  });
  int message = 0;
  std::array<double, pieces> ns{};
  for (double& piece : ns) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < round_trips; ++i) {
      request.push(&message);
      take(reply);
    }
    piece = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / round_trips;
  }
  request.push(nullptr);
  echo.join();
  std::ranges::sort(ns);
  std::printf("{\"ns\": %.2f, \"best_ns\": %.2f}\n", ns[pieces / 2], ns[0]);
}
