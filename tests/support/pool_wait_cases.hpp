// SPDX-License-Identifier: Apache-2.0
#pragma once

/// pool_wait_cases: work done elsewhere to wait for, for the matrix that cancels it.

#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/compute.hpp>

#include <cstddef>
#include <memory>

#include <support/wait_cases.hpp>

namespace skerry::test_support::waits {

/// Does a job when a case says so, without a thread. What it has done comes home through the shard's inbox, as it does
/// from a thread: not before the next poll.
class executor_on_demand final : public executor {
 public:
  /// `takes_at_once`: jobs are under way from the start, and cannot be withdrawn.
  explicit executor_on_demand(bool takes_at_once) noexcept : takes_at_once_(takes_at_once) {}

  void post(job& work) noexcept override {
    jobs_.push_back(work);
    ++count_;
  }
  bool withdraw(job& work) noexcept override {
    if (takes_at_once_ || !work.linked()) return false;
    work.unlink();
    --count_;
    return true;
  }
  std::size_t waiting() const noexcept override { return takes_at_once_ ? 0 : count_; }
  std::size_t threads() const noexcept override { return 0; }

  void do_all() noexcept {
    for (; count_ != 0; --count_) {
      job& next = jobs_.pop_front();
      next.begin();
      next.run(nullptr);
      next.go_home();
    }
  }

 private:
  detail::intrusive_list<job, job> jobs_;
  std::size_t count_ = 0;
  const bool takes_at_once_;
};

/// `Calls`: the resource with the shard's share in the executor.
template <class Calls, bool under_way>
struct of_a_pool : usual {
  static constexpr bool must_be_served = under_way, forgets = true;
  std::shared_ptr<executor_on_demand> does = std::make_shared<executor_on_demand>(under_way);
  task<> prepare() {
    resources().emplace<Calls>(does, 8u);
    co_return;
  }
  void serve() { does->do_all(); }
};

template <bool under_way>
struct blocking_call : of_a_pool<blocking_calls, under_way> {
  auto wait() {
    return blocking([](int n) { return n; }, 1);
  }
};
struct call_that_waits : blocking_call<false> {};
struct call_under_way : blocking_call<true> {};

template <bool under_way>
struct compute_job : of_a_pool<compute_jobs, under_way> {
  auto wait() {
    return compute([](int n) { return n; }, 1);
  }
};
struct job_that_waits : compute_job<false> {};
struct job_under_way : compute_job<true> {};

}  // namespace skerry::test_support::waits
