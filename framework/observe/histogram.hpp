// SPDX-License-Identifier: Apache-2.0
#pragma once

/// histogram: counts of values, exact enough for a percentile, in memory that never grows.
///
/// Each power of two is cut into 8 buckets of equal width, so a bucket is at most an eighth as wide as its values:
///
///     values            bucket width   buckets
///     0 to 15           1              16
///     16 to 31          2              8
///     32 to 63          4              8
///     ...
///     2^63 to 2^64 - 1  2^60           8
///
/// Sixteen buckets per power would halve the error and take two pages instead of one.
///
/// Affinity: none of its own; whoever counts owns it. A copy is a snapshot.
/// Limits:   496 buckets, 4000 bytes, any uint64. `quantile` is off by at most 1/16 of the value. `sum` wraps at 2^64
///           (584 years of nanoseconds).
/// Units:    the caller's.
/// Source:   Gil Tene, HdrHistogram (hdrhistogram.org): log-linear buckets with a bounded relative error.

#include <skerry/framework/assert.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace skerry::observe {

class histogram {
 public:
  static constexpr unsigned buckets_per_power_log2 = 3;
  static constexpr std::size_t buckets_per_power = std::size_t{1} << buckets_per_power_log2;
  static constexpr std::size_t bucket_count = (64 - buckets_per_power_log2 + 1) * buckets_per_power;

  /// Counts `value` once; about 4 ns.
  void record(std::uint64_t value) noexcept {
    ++count_;
    sum_ += value;
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
    ++counts_[bucket_of(value)];
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t sum() const noexcept { return sum_; }
  /// The smallest and largest value recorded, exactly; 0 when there is none.
  std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  std::uint64_t max() const noexcept { return max_; }
  /// The value at or below which the share `q` (0 to 1) of all values lies; 0 when there is none. Exact for 0 and 1.
  std::uint64_t quantile(double q) const noexcept;

  /// The bucket that counts `value`.
  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    // The leading bit and the three below it name the bucket within its power; below 16 the value is its own bucket.
    const auto width = static_cast<std::size_t>(std::bit_width(value | buckets_per_power));
    const std::size_t shift = width - (buckets_per_power_log2 + 1);
    return shift * buckets_per_power + static_cast<std::size_t>(value >> shift);
  }
  /// The smallest and the largest value that `bucket` counts.
  static constexpr std::uint64_t lowest_in(std::size_t bucket) noexcept {
    SKERRY_ASSERT(bucket < bucket_count, "a histogram has bucket_count buckets");
    if (bucket < 2 * buckets_per_power) return bucket;
    return (bucket % buckets_per_power + buckets_per_power) << (bucket / buckets_per_power - 1);
  }
  static constexpr std::uint64_t highest_in(std::size_t bucket) noexcept {
    return bucket + 1 == bucket_count ? ~std::uint64_t{0} : lowest_in(bucket + 1) - 1;
  }
  /// How many recorded values fell into `bucket`.
  std::uint64_t count_in(std::size_t bucket) const noexcept {
    SKERRY_ASSERT(bucket < bucket_count, "a histogram has bucket_count buckets");
    return counts_[bucket];
  }

 private:
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t min_ = ~std::uint64_t{0};  // so that record() needs no test for the first value
  std::uint64_t max_ = 0;
  std::array<std::uint64_t, bucket_count> counts_{};
};
static_assert(sizeof(histogram) == 4000, "the size that the essay states");

inline std::uint64_t histogram::quantile(double q) const noexcept {
  SKERRY_ASSERT(q >= 0 && q <= 1, "a quantile lies between 0 and 1");
  const double rank = q * static_cast<double>(count_);
  if (count_ == 0 || rank > static_cast<double>(count_ - 1)) return max_;
  if (rank <= 1) return min_;
  std::size_t bucket = 0;
  for (std::uint64_t seen = counts_[0]; static_cast<double>(seen) < rank; seen += counts_[bucket]) ++bucket;
  // The middle halves the worst error; the ends of the recorded range may cut the bucket short.
  const std::uint64_t middle = lowest_in(bucket) + (highest_in(bucket) - lowest_in(bucket)) / 2;
  return std::clamp(middle, min_, max_);
}

}  // namespace skerry::observe
