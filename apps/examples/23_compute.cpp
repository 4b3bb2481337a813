// SPDX-License-Identifier: Apache-2.0
// compute(fn): what takes long runs on threads beside the shards, which share it by stealing; the shards go on
// answering. Run it with: build/release/apps/23_compute --compute-threads 2
#include <skerry/shards/app.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/pool/parallel.hpp>

#include <cstddef>
#include <functional>

#include <fmt/core.h>

namespace {

using namespace skerry;

/// A part of it is put aside for whoever has nothing to do. (Small parts are quicker done than shared.)
long fib(compute_worker& here, int n) {
  if (n < 20) return n < 2 ? n : fib(here, n - 1) + fib(here, n - 2);
  auto [a, b] =
      here.join([n](compute_worker& on) { return fib(on, n - 1); }, [n](compute_worker& on) { return fib(on, n - 2); });
  return a + b;
}

std::size_t count_primes(std::size_t from, std::size_t to) {
  std::size_t found = 0;
  for (std::size_t n = from < 2 ? 2 : from; n < to; ++n) {
    std::size_t divisor = 2;
    while (divisor * divisor <= n && n % divisor != 0) ++divisor;
    found += divisor * divisor > n;
  }
  return found;
}

task<> run(compute_options threads) {
  co_await start_compute(threads);
  const long f = co_await compute([](compute_worker& here, int n) { return fib(here, n); }, 30);
  fmt::print("fib(30) = {}\n", f);

  auto primes = [](compute_worker& here, std::size_t below) {
    return parallel_reduce(here, 0, below, 1000, count_primes, std::plus<>());
  };
  fmt::print("primes below 100000: {}\n", co_await compute(job_priority::low, primes, std::size_t{100'000}));
}

}  // namespace

int main(int argc, char** argv) {
  skerry::compute_options threads;  // made here, where this thread may still use all CPUs of the process
  threads.threads = 1;              // off by default
  skerry::app program("23_compute");
  threads.add_to(program.options());
  return program.run(argc, argv, [&threads] { return run(threads); });
}
