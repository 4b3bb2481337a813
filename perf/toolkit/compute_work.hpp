// SPDX-License-Identifier: Apache-2.0
#pragma once
// The work that compute_perf and its peers do: a tree of calls that do next to nothing, which is what forks cost, and a
// sum whose pieces are worth it. The pool's threads are as many as CPUs.
#include <cstddef>

namespace perf {

constexpr int fib_of = 35;  // 15 million forks
constexpr long fib_is = 9'227'465;
constexpr std::size_t reduce_over = 20'000'000, reduce_grain = 4096;
constexpr unsigned compute_threads = 2;

/// Terms of a series that ends at pi.
inline double add_terms(std::size_t from, std::size_t to) {
  double sum = 0;
  for (; from < to; ++from) {
    const auto n = static_cast<double>(from);
    sum += 8.0 / ((4 * n + 1) * (4 * n + 3));
  }
  return sum;
}

}  // namespace perf
