// SPDX-License-Identifier: Apache-2.0
#pragma once

/// parallel_for_each, max_concurrent_for_each, map, reduce: one task per element of a range, a bounded number at once.
///
///     co_await max_concurrent_for_each(slots, 8, [](int slot) -> task<> { co_await greet_everybody(); });
///     std::vector<int> lengths = co_await map(files, 4, count_words);
///
/// Workers take elements in order, each the next one when its last is done, and start another as long as there are
/// elements and fewer than `limit` workers. The cost is a frame per worker, whatever the length of the range.
///
/// Affinity:     the caller's shard: concurrency is in waiting, not in computing.
/// Ownership:    a range or function that has a name is referred to and lives until the end; another is kept. The
///               function gets a reference to the element.
/// Errors:       the first exception; the other workers are cancelled first, and elements after it are not begun.
/// Cancellation: cancels every worker and waits for it.
/// Limits:       `limit`, at least 1 (asserted).

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/group.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry {

namespace detail {

/// `Range` and `Fn` are lvalue references or owned values. Calls `fn(element)` in order and awaits what it gives.
template <class Range, class Fn>
task<> for_each_element(Range range, std::size_t limit, Fn fn) {
  SKERRY_ASSERT(limit > 0, "at least one element at a time");
  auto next = std::begin(range);
  const auto end = std::end(range);
  std::size_t workers = 1;
  auto work = [&](auto& self, group& g) -> task<> {
    while (next != end) {
      auto&& element = *next;
      ++next;
      if (next != end && workers < limit) {
        ++workers;
        g.spawn(self(self, g), "for each");
      }
      co_await std::invoke(fn, std::forward<decltype(element)>(element));
    }
  };
  auto first = [&](group& g) -> task<> { return work(work, g); };
  co_await with_group(first);
}

template <class Range>
using element_t = decltype(*std::begin(std::declval<std::remove_reference_t<Range>&>()));
template <class Fn, class Range>
using mapped_t = awaited_t<std::invoke_result_t<Fn&, element_t<Range>>>;

}  // namespace detail

/// Awaits `fn(element)` for each element, at most `limit` at a time.
template <class Range, class Fn>
task<> max_concurrent_for_each(Range&& range, std::size_t limit, Fn&& fn) {
  static_assert(detail::safe_in_co_await<Fn>, "name this function before the co_await: " SKERRY_DESTROYED_TWICE);
  return detail::for_each_element<Range, Fn>(std::forward<Range>(range), limit, std::forward<Fn>(fn));
}

/// Awaits `fn(element)` for each element, all at a time.
template <class Range, class Fn>
task<> parallel_for_each(Range&& range, Fn&& fn) {
  return max_concurrent_for_each(std::forward<Range>(range), SIZE_MAX, std::forward<Fn>(fn));
}

/// The results of `fn(element)`, in the order of the elements, at most `limit` at a time.
template <class Range, class Fn>
auto map(Range&& range, std::size_t limit, Fn&& fn) {
  static_assert(detail::safe_in_co_await<Fn>, "name this function before the co_await: " SKERRY_DESTROYED_TWICE);
  using result = detail::stored_result_t<detail::mapped_t<Fn, Range>>;
  auto collect = [](Range elements, std::size_t at_once, Fn make) -> task<std::vector<result>> {
    std::vector<std::optional<result>> found;
    found.reserve(static_cast<std::size_t>(std::distance(std::begin(elements), std::end(elements))));
    auto store = [&](auto&& element) -> task<> {
      const std::size_t index = found.size();
      found.emplace_back();
      found[index].emplace(co_await std::invoke(make, std::forward<decltype(element)>(element)));
    };
    co_await max_concurrent_for_each(elements, at_once, store);
    std::vector<result> results;
    results.reserve(found.size());
    for (std::optional<result>& each : found) results.push_back(std::move(*each));
    co_return results;
  };
  return collect(std::forward<Range>(range), limit, std::forward<Fn>(fn));
}

/// `initial` combined with the result of `fn(element)` for each element, at most `limit` at a time. `combine(so_far,
/// result)` returns the new value; it is called in the order in which results come, so that none has to be kept.
template <class Range, class Fn, class Value, class Combine>
task<Value> reduce(Range&& range, std::size_t limit, Fn&& fn, Value initial, Combine&& combine) {
  static_assert(detail::safe_in_co_await<Fn>, "name this function before the co_await: " SKERRY_DESTROYED_TWICE);
  static_assert(detail::safe_in_co_await<Combine>, "name this function before the co_await: " SKERRY_DESTROYED_TWICE);
  auto fold = [](Range elements, std::size_t at_once, Fn make, Value value, Combine join) -> task<Value> {
    auto add = [&](auto&& element) -> task<> {
      auto&& result = co_await std::invoke(make, std::forward<decltype(element)>(element));
      value = std::invoke(join, std::move(value), std::forward<decltype(result)>(result));
    };
    co_await max_concurrent_for_each(elements, at_once, add);
    co_return std::move(value);
  };
  return fold(std::forward<Range>(range), limit, std::forward<Fn>(fn), std::move(initial),
              std::forward<Combine>(combine));
}

}  // namespace skerry
