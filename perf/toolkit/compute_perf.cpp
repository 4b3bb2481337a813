// SPDX-License-Identifier: Apache-2.0
// What the compute pool costs: forks that do next to nothing, a sum in pieces, and a job's way there and back. Two
// workers on the CPUs that this process may use; the shard sleeps meanwhile.
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/pool/parallel.hpp>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <functional>

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

long fib(compute_worker& here, int n) {
  if (n < 2) return n;
  auto [a, b] =
      here.join([n](compute_worker& on) { return fib(on, n - 1); }, [n](compute_worker& on) { return fib(on, n - 2); });
  return a + b;
}

void compute_fib(benchmark::State& state) {
  run_beside_workers([&state]() -> task<> {
    while (state.KeepRunning()) {
      const long got = co_await compute([](compute_worker& here, int n) { return fib(here, n); }, perf::fib_of);
      if (got != perf::fib_is) std::abort();
    }
  });
}
BENCHMARK(compute_fib)->UseRealTime()->Unit(benchmark::kMillisecond);

void compute_reduce(benchmark::State& state) {
  run_beside_workers([&state]() -> task<> {
    auto sum = [](compute_worker& here) {
      return parallel_reduce(here, 0, perf::reduce_over, perf::reduce_grain, perf::add_terms, std::plus<>());
    };
    while (state.KeepRunning()) {
      const double pi = co_await compute(sum);
      if (std::abs(pi - 3.1415926) > 1e-6) std::abort();
    }
  });
}
BENCHMARK(compute_reduce)->UseRealTime()->Unit(benchmark::kMillisecond);

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
