// SPDX-License-Identifier: Apache-2.0
#pragma once

/// text: what the page shows, in plain tables, for terminals and browsers without scripts. Sums are since the start.
///
/// Pure: figures in, text out.
///
/// Affinity: none of its own.
/// Limits:   the matrix of messages is left out past `matrix_shards_max` shards, where it would be wider than any
///           terminal; /hops has it.

#include <skerry/shards/shard.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace skerry::net::admin {

constexpr std::size_t matrix_shards_max = 16;

/// What one shard gives for it.
struct shard_figures {
  using crosses_shards = shard_figures;
  struct server {
    std::string name;
    std::int64_t connections;
    std::int64_t handling;
    std::uint64_t answers;
  };

  shard_stats stats;
  std::size_t ready = 0;  ///< tasks in the run queue
  std::size_t connections = 0;
  std::uint64_t turn_p99_ns = 0;
  std::vector<server> servers;
};

std::string figures_as_text(std::span<const shard_figures> shards);

}  // namespace skerry::net::admin
