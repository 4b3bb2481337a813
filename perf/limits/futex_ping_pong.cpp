// SPDX-License-Identifier: Apache-2.0
// The limit of waking a thread that sleeps, by whatever means: two pinned threads wake each other by a private futex
// and sleep on one. A round trip is two wakes, two waits and four context switches. It is less than wake_ping_pong by
// what io_uring's completion path takes, and no shard can reach it, because a shard sleeps where its completions
// arrive.
//
//     build/release/perf/futex_ping_pong [CPU CPU]
//     {"us": 40.0, "best_us": 35.0}      the median and the best of 100 pieces of 50 round trips
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int pieces = 100, round_trips = 50, total = pieces * round_trips;

/// Counts the wakes for one side. Written by the other, release: what it wrote before is seen by who reads the count
/// (acquire). A line of its own, or the two sides would also share a line.
struct alignas(64) side {
  std::atomic<std::uint32_t> wakes{0};
};

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    std::fprintf(stderr, "futex_ping_pong: CPU %d is not there; name two that are\n", cpu);
    std::exit(1);
  }
}

void call(side& s, int what, std::uint32_t value) {
  if (syscall(SYS_futex, &s.wakes, what, value, nullptr, nullptr, 0) >= 0 || errno == EAGAIN || errno == EINTR) return;
  std::fprintf(stderr, "futex_ping_pong: futex: %s\n", std::strerror(errno));
  std::exit(1);
}

void wake(side& s) {
  s.wakes.fetch_add(1, std::memory_order_release);
  call(s, FUTEX_WAKE_PRIVATE, 1);
}

void sleep_until(side& s, std::uint32_t count) {
  while (s.wakes.load(std::memory_order_acquire) != count) call(s, FUTEX_WAIT_PRIVATE, count - 1);
}

}  // namespace

int main(int argc, char** argv) {
  const int here = argc == 3 ? std::atoi(argv[1]) : 0;
  const int there = argc == 3 ? std::atoi(argv[2]) : 1;
  static side a, b;
  pin(here);
  std::thread echo([there] {
    pin(there);
    for (std::uint32_t i = 1; i <= total; ++i) {
      sleep_until(b, i);
      wake(a);
    }
  });
  std::array<double, pieces> us{};
  std::uint32_t count = 0;
  for (double& piece : us) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < round_trips; ++i) {
      wake(b);
      sleep_until(a, ++count);
    }
    piece = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / round_trips;
  }
  echo.join();
  std::ranges::sort(us);
  std::printf("{\"us\": %.2f, \"best_us\": %.2f}\n", us[pieces / 2], us[0]);
}
