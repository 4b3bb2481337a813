// SPDX-License-Identifier: Apache-2.0
// How late precise_sleep_for(100us) is on a shard with nothing else to do: the kernel's wake-up, mostly. The limit is a
// thread that sleeps in clock_nanosleep.
#include <skerry/framework/clock.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/time/precise_sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <vector>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;
constexpr std::chrono::microseconds nap{100};

void report(benchmark::State& state, std::vector<double>& micros) {
  const auto middle = micros.begin() + static_cast<std::ptrdiff_t>(micros.size() / 2);
  std::nth_element(micros.begin(), middle, micros.end());
  state.counters["late_p50_us"] = *middle;
}

double micros_since(clock::time_point when) {
  return std::chrono::duration<double, std::micro>(clock::read() - when).count();
}

void BM_precise_sleep(benchmark::State& state) {
  std::vector<double> late;
  block_on([&]() -> task<> {
    while (state.KeepRunning()) {
      const clock::time_point deadline = clock::read() + nap;
      co_await precise_sleep_until(deadline);
      late.push_back(micros_since(deadline));
    }
  });
  report(state, late);
}
BENCHMARK(BM_precise_sleep)->UseRealTime();

void BM_clock_nanosleep(benchmark::State& state) {
  std::vector<double> late;
  while (state.KeepRunning()) {
    const clock::time_point deadline = clock::read() + nap;
    const auto ns = deadline.time_since_epoch().count();
    const timespec until{ns / 1'000'000'000, ns % 1'000'000'000};
    ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
    late.push_back(micros_since(deadline));
  }
  report(state, late);
}
BENCHMARK(BM_clock_nanosleep)->UseRealTime();

}  // namespace
