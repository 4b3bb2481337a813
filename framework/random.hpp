// SPDX-License-Identifier: Apache-2.0
#pragma once

/// random: the one place where this project draws numbers.
///
/// Every shard owns one source, forked from the process's seed by the shard's number, so that a run repeats when its
/// seed does. Nothing else may draw (`scripts/check` refuses it), and `entropy_seed()` is the only call whose result
/// differs from run to run.
///
///     random_source mine(seed, this_shard_id());
///     if (mine.chance(0.01)) fail();        // one time in a hundred
///     std::size_t slot = mine.uniform(slots.size());
///
/// The standard library's engines would do, its distributions would not: what `std::uniform_int_distribution` and
/// `std::shuffle` make of the same bits differs between libraries, and a seed must replay everywhere.
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
#include <cstdint>

namespace skerry {

/// A pseudorandom sequence; a UniformRandomBitGenerator.
class random_source {
 public:
  using result_type = std::uint64_t;

  /// The sequence named by `seed` and `stream`.
  explicit random_source(std::uint64_t seed, std::uint64_t stream = 0) noexcept;

  static constexpr result_type min() noexcept { return 0; }
  static constexpr result_type max() noexcept { return ~result_type{0}; }

  /// 64 random bits, about 2 ns.
  result_type operator()() noexcept;
  /// A number below `bound`, each equally likely. `bound` is at least 1.
  std::uint64_t uniform(std::uint64_t bound) noexcept;
  /// At least 0 and below 1, in steps of 2^-53.
  double real() noexcept { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }
  /// True with probability `p`, which is at least 0 and at most 1. Draws one number whatever `p` is, so that a changed
  /// probability does not shift every later draw.
  bool chance(double p) noexcept;

 private:
  std::array<std::uint64_t, 4> state_;
};

/// A seed from the kernel's entropy. Throws system_error if the kernel gives none.
std::uint64_t entropy_seed();

inline random_source::result_type random_source::operator()() noexcept {
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

inline std::uint64_t random_source::uniform(std::uint64_t bound) noexcept {
  SKERRY_ASSERT(bound > 0, "no number is below zero");
  __extension__ using wide = unsigned __int128;
  wide product = wide{(*this)()} * bound;
  if (static_cast<std::uint64_t>(product) < bound) [[unlikely]] {
    // 2^64 is no multiple of most bounds; the lowest 2^64 mod bound products would make some results likelier.
    const std::uint64_t surplus = (0 - bound) % bound;
    while (static_cast<std::uint64_t>(product) < surplus) product = wide{(*this)()} * bound;
  }
  const auto result = static_cast<std::uint64_t>(product >> 64);
  SKERRY_ASSERT(result < bound, "the upper half of a product is below its factor");
  return result;
}

inline bool random_source::chance(double p) noexcept {
  SKERRY_ASSERT(p >= 0 && p <= 1, "a probability lies between 0 and 1");
  return real() < p;
}

}  // namespace skerry
