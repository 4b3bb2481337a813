// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/timers/retry.hpp>

#include <algorithm>

namespace skerry::detail {

back_off::back_off(const retry_policy& policy) noexcept
    : policy_(policy), delay_(std::min(policy.first_delay, policy.delay_max)) {
  SKERRY_ASSERT(policy.attempts_max > 0, "a retry makes at least one attempt");
  SKERRY_ASSERT(policy.first_delay >= clock::duration::zero(), "a delay is not negative");
  SKERRY_ASSERT(policy.factor >= 1, "delays do not shrink");
}

clock::duration back_off::next() noexcept {
  const clock::duration half = delay_ / 2;
  const auto spread = static_cast<std::uint64_t>((delay_ - half).count());
  const auto drawn = static_cast<clock::duration::rep>(this_shard().random->uniform(spread + 1));
  // In floating point, so that no factor overflows.
  const double longer = static_cast<double>(delay_.count()) * policy_.factor;
  delay_ = longer < static_cast<double>(policy_.delay_max.count())
               ? clock::duration(static_cast<clock::duration::rep>(longer))
               : policy_.delay_max;
  return half + clock::duration(drawn);
}

}  // namespace skerry::detail
