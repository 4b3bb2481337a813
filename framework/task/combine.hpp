// SPDX-License-Identifier: Apache-2.0
#pragma once

/// when_all, when_any, select: wait for several things at once, and go on when all of them have ended.
///
///     auto [number, words] = co_await when_all(count(), count_words(file));
///     std::vector<int> sums = co_await when_all(std::move(tasks));      // a std::vector<task<int>>
///
///     auto [first, results] = co_await when_any(read_line(connection), count());
///     if (first == 0) look_at(*std::get<0>(results));
///
///     co_await select(on(read_line(connection), [&](std::string line) { look_at(line); }),
///                     on(sleep_for(std::chrono::seconds(5)), [&]() -> task<> { co_await greet_everybody(); }));
///
/// `when_all` cancels the others at the first failure, `when_any` and `select` at the first end. Several may complete
/// in that turn: `when_any` gives every result, none is lost. `select` does not resume a loser that has not gone on
/// yet: what it would have got (an item, a connection, a unit) stays where it was. So give it an operation as it is,
/// not wrapped in a task of several steps.
///
/// Affinity:     the caller's shard; branches start from the run queue in the order given.
/// Errors:       the first failure of `when_all`, by time; what the first branch of `when_any` or `select` threw (no
///               handler runs then), and what the handler throws. Other failures are logged and counted.
/// Cancellation: cancels every branch and waits for it; a handler that is a task is cancelled like any.
/// Limits:       none. A fixed number of branches lives in the caller's frame, for `select` in one more; a vector of
///               them costs one allocation, and its results another.

#include <skerry/framework/task/branch.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <tuple>
#include <type_traits>
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

template <class T>
stored_result_t<T> take_stored(branch<T>& from) {
  if constexpr (std::is_void_v<T>) {
    from.take();
    return {};
  } else {
    return from.take();
  }
}

template <class... Operation>
using branches_of = std::tuple<settled<branch<branch_result_t<Operation>>>...>;

/// A branch as an element of a vector, which wants a type that nothing derives from.
template <class T>
class branch_element final : public branch<T> {
  using branch<T>::branch;
};

template <class... Branch, class Visit>
void visit_each(std::tuple<Branch...>& branches, Visit visit) {
  std::apply([&](auto&... each) { (visit(each.it), ...); }, branches);
}
template <class Branch, class Visit>
void visit_each(std::vector<Branch>& branches, Visit visit) {
  for (Branch& each : branches) visit(each);
}

/// What `take` takes from each branch, in the form in which they are kept.
template <class... Branch, class Take>
auto gather(std::tuple<Branch...>& branches, Take take) {
  return std::apply([&](auto&... each) { return std::tuple<decltype(take(each.it))...>{take(each.it)...}; }, branches);
}
template <class Branch, class Take>
auto gather(std::vector<Branch>& branches, Take take) {
  std::vector<decltype(take(branches.front()))> taken;
  taken.reserve(branches.size());
  for (Branch& each : branches) taken.push_back(take(each));
  return taken;
}

/// A fork of a kind, with branches that all begin at once: a tuple or a vector.
template <class Kind, class Branches>
class fork_of : public Kind {
 public:
  template <class... Source>
  explicit fork_of(Source&&... sources) : each_(std::forward<Source>(sources)...) {}
  template <class T>
  explicit fork_of(std::vector<task<T>>&& bodies)
      : each_(std::make_move_iterator(bodies.begin()), std::make_move_iterator(bodies.end())) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    this->suspend(resume_point);
    std::size_t count = 0;
    visit_each(each_, [&count](auto&) { ++count; });
    this->expect(count);
    visit_each(each_, [this](auto& each) { each.begin(*this); });
  }
  void for_each_branch(fork::visitor visit) noexcept final { visit_each(each_, visit); }

 protected:
  Branches each_;
};

template <class Branches>
class [[nodiscard("co_await it")]] all_awaiter final : public fork_of<joint_fork, Branches> {
 public:
  using fork_of<joint_fork, Branches>::fork_of;
  bool await_ready() const noexcept {
    if constexpr (requires { this->each_.empty(); }) return this->each_.empty();
    return false;
  }
  auto await_resume() {
    this->rethrow_failure();
    return gather(this->each_, [](auto& each) { return take_stored(each); });
  }
  const char* describe() const noexcept override { return "when_all"; }
};

/// The first end ends the others, by way of `End`.
template <fork::visitor End>
class race : public fork {
 public:
  /// Decided, a race is over: what its winner has taken must not go with a cancel that comes while the others let go.
  void let_go() noexcept final { first_ != nullptr ? come_too_late() : for_each_branch(End); }

 protected:
  chain* branch_ended(branch_base& which, outcome how) noexcept final {
    if (first_ == nullptr && how != outcome::none) {
      first_ = &which;
      for_each_branch(End);
    }
    return one_less();
  }
  /// Whether `which` was the first; rethrows what it threw.
  template <class T>
  bool won(branch<T>& which) const {
    if (&which != first_) return false;
    if (std::exception_ptr error = which.take_error(); error != nullptr) [[unlikely]]
      std::rethrow_exception(std::move(error));
    return true;
  }

