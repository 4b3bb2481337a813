// SPDX-License-Identifier: Apache-2.0
// The limit of a stream of pointers from one shard to another: one pinned thread pushes into a bare
// boost::lockfree::spsc_queue in batches, another pops and reads nothing but the pointer. Nothing comes back, so unlike
// spsc_batches no message moves: what is left is an eighth of a line of pointers and the index updates of the batch.
//
//     build/release/perf/spsc_stream [CPU CPU]
//     {"ns": 1.2, "best_ns": 1.0}      per pointer: the median and the best of 400 pieces of 50 000
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <boost/lockfree/spsc_queue.hpp>
#include <pthread.h>
#include <sched.h>

namespace {

constexpr std::size_t capacity = 1023, batch_max = 64;
constexpr std::uint64_t pieces = 400, per_piece = 50'000, total = pieces * per_piece;

using queue = boost::lockfree::spsc_queue<std::uint64_t, boost::lockfree::capacity<capacity>>;
using batch = std::array<std::uint64_t, batch_max>;

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    std::fprintf(stderr, "spsc_stream: CPU %d is not there; name two that are\n", cpu);
    std::exit(1);
  }
}

void produce(queue& to) {
  batch some{};
  for (std::uint64_t next = 0; next < total;) {
    const auto count = std::min<std::uint64_t>(batch_max, total - next);
    for (std::uint64_t i = 0; i < count; ++i) some[i] = next + i;
    for (std::size_t pushed = 0; pushed < count;) pushed += to.push(some.data() + pushed, count - pushed);
    next += count;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int here = argc == 3 ? std::atoi(argv[1]) : 0;
  const int there = argc == 3 ? std::atoi(argv[2]) : 1;
  static queue items;
  pin(here);
  std::thread producer([there] {
    pin(there);
    produce(items);
  });
  std::array<double, pieces> ns{};
  batch some{};
  std::uint64_t expected = 0, wrong = 0, end = 0;
  for (double& piece : ns) {
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t first = expected;
    end += per_piece;
    while (expected < end) {
      const std::size_t count = items.pop(some.data(), batch_max);
      for (std::size_t i = 0; i < count; ++i) wrong += some[i] != expected++;
    }
    piece = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() /
            static_cast<double>(expected - first);
  }
  producer.join();
  std::ranges::sort(ns);
  std::printf("{\"ns\": %.2f, \"best_ns\": %.2f}\n", ns[pieces / 2], ns[0]);
  return wrong == 0 ? 0 : 1;
}
