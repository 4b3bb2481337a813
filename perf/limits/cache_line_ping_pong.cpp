// SPDX-License-Identifier: Apache-2.0
// The limit of any communication between two cores: one word that two pinned threads write in turn, each as soon as it
// sees the other's value. A round trip moves one cache line there and back. spsc_ping_pong beside it moves a slot and
// an index each way, partly at the same time (1.4 times this), so the two tell the queue's price from the machine's.
//
//     build/release/perf/cache_line_ping_pong [CPU CPU]
//     {"ns": 110.0, "best_ns": 90.0}      the median and the best of 400 pieces of 1000 round trips
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <pthread.h>
#include <sched.h>

namespace {

constexpr int pieces = 400, round_trips = 1'000;
constexpr std::uint64_t last = std::uint64_t{2} * pieces * round_trips;

/// Even values are written by the main thread, odd ones by the other. Relaxed: nothing but the word itself is passed.
struct alignas(64) line {
  std::atomic<std::uint64_t> turn{0};
};

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    std::fprintf(stderr, "cache_line_ping_pong: CPU %d is not there; name two that are\n", cpu);
    std::exit(1);
  }
}

void wait_for(const line& shared, std::uint64_t turn) {
  while (shared.turn.load(std::memory_order_relaxed) != turn) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int here = argc == 3 ? std::atoi(argv[1]) : 0;
  const int there = argc == 3 ? std::atoi(argv[2]) : 1;
  static line shared;
  pin(here);
  std::thread echo([there] {
    pin(there);
    for (std::uint64_t turn = 1; turn < last; turn += 2) {
      wait_for(shared, turn);
      shared.turn.store(turn + 1, std::memory_order_relaxed);
    }
  });
  std::array<double, pieces> ns{};
  std::uint64_t turn = 0;
  for (double& piece : ns) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < round_trips; ++i) {
      shared.turn.store(++turn, std::memory_order_relaxed);
      wait_for(shared, ++turn);
    }
    piece = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / round_trips;
  }
  echo.join();
  std::ranges::sort(ns);
  std::printf("{\"ns\": %.2f, \"best_ns\": %.2f}\n", ns[pieces / 2], ns[0]);
}
