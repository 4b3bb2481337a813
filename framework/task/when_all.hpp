// SPDX-License-Identifier: Apache-2.0
#pragma once

/// when_all: waits for several things at once and gives all their results.
///
///     auto [number, words] = co_await when_all(count(), count_words(file));
///     std::vector<int> sums = co_await when_all(std::move(tasks));      // a std::vector<task<int>>
///
/// The first failure cancels the other branches, and is rethrown after all of them have ended; what fails after it is
/// logged and counted.
///
/// Affinity:     the caller's shard; branches start from the run queue in the order given.
/// Errors:       the first exception of a branch, by time.
/// Cancellation: cancels every branch and waits for it.
/// Limits:       none. A fixed number of branches lives in the caller's frame; a vector of them costs one allocation,
///               and its results another.

#include <skerry/framework/task/branch.hpp>

#include <coroutine>
#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

namespace skerry {

namespace detail {

class all_fork : public joint_fork {
 public:
  const char* describe() const noexcept final { return "when_all"; }

 protected:
  void branch_ended(branch_base& which, outcome how) noexcept final {
    if (how == outcome::error) [[unlikely]]
      fail(which.take_error());
    one_less();
  }
};

template <class... T>
class [[nodiscard("co_await it")]] all_awaiter final : public all_fork {
 public:
  explicit all_awaiter(task<T>&&... bodies) noexcept : each_(std::move(bodies)...) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    std::apply([this](auto&... each) { (each.begin(*this), ...); }, each_);
  }
  void for_each_branch(visitor visit) noexcept override {
    std::apply([visit](auto&... each) { (visit(each), ...); }, each_);
  }
  std::tuple<stored_result_t<T>...> await_resume() {
    rethrow_failure();
    return std::apply([](auto&... each) { return std::tuple<stored_result_t<T>...>{take_stored(each)...}; }, each_);
  }

 private:
  std::tuple<branch<T>...> each_;
};

template <class T>
class [[nodiscard("co_await it")]] all_of_vector_awaiter final : public all_fork {
 public:
  explicit all_of_vector_awaiter(std::vector<task<T>>&& bodies) : each_(bodies.size()) {
    for (std::size_t i = 0; i < bodies.size(); ++i) each_[i].hold(std::move(bodies[i]));
  }
  bool await_ready() const noexcept { return each_.empty(); }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    for (branch<T>& each : each_) each.begin(*this);
  }
  void for_each_branch(visitor visit) noexcept override {
    for (branch<T>& each : each_) visit(each);
  }
  std::vector<stored_result_t<T>> await_resume() {
    rethrow_failure();
    std::vector<stored_result_t<T>> results;
    results.reserve(each_.size());
    for (branch<T>& each : each_) results.push_back(take_stored(each));
    return results;
  }

 private:
  std::vector<branch_element<T>> each_;
};

}  // namespace detail

/// The results of all, as a tuple; `unit` stands for one that returns nothing, std::reference_wrapper for a reference.
template <detail::branchable... Operation>
  requires(sizeof...(Operation) > 0)
auto when_all(Operation&&... operations) {
  return detail::all_awaiter<detail::branch_result_t<Operation>...>(
      detail::as_task(std::forward<Operation>(operations))...);
}

/// The results of all, in the order of the tasks.
template <class T>
auto when_all(std::vector<task<T>> tasks) {
  return detail::all_of_vector_awaiter<T>(std::move(tasks));
}

}  // namespace skerry
