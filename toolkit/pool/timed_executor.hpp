// SPDX-License-Identifier: Apache-2.0
#pragma once

/// timed_executor: an executor without threads, for simulations and for tests whose time is their own: a job is an
/// event.
///
///     auto events = std::make_shared<timed_executor>(std::chrono::milliseconds(1), std::chrono::milliseconds(20));
///     resources().emplace<blocking_calls>(events, 256u);
///
/// It draws from the shard's source when a job begins and when it ends, both between `shortest` and `longest` after
/// what was before. Between the two the job counts as under way; its function is called on the shard at the end, in the
/// poll phase. So a run repeats with its seed, time is the shard's, and a cancel meets jobs in all their states.
///
/// Affinity: one shard.
/// Limits:   jobs are its callers'; the next one to end is looked for among all of them.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/clock.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/toolkit/pool/executor.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace skerry {

class timed_executor final : public executor, private timers::timer {
 public:
  timed_executor(clock::duration shortest, clock::duration longest) noexcept : shortest_(shortest), longest_(longest) {
    SKERRY_ASSERT(shortest >= clock::duration::zero(), "no job ends before it begins");
    SKERRY_ASSERT(longest >= shortest, "the longest time is not shorter than the shortest");
  }
  ~timed_executor() override { SKERRY_ASSERT(!armed(), "an executor outlives the jobs it was given"); }

  void post(job& work) noexcept override {
    const clock::time_point begin = clock::now() + draw();
    work.plan(begin, begin + draw());
    jobs_.push_back(work);
    arm_for_next();
  }
  bool withdraw(job& work) noexcept override {
    if (!work.linked() || work.begun_at() <= clock::now()) return false;
    work.unlink();
    arm_for_next();
    return true;
  }
  std::size_t waiting() const noexcept override {
    std::size_t count = 0;
    jobs_.for_each([&count](const job& each) { count += each.begun_at() > clock::now(); });
    return count;
  }
  std::size_t threads() const noexcept override { return 0; }

 private:
  clock::duration draw() noexcept {
    return shortest_ + clock::duration(static_cast<std::int64_t>(this_shard().random->uniform(
                           static_cast<std::uint64_t>((longest_ - shortest_).count()) + 1)));
  }
  void arm_for_next() noexcept {
    clock::time_point soonest = clock::time_point::max();
    jobs_.for_each([&soonest](const job& each) { soonest = std::min(soonest, each.ended_at()); });
    if (armed()) timers::this_timers().cancel(*this);
    if (soonest != clock::time_point::max()) timers::this_timers().arm(*this, soonest);
  }
  void expired() noexcept override {
    jobs_.for_each([](job& each) {
      if (each.ended_at() > clock::now()) return;
      each.unlink();
      each.run(nullptr);
      each.arrived();
    });
    arm_for_next();
  }

  clock::duration shortest_, longest_;
  detail::intrusive_list<job, job> jobs_;
};

}  // namespace skerry
