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
/// Pieces have at most `grain` elements. As long as something lies aside that others could steal, a worker takes piece
/// after piece from the front of its range; when nothing does, it puts half of what is left aside, which is a join. So
/// a range of which nobody takes anything costs one look per piece, and work goes where workers are free. `reduce`
/// combines neighbours, in order: it has to be associative, and need not be commutative.
///
/// Rejected: to halve until all pieces are small, whoever is free: 14 ns per piece.
///
/// Affinity:     a job's own worker; pieces on any.
/// Errors:       what a piece throws leaves when the others have ended; some may not have been begun.
/// Cancellation: once nobody wants the job's result, no further piece is begun; the result then means nothing.
/// Limits:       the deque's: ranges of up to 2^64 elements nest 64 deep.

#include <skerry/framework/assert.hpp>
#include <skerry/toolkit/pool/compute_worker.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace skerry {

/// Calls `body(from, to)` for pieces that make up the range.
template <class Body>
void parallel_for(compute_worker& here, std::size_t begin, std::size_t end, std::size_t grain, const Body& body) {
  SKERRY_ASSERT(grain > 0, "a piece has at least one element");
  SKERRY_ASSERT(begin <= end, "a range does not end before it begins");
  while (begin != end && !here.stop_requested()) {
    const std::size_t left = end - begin;
    if (left > grain && !here.has_work_aside()) {
      const std::size_t middle = begin + left / 2;
      here.join([&](compute_worker& on) { parallel_for(on, begin, middle, grain, body); },
                [&](compute_worker& on) { parallel_for(on, middle, end, grain, body); });
      return;
    }
    const std::size_t next = begin + std::min(left, grain);
    body(begin, next);
    begin = next;
  }
}

/// `reduce` of all `map(from, to)`; `map(begin, begin)` for an empty range.
template <class Map, class Reduce>
auto parallel_reduce(compute_worker& here, std::size_t begin, std::size_t end, std::size_t grain, const Map& map,
                     const Reduce& reduce) -> decltype(map(begin, end)) {
  SKERRY_ASSERT(grain > 0, "a piece has at least one element");
  SKERRY_ASSERT(begin <= end, "a range does not end before it begins");
  using value = decltype(map(begin, end));
  const auto split = [&](std::size_t from) -> value {
    const std::size_t middle = from + (end - from) / 2;
    auto halves = here.join([&](compute_worker& on) { return parallel_reduce(on, from, middle, grain, map, reduce); },
                            [&](compute_worker& on) { return parallel_reduce(on, middle, end, grain, map, reduce); });
    return reduce(std::move(halves.first), std::move(halves.second));
  };
  const auto splits = [&](std::size_t from) { return end - from > grain && !here.has_work_aside(); };
  if (here.stop_requested()) return map(begin, begin);
  if (splits(begin)) return split(begin);
  std::size_t next = begin + std::min(end - begin, grain);
  value sum = map(begin, next);
  while (next != end && !here.stop_requested()) {
    if (splits(next)) return reduce(std::move(sum), split(next));
    const std::size_t from = std::exchange(next, next + std::min(end - next, grain));
    sum = reduce(std::move(sum), map(from, next));
  }
  return sum;
}

}  // namespace skerry
