// SPDX-License-Identifier: Apache-2.0
#pragma once

/// everywhere: one function on many shards, all calls under way at once.
///
///     co_await invoke_on_all([](unsigned most) { set_limit(most); }, limit);
///     co_await invoke_on_others([](std::string text) { note(text); }, key);
///     std::vector<shard_id> ids = co_await map_all([] { return this_shard_id(); });
///     int sum = co_await map_reduce([](int n) { return n + 1; }, 0, std::plus<>(), 41);
///     co_await post_to_all([](std::string text) { note(text); }, key);     // one way: waits for no handler
///
/// Each shard gets its own copy of the arguments. `sharded<T>` has the same for its instances, but for
/// `invoke_on_others(all, fn, …)`, which is here.
///
/// Affinity:     any task; resumes on the caller's shard. Functions and tasks as in submit_to, transferable as there.
/// Errors:       when all are back the first shard's error is rethrown; post_to_all: as post_to.
/// Cancellation: all calls are cancelled, and all come home; post_to_all ends between two shards.
/// Limits:       a call per shard; what it allocates is a slot per shard, once per use.

#include <skerry/framework/task/task.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/sharded.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/flow/post_to.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry {

namespace detail {

template <class Fn, class... Args>
task<> call_others(Fn fn, Args... args) {
  call_batch<Fn, Args...> calls(shard_count());
  for (shard_id s = 0; s < shard_count(); ++s) {
    if (s != this_shard_id()) calls.add(s, fn, args...);
  }
  co_await calls.all();
  for (std::size_t i = 0; i < calls.size(); ++i) static_cast<void>(calls.take(i));
}

template <class Fn, class... Args>
task<> call_all(Fn fn, Args... args) {
  call_batch<Fn, Args...> calls(shard_count());
  for (shard_id s = 0; s < shard_count(); ++s) calls.add(s, fn, args...);
  co_await calls.all();
  for (std::size_t i = 0; i < calls.size(); ++i) static_cast<void>(calls.take(i));
}

template <class Fn, class R, class Reduce, class... Args>
task<R> reduce_all(Fn fn, R initial, Reduce reduce, Args... args) {
  call_batch<Fn, Args...> calls(shard_count());
  for (shard_id s = 0; s < shard_count(); ++s) calls.add(s, fn, args...);
  co_await calls.all();
  for (std::size_t i = 0; i < calls.size(); ++i) initial = reduce(std::move(initial), calls.take(i));
  co_return initial;
}

template <class Fn, class... Args>
task<> post_all(Fn fn, Args... args) {
  for (shard_id s = 0; s < shard_count(); ++s) co_await post_to(s, fn, args...);
}

template <class T, class Fn>
struct on_local {
  template <class... Args>
  auto operator()(borrowed<sharded<T>> all, Args... args) const {
    return Fn{}(all->local(), std::move(args)...);
  }
};

}  // namespace detail

/// Runs `fn(args...)` on every shard; waits for all.
template <class Fn, class... Args>
task<> invoke_on_all(Fn fn, Args... args) {
  detail::require_call_crosses<Fn, Args...>();
  return detail::call_all<Fn, Args...>(std::move(fn), std::move(args)...);
}

/// On every shard but this one.
template <class Fn, class... Args>
task<> invoke_on_others(Fn fn, Args... args) {
  detail::require_call_crosses<Fn, Args...>();
  return detail::call_others<Fn, Args...>(std::move(fn), std::move(args)...);
}

/// `fn(T&, args...)` on every shard's instance but this shard's.
template <class T, class Fn, class... Args>
task<> invoke_on_others(sharded<T>& all, Fn, Args... args) {
  detail::require_no_captures<Fn>();
  return detail::call_others(detail::on_local<T, Fn>(), borrowed(all), std::move(args)...);
}

/// The results by shard.
template <class Fn, class... Args>
auto map_all(Fn fn, Args... args) {
  detail::require_call_crosses<Fn, Args...>();
  return detail::call_everywhere(detail::handler_scope::root, std::move(fn), std::move(args)...);
}

/// `reduce(reduce(initial, result of shard 0), result of shard 1)…`: associative is enough.
template <class Fn, class R, class Reduce, class... Args>
task<R> map_reduce(Fn fn, R initial, Reduce reduce, Args... args) {
  detail::require_call_crosses<Fn, Args...>();
  return detail::reduce_all<Fn, R, Reduce, Args...>(std::move(fn), std::move(initial), std::move(reduce),
                                                    std::move(args)...);
}

/// Posts `fn(args...)` to every shard, this one included.
template <class Fn, class... Args>
task<> post_to_all(Fn fn, Args... args) {
  detail::require_call_crosses<Fn, Args...>();
  return detail::post_all<Fn, Args...>(std::move(fn), std::move(args)...);
}

}  // namespace skerry
