// SPDX-License-Identifier: Apache-2.0
#pragma once

/// hops: what crosses between shards, as numbers, and an assertion that keeps a design from chatting between cores.
///
///     SKERRY_EXPECT_HOPS_LE(1, co_await submit_to(owner, [] { return local_store().erase("key"); }));
///
/// fails with the pairs of shards where more was sent. It counts what all shards run meanwhile, whoever sent it, so a
/// test does one thing at a time; a reply belongs to its call. For GoogleTest, inside a task.
///
/// Affinity: any shard.

#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/shard.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace skerry {

/// Entry `[to][from]`. To ask is itself a message from here to each other shard.
using hop_matrix = std::vector<std::vector<pair_stats>>;
inline task<hop_matrix> hops() {
  return detail::call_everywhere(detail::handler_scope::root, [] { return stats().received_from; });
}

namespace detail {
/// How many messages are between two answers given to this shard, and who sent them.
inline std::pair<std::uint64_t, std::string> count_hops(const hop_matrix& before, const hop_matrix& after) {
  std::pair<std::uint64_t, std::string> found;
  for (shard_id from = 0; from < after.size(); ++from) {
    for (shard_id to = 0; to < after.size(); ++to) {
      std::uint64_t sent = after[to][from].requests - before[to][from].requests;
      if (from == this_shard_id() && from != to) --sent;  // the question
      if (sent != 0) found.second += fmt::format("  {} from shard {} to shard {}\n", sent, from, to);
      found.first += sent;
    }
  }
  return found;
}
}  // namespace detail

}  // namespace skerry

#define SKERRY_EXPECT_HOPS_LE(most, ...)                                                                              \
  do {                                                                                                                \
    const auto skerry_before = co_await ::skerry::hops();                                                             \
    static_cast<void>(__VA_ARGS__);                                                                                   \
    const auto [skerry_count, skerry_pairs] = ::skerry::detail::count_hops(skerry_before, co_await ::skerry::hops()); \
    EXPECT_LE(skerry_count, static_cast<std::uint64_t>(most)) << "hops of " #__VA_ARGS__ "\n" << skerry_pairs;        \
  } while (false)
