// SPDX-License-Identifier: Apache-2.0
// The limit of a submit_to round trip between two shards that are awake: two threads, each pinned to a CPU and spinning
// on a bare boost::lockfree::spsc_queue, pass one pointer back and forth. Nothing shorter exists on this queue: a round
// trip is two pushes and two pops, and what it costs is the cache lines that must move (the index and the slot, each
// way).
//
// Beside it stands what a call needs on top, one thing at a time: the line of the message, written on both sides, and a
// bell, one word in which a thread looks for all who may send to it, however many they are.
//
// Compare only within one run, over many rounds: a hypervisor that moves virtual CPUs between cores changes this from
// 70 to 220 to 830 ns from one second to the next. Pieces are short, so that a piece during which the machine ran
// something else is one of a minority.
//
//     build/release/perf/spsc_ping_pong [CPU CPU]
//     {"ns": 180.0, "best_ns": 170.0, "message_ns": 200.0, "bell_ns": 360.0}      medians of 400 pieces of 1000 round
//     trips
#include <algorithm>
#include <array>
#include <atomic>
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

enum class with { nothing, message, message_and_bell };

struct alignas(64) message {
  int number = 0;
};
struct mailbox {
  queue entries;
  alignas(64) std::atomic<unsigned> bell{0};
};

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    std::fprintf(stderr, "spsc_ping_pong: CPU %d is not there; name two that are\n", cpu);
    std::exit(1);
  }
}

template <with What>
void put(mailbox& to, void* item) {
  to.entries.push(item);
  if constexpr (What == with::message_and_bell) to.bell.fetch_or(1);
}

template <with What>
void* take(mailbox& from) {
  void* item = nullptr;
  while (true) {
    if constexpr (What == with::message_and_bell) {
      if (from.bell.load(std::memory_order_relaxed) == 0) continue;
      from.bell.exchange(0);
    }
    if (from.entries.pop(item)) return item;
  }
}

struct times {
  double median;
  double best;
};

template <with What>
times measure(int here, int there) {
  mailbox request, reply;
  pin(here);
  std::thread echo([&, there] {
    pin(there);
    while (void* item = take<What>(request)) {
      if constexpr (What != with::nothing) ++static_cast<message*>(item)->number;
      put<What>(reply, item);
    }
  });
  message sent;
  std::array<double, pieces> ns{};
  for (double& piece : ns) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < round_trips; ++i) {
      if constexpr (What != with::nothing) sent.number = i;
      put<What>(request, &sent);
      take<What>(reply);
      if (What != with::nothing && sent.number != i + 1) std::abort();
    }
    piece = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / round_trips;
  }
  put<What>(request, nullptr);
  echo.join();
  std::ranges::sort(ns);
  return {ns[pieces / 2], ns[0]};
}

}  // namespace

int main(int argc, char** argv) {
  const int here = argc == 3 ? std::atoi(argv[1]) : 0;
  const int there = argc == 3 ? std::atoi(argv[2]) : 1;
  const times bare = measure<with::nothing>(here, there);
  std::printf("{\"ns\": %.2f, \"best_ns\": %.2f, \"message_ns\": %.2f, \"bell_ns\": %.2f}\n", bare.median, bare.best,
              measure<with::message>(here, there).median, measure<with::message_and_bell>(here, there).median);
}
