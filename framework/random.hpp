// SPDX-License-Identifier: Apache-2.0
#pragma once

/// random: the one place where this project draws numbers.
///
/// Every shard owns one source, forked from the process's seed by the shard's number, so that a run repeats when its
/// seed does. Nothing else may draw (`scripts/check` refuses it).
///
///     random_source mine(seed, this_shard_id());
///     std::size_t slot = mine.uniform(slots.size());
///
/// The standard library's engines would do, its distributions would not: what they make of the same bits differs
/// between libraries, and a seed must replay everywhere.
///
/// Affinity:   one source belongs to one shard.
/// Invariants: the state is never all zero; sources of one seed and different streams start in different states.
/// Limits:     not for keys or tokens: whoever sees a few outputs can compute the rest.
/// Source:     Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021 (xoshiro256**);
///             Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014 (the seeding);
///             Lemire, "Fast random integer generation in an interval", 2019 (`uniform`).

#include <skerry/framework/assert.hpp>

#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include <unistd.h>

namespace skerry {

/// A pseudorandom sequence; a UniformRandomBitGenerator.
class random_source {
 public:
  using result_type = std::uint64_t;

  /// The sequence named by `seed` and `stream`.
  explicit random_source(std::uint64_t seed, std::uint64_t stream = 0) noexcept {
    // Seeds and streams are small numbers. Mixing between the two keeps (1, 2) apart from (2, 1) and (3, 0).
    constexpr std::uint64_t golden_ratio = 0x9e3779b97f4a7c15;
    std::uint64_t x = mix(mix(seed + golden_ratio) + stream);
    for (std::uint64_t& word : state_) word = mix(x += golden_ratio);
    SKERRY_ASSERT((state_[0] | state_[1]) != 0, "four different words cannot all be zero");
  }

  static constexpr result_type min() noexcept { return 0; }
  static constexpr result_type max() noexcept { return ~result_type{0}; }

  /// 64 random bits, about 2 ns.
  result_type operator()() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// A number below `bound`, each equally likely. `bound` is at least 1.
  std::uint64_t uniform(std::uint64_t bound) noexcept {
    SKERRY_ASSERT(bound > 0, "no number is below zero");
    __extension__ using wide = unsigned __int128;
    wide product = wide{(*this)()} * bound;
    if (static_cast<std::uint64_t>(product) < bound) [[unlikely]] {
      // 2^64 is no multiple of most bounds; the lowest 2^64 mod bound products would make some results likelier.
      const std::uint64_t surplus = (0 - bound) % bound;
      while (static_cast<std::uint64_t>(product) < surplus) product = wide{(*this)()} * bound;
    }
    return static_cast<std::uint64_t>(product >> 64);
  }

 private:
  /// A bijection of 64-bit words, so different inputs never meet.
  static constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  std::array<std::uint64_t, 4> state_;
};

/// A seed from the kernel's entropy. Throws system_error if the kernel gives none.
inline std::uint64_t entropy_seed() {
  std::uint64_t seed = 0;
  if (::getentropy(&seed, sizeof seed) == 0) return seed;
  throw std::system_error(errno, std::system_category(), "getentropy gave no seed; name one with --seed");
}

}  // namespace skerry
