// SPDX-License-Identifier: Apache-2.0
#pragma once

/// parallel_for, parallel_reduce: one job's work on a range, split among the workers of the pool.
///
///     auto sum = [](compute_worker& here, std::vector<int> all) {
///       auto part = [&](std::size_t from, std::size_t to) { return add_up(std::span(all).subspan(from, to - from)); };
///       return parallel_reduce(here, 0, all.size(), 1024, part, std::plus<>());
///     };
///     int total = co_await compute(sum, slots);
///
/// A range is halved until a piece has at most `grain` elements, and every halving is a join: so one that nobody steals
/// costs some ten nanoseconds, and pieces go where workers are free. `reduce` combines neighbours, in order: it has to
/// be associative, and need not be commutative.
///
/// Affinity:     a job's own worker; pieces on any.
/// Errors:       what a piece throws leaves when the others have ended; some may not have been begun.
/// Cancellation: once nobody wants the job's result, no further piece is begun; the result then means nothing.
/// Limits:       the deque's: ranges of up to 2^64 elements nest 64 deep.

#include <skerry/framework/assert.hpp>
#include <skerry/toolkit/pool/compute_worker.hpp>

#include <cstddef>
#include <utility>

namespace skerry {

/// Calls `body(from, to)` for pieces that make up the range.
template <class Body>
void parallel_for(compute_worker& here, std::size_t begin, std::size_t end, std::size_t grain, const Body& body) {
  SKERRY_ASSERT(grain > 0, "a piece has at least one element");
  SKERRY_ASSERT(begin <= end, "a range does not end before it begins");
  if (begin == end || here.stop_requested()) return;
  if (end - begin <= grain) return static_cast<void>(body(begin, end));
  const std::size_t middle = begin + (end - begin) / 2;
  here.join([&](compute_worker& on) { parallel_for(on, begin, middle, grain, body); },
            [&](compute_worker& on) { parallel_for(on, middle, end, grain, body); });
}

/// `reduce` of all `map(from, to)`; `map(begin, begin)` for an empty range.
template <class Map, class Reduce>
auto parallel_reduce(compute_worker& here, std::size_t begin, std::size_t end, std::size_t grain, const Map& map,
                     const Reduce& reduce) -> decltype(map(begin, end)) {
  SKERRY_ASSERT(grain > 0, "a piece has at least one element");
  SKERRY_ASSERT(begin <= end, "a range does not end before it begins");
  if (here.stop_requested()) return map(begin, begin);
  if (end - begin <= grain) return map(begin, end);
  const std::size_t middle = begin + (end - begin) / 2;
  auto halves = here.join([&](compute_worker& on) { return parallel_reduce(on, begin, middle, grain, map, reduce); },
                          [&](compute_worker& on) { return parallel_reduce(on, middle, end, grain, map, reduce); });
  return reduce(std::move(halves.first), std::move(halves.second));
}

}  // namespace skerry
