// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the micro benchmarks of the peers share: a median over pieces, and one line of JSON, name to nanoseconds.
//
// A piece is short, so that one during which the machine ran something else is one of a minority. Google Benchmark is
// not used here because a peer's loop often has to be turned by the peer itself (a scheduler, an executor).
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>

namespace peers {

constexpr int pieces = 101;

/// Makes the compiler believe that somebody reads the value.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

/// Nanoseconds per operation of `piece`, which does `operations` of them: the median of `pieces` pieces.
template <class Piece>
double median_ns(int operations, Piece&& piece) {
  std::array<double, pieces> ns{};
  for (double& one : ns) {
    const auto start = std::chrono::steady_clock::now();
    piece();
    one = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / operations;
  }
  std::ranges::nth_element(ns, ns.begin() + pieces / 2);
  return ns[pieces / 2];
}

/// xorshift: the benchmark must not measure its random numbers.
struct small_random {
  std::uint64_t state = 0x9e3779b97f4a7c15;
  std::uint64_t below(std::uint64_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(state) * limit) >> 64);
  }
};

/// {"a_ns": 1.00, "b_ns": 2.00}
class json_line {
 public:
  json_line() = default;
  json_line(const json_line&) = delete;
  json_line& operator=(const json_line&) = delete;
  ~json_line() { std::puts(separator_[0] == '{' ? "{}" : "}"); }
  void add(const char* name, double ns) {
    std::printf("%s\"%s\": %.2f", separator_, name, ns);
    separator_ = ", ";
  }

 private:
  const char* separator_ = "{";
};

}  // namespace peers
