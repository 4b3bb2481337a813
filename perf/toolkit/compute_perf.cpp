// SPDX-License-Identifier: Apache-2.0
// What the compute pool costs: forks that do next to nothing, a sum in pieces, and a job's way there and back. Two
// workers on the CPUs that this process may use; the shard sleeps meanwhile. As in the peer's program, the median of so
// many rounds is what counts ("ms"): a round in which somebody else had one of the CPUs says nothing of either.
#include <skerry/framework/clock.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/pool/parallel.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <vector>

#include <benchmark/benchmark.h>
#include <toolkit/compute_work.hpp>

namespace {

using namespace skerry;

void run_beside_workers(const std::function<task<>()>& body) {
  compute_options threads;
  threads.threads = perf::compute_threads;
  app_options options;
  options.shards = 1;
  options.log_level = "error";
  placement where;
  where.shards.resize(1);  // nowhere in particular
  where.count_reason = where.pin_reason = "benchmark";
  host machine(options, where);
  machine.run(
      [&]() -> task<> {
        co_await start_compute(threads);
        co_await body();
      },
      true);
}

/// Runs `round` for each iteration and reports the median of what they took.
template <class Round>
task<> median_of(benchmark::State& state, Round round) {
  std::vector<double> ms;
  ms.reserve(static_cast<std::size_t>(state.max_iterations));
  while (state.KeepRunning()) {
    const clock::time_point before = clock::read();
    co_await round();
    ms.push_back(std::chrono::duration<double, std::milli>(clock::read() - before).count());
  }
  const auto middle = ms.begin() + static_cast<std::ptrdiff_t>(ms.size() / 2);
  std::nth_element(ms.begin(), middle, ms.end());
  state.counters["ms"] = *middle;
}

long fib(compute_worker& here, int n) {
  if (n < 2) return n;
  auto [a, b] =
      here.join([n](compute_worker& on) { return fib(on, n - 1); }, [n](compute_worker& on) { return fib(on, n - 2); });
  return a + b;
}

void compute_fib(benchmark::State& state) {
  run_beside_workers([&state] {
    return median_of(state, []() -> task<> {
      const long got = co_await compute([](compute_worker& here, int n) { return fib(here, n); }, perf::fib_of);
      if (got != perf::fib_is) std::abort();
    });
  });
}
BENCHMARK(compute_fib)->UseRealTime()->Iterations(3)->Unit(benchmark::kMillisecond);

void compute_reduce(benchmark::State& state) {
  run_beside_workers([&state] {
    return median_of(state, []() -> task<> {
      const double pi = co_await compute([](compute_worker& here) {
        return parallel_reduce(here, 0, perf::reduce_over, perf::reduce_grain, perf::add_terms, std::plus<>());
      });
      if (std::abs(pi - 3.1415926) > 1e-6) std::abort();
    });
  });
}
BENCHMARK(compute_reduce)->UseRealTime()->Iterations(15)->Unit(benchmark::kMillisecond);

void compute_round_trip(benchmark::State& state) {
  run_beside_workers([&state]() -> task<> {
    int n = 0;
    while (state.KeepRunning()) n = co_await compute([](int given) { return given + 1; }, n);
  });
}
BENCHMARK(compute_round_trip)->UseRealTime();

void blocking_round_trip(benchmark::State& state) {
  run_beside_workers([&state]() -> task<> {
    int n = 0;
    while (state.KeepRunning()) n = co_await blocking([](int given) { return given + 1; }, n);
  });
}
BENCHMARK(blocking_round_trip)->UseRealTime();

}  // namespace
