// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/histogram.hpp>

#include <cmath>

namespace skerry::observe {

std::uint64_t histogram::quantile(double q) const noexcept {
  SKERRY_ASSERT(q >= 0 && q <= 1, "a quantile lies between 0 and 1");
  if (count_ == 0) return 0;
  const double wanted = std::ceil(q * static_cast<double>(count_));
  if (wanted >= static_cast<double>(count_)) return max_;
  if (wanted <= 1) return min_;
  const auto rank = static_cast<std::uint64_t>(wanted);
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
    seen += counts_[bucket];
    if (seen < rank) continue;
    // The middle halves the worst error; the ends of the recorded range may cut the bucket short.
    const std::uint64_t middle = lowest_in(bucket) + (highest_in(bucket) - lowest_in(bucket)) / 2;
    return std::clamp(middle, min_, max_);
  }
  SKERRY_ASSERT(seen == count_, "the buckets add up to the count");
  return max_;
}

void histogram::merge(const histogram& other) noexcept {
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) counts_[bucket] += other.counts_[bucket];
}

}  // namespace skerry::observe