 private:
  const branch_base* first_ = nullptr;
};

template <class Branches>
class [[nodiscard("co_await it")]] any_awaiter final : public fork_of<race<cancel_branch>, Branches> {
 public:
  using fork_of<race<cancel_branch>, Branches>::fork_of;
  auto await_resume() {
    std::size_t index = 0, count = 0;
    visit_each(this->each_, [&](auto& each) {
      if (this->won(each)) index = count;
      ++count;
    });
    return first_of{index, gather(this->each_, [](auto& each) {
                      using stored = std::optional<decltype(take_stored(each))>;
                      return each.result().has_value() ? stored(take_stored(each)) : stored();
                    })};
  }
  const char* describe() const noexcept override { return "when_any"; }
};

/// No aggregate: g++ 12 destroys a temporary one in a co_await operand twice.
template <class T, class Handler>
class select_case {
 public:
  using value_type = T;
  select_case(task<T>&& what, Handler&& then) noexcept
      : operation(std::move(what)), handler(std::forward<Handler>(then)) {}

  task<T> operation;
  Handler handler;  // a reference if it has a name
};

template <class Case>
class select_branch final : public branch<typename Case::value_type> {
 public:
  explicit select_branch(Case& from) noexcept
      : branch<typename Case::value_type>(std::move(from.operation)), case_(from) {}
  /// What the handler returns for the result.
  decltype(auto) handle() {
    if constexpr (std::is_void_v<typename Case::value_type>) {
      this->take();
      return case_.handler();
    } else {
      return case_.handler(this->take());
    }
  }

 private:
  Case& case_;
};

/// What a handler gives, as its own result or that of the task it returns.
template <class Branch, class R = decltype(std::declval<Branch&>().handle())>
using handled_t = typename std::conditional_t<any_task<R>, task_value<R>, std::type_identity<R>>::type;

template <class R, class Branch>
task<R> run_handler(Branch& won) {
  if constexpr (any_task<decltype(won.handle())>) {
    co_return co_await won.handle();
  } else {
    co_return won.handle();
  }
}

/// Gives the task that runs the winner's handler.
template <class R, class... Branch>
class [[nodiscard("co_await it")]] select_awaiter final
    : public fork_of<race<abandon_branch>, std::tuple<settled<Branch>...>> {
 public:
  using fork_of<race<abandon_branch>, std::tuple<settled<Branch>...>>::fork_of;
  task<R> await_resume() {
    std::optional<task<R>> chosen;
    visit_each(this->each_, [&](auto& each) {
      if (this->won(each)) chosen.emplace(run_handler<R>(each));
    });
    return std::move(*chosen);
  }
  const char* describe() const noexcept override { return "select"; }
};

template <class R, class... Case>
task<R> select_from(Case... cases) {
  select_awaiter<R, select_branch<Case>...> race(cases...);
  task<R> handler = co_await race;
  co_return co_await std::move(handler);
}

}  // namespace detail

/// The results of all, as a tuple; `unit` stands for one that returns nothing, std::reference_wrapper for a reference.
template <detail::branchable... Operation>
  requires(sizeof...(Operation) > 0)
auto when_all(Operation&&... operations) {
  return detail::all_awaiter<detail::branches_of<Operation...>>(
      detail::as_task(std::forward<Operation>(operations))...);
}

/// The results of all, in the order of the tasks.
template <class T>
auto when_all(std::vector<task<T>> tasks) {
  return detail::all_awaiter<std::vector<detail::branch_element<T>>>(std::move(tasks));
}

/// The index of the first to end, and a tuple of optional results, each as `when_all` gives it.
template <detail::branchable... Operation>
  requires(sizeof...(Operation) > 0)
[[gnu::always_inline]] inline auto when_any(Operation&&... operations) {
  return detail::any_awaiter<detail::branches_of<Operation...>>(
      detail::as_task(std::forward<Operation>(operations))...);
}

/// The same with a vector of optional results. At least one task (asserted).
template <class T>
auto when_any(std::vector<task<T>> tasks) {
  SKERRY_ASSERT(!tasks.empty(), "there is no first of nothing");
  return detail::any_awaiter<std::vector<detail::branch_element<T>>>(std::move(tasks));
}

/// One case of a `select`: what to wait for, and what to do with its result when it comes first. `handler` takes the
/// result, or nothing if there is none, and may return a task, which is then awaited.
template <detail::branchable Operation, class Handler>
auto on(Operation&& operation, Handler&& handler) {
  static_assert(detail::safe_in_co_await<Handler>, "name this handler before the co_await: " SKERRY_DESTROYED_TWICE);
  return detail::select_case<detail::branch_result_t<Operation>, Handler>(
      detail::as_task(std::forward<Operation>(operation)), std::forward<Handler>(handler));
}

/// The result of the handler that ran; all return the same type, or one that they convert to.
template <class... T, class... Handler>
  requires(sizeof...(T) > 0)
auto select(detail::select_case<T, Handler>... cases) {
  using result = std::common_type_t<detail::handled_t<detail::select_branch<detail::select_case<T, Handler>>>...>;
  return detail::select_from<result>(std::move(cases)...);
}

}  // namespace skerry
