// SPDX-License-Identifier: Apache-2.0
#pragma once

/// block_on: runs one task on the calling thread, with one shard made for it, for what needs no app: tests, tools.
///
///     int n = skerry::block_on(count());
///
/// The environment may name its backend (SKERRY_BACKEND), as that of an app.
///
/// Affinity: a thread that runs no shard; it is shard 0 of 1 meanwhile, unpinned.
/// Errors:   rethrows what the task throws; startup_error where the machine refuses a shard.
/// Limits:   tasks that the task spawned and that still run at its end are cancelled.

#include <skerry/framework/task/task.hpp>

#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace skerry {

namespace detail {
void block_on_host(const std::function<task<>()>& main);
}

/// The result of `body`.
template <class T>
T block_on(task<T> body) {
  if constexpr (std::is_void_v<T>) {
    detail::block_on_host([&body]() -> task<> { return std::move(body); });
  } else {
    std::optional<T> result;
    auto store = [&]() -> task<> { result.emplace(co_await std::move(body)); };
    detail::block_on_host(store);
    return std::move(*result);
  }
}

/// The result of the task that `fn()` returns; `fn` is called on the shard.
template <class Fn>
  requires detail::any_task<std::invoke_result_t<Fn&>>
auto block_on(Fn fn) {
  auto run = [](Fn& call) -> std::invoke_result_t<Fn&> { co_return co_await call(); };
  return block_on(run(fn));
}

}  // namespace skerry
