// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/random.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace {

using skerry::random_source;

static_assert(std::uniform_random_bit_generator<random_source>);

std::vector<std::uint64_t> first(random_source source, int n) {
  std::vector<std::uint64_t> result;
  for (int i = 0; i < n; ++i) result.push_back(source());
  return result;
}

// Straight from the published reference description, one step at a time, as a model.
struct model {
  std::array<std::uint64_t, 4> s;
  static std::uint64_t left(std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  std::uint64_t next() {
    const std::uint64_t result = left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0], s[3] ^= s[1], s[1] ^= s[2], s[0] ^= s[3], s[2] ^= t, s[3] = left(s[3], 45);
    return result;
  }
};

TEST(random, same_seed_and_stream_give_the_same_numbers) {
  EXPECT_EQ(first(random_source(7, 3), 100), first(random_source(7, 3), 100));
  EXPECT_EQ(first(random_source(7), 100), first(random_source(7, 0), 100));
}

TEST(random, a_seed_keeps_its_numbers_from_release_to_release) {
  // Recorded traces and bug reports name seeds; whoever changes these numbers breaks them all.
  EXPECT_EQ(first(random_source(0), 3),
            (std::vector<std::uint64_t>{0x30bb94d28b7ab90c, 0x16a17f40c767e533, 0xe3e4b8ec5f525c28}));
  EXPECT_EQ(first(random_source(42, 1), 3),
            (std::vector<std::uint64_t>{0x1eb4a55f230a2c04, 0x261a2448a2d50f45, 0x59c88066637ea82c}));
}

TEST(random, neighbouring_seeds_and_streams_share_nothing) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 32; ++seed) {
    for (std::uint64_t stream = 0; stream < 32; ++stream) {
      for (std::uint64_t number : first(random_source(seed, stream), 8)) seen.insert(number);
    }
  }
  EXPECT_EQ(seen.size(), 32u * 32u * 8u);
}

TEST(random, every_bit_is_set_half_of_the_time) {
  random_source source(1);
  std::array<int, 64> set{};
  constexpr int draws = 100'000;
  for (int i = 0; i < draws; ++i) {
    const std::uint64_t number = source();
    for (unsigned bit = 0; bit < 64; ++bit) set[bit] += static_cast<int>((number >> bit) & 1);
  }
  for (int count : set) EXPECT_NEAR(count, draws / 2, 5 * std::sqrt(draws) / 2);
}

TEST(random, uniform_is_below_its_bound_and_reaches_every_value) {
  random_source source(2);
  for (std::uint64_t bound : {1ull, 2ull, 3ull, 7ull, 10ull, 64ull}) {
    std::vector<int> seen(bound);
    for (int i = 0; i < 60'000; ++i) ++seen.at(source.uniform(bound));
    const double expected = 60'000.0 / static_cast<double>(bound);
    for (int count : seen) EXPECT_NEAR(count, expected, 6 * std::sqrt(expected));
  }
}

TEST(random, uniform_has_no_modulo_bias) {
  // With a bound of 3/4 of 2^64, taking the remainder would make the lowest third twice as likely as the rest.
  random_source source(3);
  constexpr std::uint64_t bound = 3ull << 62;
  int low = 0;
  for (int i = 0; i < 90'000; ++i) low += source.uniform(bound) < bound / 3;
  EXPECT_NEAR(low, 30'000, 6 * std::sqrt(20'000));
  // The multiplication alone would favour every third value: look at the residues too.
  std::array<int, 3> residues{};
  for (int i = 0; i < 90'000; ++i) ++residues[source.uniform(bound) % 3];
  for (int count : residues) EXPECT_NEAR(count, 30'000, 6 * std::sqrt(20'000));
}

TEST(random, the_step_is_the_published_one) {
  // The state is private, so compare through a copy of its bytes: four words and nothing else.
  random_source source(6);
  model same{};
  static_assert(sizeof source == sizeof same.s);
  std::memcpy(same.s.data(), static_cast<const void*>(&source), sizeof source);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(source(), same.next());
}

TEST(random, entropy_differs_from_call_to_call) { EXPECT_NE(skerry::entropy_seed(), skerry::entropy_seed()); }

TEST(random_death, a_bound_of_zero_is_a_bug) {
  random_source source(1);
  EXPECT_DEATH(source.uniform(0), "no number is below zero");
}

}  // namespace
