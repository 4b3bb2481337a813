// SPDX-License-Identifier: Apache-2.0
// The limit of a call from a foreign thread to a shard that sleeps: two pinned threads, each asleep in a read of its
// own eventfd, wake each other by a write to it. A round trip is two writes, two reads that wait and four context
// switches.
//
//     build/release/perf/eventfd_ping_pong [CPU CPU]
//     {"us": 40.0, "best_us": 35.0}      the median and the best of 100 pieces of 50 round trips
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace {

constexpr int pieces = 100, round_trips = 50, total = pieces * round_trips;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "eventfd_ping_pong: %s\n", what);
  std::exit(1);
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) give_up("no such CPU; name two that are there");
}

void wake(int bell) {
  const std::uint64_t one = 1;
  if (write(bell, &one, sizeof one) != sizeof one) give_up("write");
}

void sleep_on(int bell) {
  std::uint64_t rung = 0;
  if (read(bell, &rung, sizeof rung) != sizeof rung || rung != 1) give_up("read");
}

}  // namespace

int main(int argc, char** argv) {
  const int here = argc == 3 ? std::atoi(argv[1]) : 0;
  const int there = argc == 3 ? std::atoi(argv[2]) : 1;
  const int a = eventfd(0, EFD_CLOEXEC), b = eventfd(0, EFD_CLOEXEC);
  if (a < 0 || b < 0) give_up("eventfd");
  pin(here);
  std::thread echo([=] {
    pin(there);
    for (int i = 0; i < total; ++i) {
      sleep_on(b);
      wake(a);
    }
  });
  std::array<double, pieces> us{};
  for (double& piece : us) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < round_trips; ++i) {
      wake(b);
      sleep_on(a);
    }
    piece = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / round_trips;
  }
  echo.join();
  std::ranges::sort(us);
  std::printf("{\"us\": %.2f, \"best_us\": %.2f}\n", us[pieces / 2], us[0]);
}
