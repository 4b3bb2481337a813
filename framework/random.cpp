// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/random.hpp>

#include <cerrno>
#include <system_error>

#include <sys/random.h>

namespace skerry {

namespace {

constexpr std::uint64_t golden_ratio = 0x9e3779b97f4a7c15;

// A bijection of 64-bit words, so different inputs never meet.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

random_source::random_source(std::uint64_t seed, std::uint64_t stream) noexcept {
  // Seeds and streams are small numbers in practice. Mixing between the two keeps (1, 2) apart from (2, 1) and (3, 0).
  std::uint64_t x = mix(mix(seed + golden_ratio) + stream);
  for (std::uint64_t& word : state_) word = mix(x += golden_ratio);
  SKERRY_ASSERT((state_[0] | state_[1]) != 0, "four different words cannot all be zero");
}

std::uint64_t entropy_seed() {
  std::uint64_t seed = 0;
  for (;;) {
    const ssize_t got = ::getrandom(&seed, sizeof seed, 0);
    if (got == static_cast<ssize_t>(sizeof seed)) return seed;
    if (got < 0 && errno != EINTR) {
      throw std::system_error(errno, std::system_category(), "getrandom gave no seed; name one with --seed");
    }
  }
}

}  // namespace skerry
