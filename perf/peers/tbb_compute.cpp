// SPDX-License-Identifier: Apache-2.0
// The compute pool's work in oneTBB, two threads: each in the two ways that its interface offers for it, of which the
// faster counts. fib by parallel_invoke and by a task_group that runs one half and calls the other; the sum by
// parallel_reduce with its own partitioner and with pieces of the same grain.
//
//     taskset -c 0,1 build/release/perf/peer_tbb_compute
//     {"fib_ms": 700.00, "reduce_ms": 12.00}
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_invoke.h>
#include <oneapi/tbb/parallel_reduce.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_group.h>
#include <toolkit/compute_work.hpp>

namespace {

namespace tbb = oneapi::tbb;

long fib_by_invoke(int n) {
  if (n < 2) return n;
  long a = 0, b = 0;
  tbb::parallel_invoke([&a, n] { a = fib_by_invoke(n - 1); }, [&b, n] { b = fib_by_invoke(n - 2); });
  return a + b;
}

long fib_by_group(int n) {
  if (n < 2) return n;
  long b = 0;
  tbb::task_group group;
  group.run([&b, n] { b = fib_by_group(n - 2); });
  const long a = fib_by_group(n - 1);
  group.wait();
  return a + b;
}

template <class Partitioner>
double sum(const Partitioner& how) {
  return tbb::parallel_reduce(
      tbb::blocked_range<std::size_t>(0, perf::reduce_over, perf::reduce_grain), 0.0,
      [](const tbb::blocked_range<std::size_t>& piece, double before) {
        return before + perf::add_terms(piece.begin(), piece.end());
      },
      std::plus<>(), how);
}

/// The median of some rounds.
template <class Work>
double median_ms(int rounds, Work&& work) {
  std::array<double, 32> ms{};
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    if (!work()) std::abort();
    ms[static_cast<std::size_t>(i)] =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  std::sort(ms.begin(), ms.begin() + rounds);
  return ms[static_cast<std::size_t>(rounds / 2)];
}

}  // namespace

int main() {
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, perf::compute_threads);
  auto is_pi = [](double found) { return std::abs(found - 3.1415926) < 1e-6; };
  const double fib_ms = std::min(median_ms(3, [] { return fib_by_invoke(perf::fib_of) == perf::fib_is; }),
                                 median_ms(3, [] { return fib_by_group(perf::fib_of) == perf::fib_is; }));
  const double reduce_ms = std::min(median_ms(15, [&] { return is_pi(sum(tbb::auto_partitioner())); }),
                                    median_ms(15, [&] { return is_pi(sum(tbb::simple_partitioner())); }));
  std::printf("{\"fib_ms\": %.2f, \"reduce_ms\": %.2f}\n", fib_ms, reduce_ms);
}
