// SPDX-License-Identifier: Apache-2.0
#pragma once

/// when_any: waits for several things at once until the first has ended.
///
///     auto [first, results] = co_await when_any(read_line(connection), count());
///     if (first == 0) look_at(*std::get<0>(results));
///
/// The others are cancelled, and the caller goes on when all have ended. Several may complete in one turn, before the
/// cancel can reach them: every result is there, none is lost. Whoever wants one of them and the others untouched uses
/// `select`.
///
/// Affinity:     the caller's shard; branches start from the run queue in the order given.
/// Errors:       what the first one throws, whatever else completed; what another one throws is logged and counted.
/// Cancellation: cancels every branch and waits for it.
/// Limits:       none. A fixed number of branches lives in the caller's frame; a vector of them costs one allocation,
///               and its results another.

#include <skerry/framework/task/branch.hpp>

#include <coroutine>
#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace skerry {

/// What `when_any` gives.
template <class Results>
struct first_of {
  std::size_t index;  ///< of the branch that ended first
  Results results;    ///< a std::optional each: what has completed
};

namespace detail {

class any_fork : public fork {
 public:
  const char* describe() const noexcept override { return "when_any"; }

 protected:
  void branch_ended(branch_base& which, outcome how) noexcept override {
    if (first_ == nullptr && how != outcome::none) {
      first_ = &which;
      let_go();
    }
    one_less();
  }
  /// Whether `which` was the first; rethrows what it threw.
  bool won(branch_base& which) const {
    if (&which != first_) return false;
    if (std::exception_ptr error = which.take_error(); error != nullptr) [[unlikely]]
      std::rethrow_exception(std::move(error));
    return true;
  }

  const branch_base* first_ = nullptr;
};

template <class T>
std::optional<stored_result_t<T>> take_completed(branch<T>& from) {
  if (!from.result().has_value()) return std::nullopt;
  return take_stored(from);
}

template <class... T>
class [[nodiscard("co_await it")]] any_awaiter final : public any_fork {
 public:
  using results = std::tuple<std::optional<stored_result_t<T>>...>;

  explicit any_awaiter(task<T>&&... bodies) noexcept : each_(std::move(bodies)...) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    std::apply([this](auto&... each) { (each.begin(*this), ...); }, each_);
  }
  void for_each_branch(visitor visit) noexcept override {
    std::apply([visit](auto&... each) { (visit(each), ...); }, each_);
  }
  first_of<results> await_resume() {
    return std::apply(
        [this](auto&... each) {
          std::size_t index = 0;
          (void)((won(each) || (++index, false)) || ...);
          return first_of<results>{index, results{take_completed(each)...}};
        },
        each_);
  }

 private:
  std::tuple<branch<T>...> each_;
};

template <class T>
class [[nodiscard("co_await it")]] any_of_vector_awaiter final : public any_fork {
 public:
  using results = std::vector<std::optional<stored_result_t<T>>>;

  explicit any_of_vector_awaiter(std::vector<task<T>>&& bodies) : each_(bodies.size()) {
    SKERRY_ASSERT(!bodies.empty(), "there is no first of nothing");
    for (std::size_t i = 0; i < bodies.size(); ++i) each_[i].hold(std::move(bodies[i]));
  }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    for (branch<T>& each : each_) each.begin(*this);
  }
  void for_each_branch(visitor visit) noexcept override {
    for (branch<T>& each : each_) visit(each);
  }
  first_of<results> await_resume() {
    first_of<results> all{0, {}};
    while (!won(each_[all.index])) ++all.index;
    all.results.reserve(each_.size());
    for (branch<T>& each : each_) all.results.push_back(take_completed(each));
    return all;
  }

 private:
  std::vector<branch_element<T>> each_;
};

}  // namespace detail

/// The index of the first to end, and a tuple of optional results; `unit` stands for one that returns nothing,
/// std::reference_wrapper for a reference.
template <detail::branchable... Operation>
  requires(sizeof...(Operation) > 0)
auto when_any(Operation&&... operations) {
  return detail::any_awaiter<detail::branch_result_t<Operation>...>(
      detail::as_task(std::forward<Operation>(operations))...);
}

/// The same with a vector of optional results. At least one task (asserted).
template <class T>
auto when_any(std::vector<task<T>> tasks) {
  return detail::any_of_vector_awaiter<T>(std::move(tasks));
}

}  // namespace skerry
