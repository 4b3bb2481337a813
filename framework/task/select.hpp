// SPDX-License-Identifier: Apache-2.0
#pragma once

/// select: waits for several things at once and runs the handler of the one that ended first.
///
///     co_await select(on(read_line(connection), [&](std::string line) { look_at(line); }),
///                     on(sleep_for(std::chrono::seconds(5)), [&]() -> task<> { co_await greet_everybody(); }));
///
/// Exactly one handler runs, after all others have let go. A loser whose wait was over in the same turn, but that has
/// not gone on yet, is not resumed: what it would have got (an item, a connection, a unit) stays where it was. That is
/// the difference to `when_any`, and why an operation is best given as it is, not wrapped in a task of several steps.
///
/// Affinity:     the caller's shard; branches start from the run queue in the order given.
/// Errors:       what the first one throws (no handler runs then), and what the handler throws.
/// Cancellation: cancels every branch and waits for it; a handler that is a task is cancelled like any.
/// Limits:       none; one frame for the select, one for the handler.

#include <skerry/framework/task/when_any.hpp>

#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace skerry {

namespace detail {

template <class T, class Handler>
class select_case {
 public:
  select_case(task<T>&& operation, Handler&& handler) noexcept
      : operation_(std::move(operation)), handler_(std::forward<Handler>(handler)) {}

  task<T> operation_;
  Handler handler_;  // a reference if it has a name
};

template <class T, class Handler>
decltype(auto) handle(branch<T>& won, Handler& handler) {
  if constexpr (std::is_void_v<T>) {
    won.take();
    return handler();
  } else {
    return handler(won.take());
  }
}

template <class Result>
struct handler_value {
  using type = Result;
};
template <class T>
struct handler_value<task<T>> {
  using type = T;
};
template <class T, class Handler>
using handler_value_t =
    typename handler_value<decltype(handle(std::declval<branch<T>&>(), std::declval<Handler&>()))>::type;

template <class R, class T, class Handler>
task<R> run_handler(branch<T>& won, Handler& handler) {
  if constexpr (any_task<decltype(handle(won, handler))>) {
    co_return co_await handle(won, handler);
  } else {
    co_return handle(won, handler);
  }
}

template <class R, class... Case>
class [[nodiscard("co_await it")]] select_awaiter;

/// Gives the task that runs the winner's handler.
template <class R, class... T, class... Handler>
class select_awaiter<R, select_case<T, Handler>...> final : public any_fork {
 public:
  explicit select_awaiter(select_case<T, Handler>&... cases) noexcept
      : each_(std::move(cases.operation_)...), handlers_(cases.handler_...) {}
  const char* describe() const noexcept override { return "select"; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    std::apply([this](auto&... each) { (each.begin(*this), ...); }, each_);
  }
  void for_each_branch(visitor visit) noexcept override {
    std::apply([visit](auto&... each) { (visit(each), ...); }, each_);
  }
  task<R> await_resume() {
    std::optional<task<R>> chosen;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (void)((won(std::get<I>(each_)) &&
              (chosen.emplace(run_handler<R>(std::get<I>(each_), std::get<I>(handlers_))), true)) ||
             ...);
    }(std::index_sequence_for<T...>());
    return std::move(*chosen);
  }

 private:
  void branch_ended(branch_base& which, outcome how) noexcept override {
    if (first_ == nullptr && how != outcome::none) {
      first_ = &which;
      for_each_branch([](chain& loser) noexcept { loser.abandon(); });
    }
    one_less();
  }

  std::tuple<branch<T>...> each_;
  std::tuple<Handler&...> handlers_;
};

template <class R, class... Case>
task<R> select_from(Case... cases) {
  select_awaiter<R, Case...> race(cases...);
  task<R> handler = co_await race;
  co_return co_await std::move(handler);
}

}  // namespace detail

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
  using result = std::common_type_t<detail::handler_value_t<T, Handler>...>;
  return detail::select_from<result, detail::select_case<T, Handler>...>(std::move(cases)...);
}

}  // namespace skerry
