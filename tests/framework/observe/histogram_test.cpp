// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/histogram.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace {

using skerry::observe::histogram;

std::uint64_t test_seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 20261121;
  std::cout << "replay with SKERRY_TEST_SEED=" << seed << '\n';
  return seed;
}

// Any number of bits is as likely as any other, so small and huge values both occur.
std::uint64_t spread(std::mt19937_64& draw) { return draw() >> (draw() % 64); }

TEST(histogram, every_value_lies_in_its_bucket) {
  std::mt19937_64 draw(test_seed());
  const auto check = [](std::uint64_t value) {
    const std::size_t bucket = histogram::bucket_of(value);
    ASSERT_LT(bucket, histogram::bucket_count);
    ASSERT_LE(histogram::lowest_in(bucket), value);
    ASSERT_GE(histogram::highest_in(bucket), value);
  };
  for (std::uint64_t value = 0; value < 10'000; ++value) check(value);
  for (int i = 0; i < 100'000; ++i) check(spread(draw));
  for (unsigned bit = 0; bit < 64; ++bit) {
    check((1ull << bit) - 1);
    check(1ull << bit);
    check((1ull << bit) + 1);
  }
  check(~0ull);
}

TEST(histogram, buckets_cover_all_values_without_gap_or_overlap) {
  EXPECT_EQ(histogram::lowest_in(0), 0u);
  for (std::size_t bucket = 1; bucket < histogram::bucket_count; ++bucket) {
    ASSERT_EQ(histogram::lowest_in(bucket), histogram::highest_in(bucket - 1) + 1);
    const std::uint64_t width = histogram::highest_in(bucket) - histogram::lowest_in(bucket) + 1;
    ASSERT_LE(width - 1, histogram::lowest_in(bucket) / 8);
  }
  EXPECT_EQ(histogram::highest_in(histogram::bucket_count - 1), ~0ull);
}

TEST(histogram, agrees_with_a_sorted_vector) {
  std::mt19937_64 draw(test_seed());
  for (int round = 0; round < 200; ++round) {
    histogram counted;
    std::vector<std::uint64_t> model;
    const std::size_t size = 1 + draw() % 2000;
    const unsigned shift = static_cast<unsigned>(draw() % 50);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint64_t value = round % 2 == 0 ? spread(draw) : draw() >> shift;
      counted.record(value);
      model.push_back(value);
      sum += value;
    }
    std::sort(model.begin(), model.end());
    ASSERT_EQ(counted.count(), model.size());
    ASSERT_EQ(counted.sum(), sum);
    ASSERT_EQ(counted.min(), model.front());
    ASSERT_EQ(counted.max(), model.back());
    for (double q : {0.0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(q * static_cast<double>(size))));
      const std::uint64_t exact = model[rank - 1];
      const std::uint64_t found = counted.quantile(q);
      const std::uint64_t error = found > exact ? found - exact : exact - found;
      ASSERT_LE(error, exact / 16) << "q " << q << ", exact " << exact << ", found " << found;
    }
    ASSERT_EQ(counted.quantile(0), model.front());
    ASSERT_EQ(counted.quantile(1), model.back());
  }
}

TEST(histogram, empty_one_answers_zero) {
  histogram empty;
  EXPECT_EQ(empty.quantile(0.5), 0u);
  EXPECT_EQ(empty.min(), 0u);
  EXPECT_EQ(empty.max(), 0u);
  EXPECT_EQ(empty.quantile(1), 0u);
}

TEST(histogram_death, a_quantile_outside_zero_to_one_is_a_bug) {
  EXPECT_DEATH(histogram().quantile(50), "a quantile lies between 0 and 1");
}

}  // namespace
