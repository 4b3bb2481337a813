// SPDX-License-Identifier: Apache-2.0
#pragma once

/// shard_choice: which shard is to serve the next connection, for the shard that accepts for all.
///
/// What it knows of the others' load is what was handed to them less what they have told to have ended, which they do
/// in batches: no counter is shared, and no connection costs a message when it begins.
///
///     round_robin    each in turn
///     least_loaded   two are drawn, the one with fewer connections has it
///
/// Two, not all: whoever looks at what it hears late, and always chooses the least, sends everybody to the same shard
/// until it hears of that. Two random choices are nearly as even, whatever the delay, and cost the same for any number
/// of shards.
///
/// Affinity:   one shard; a pure structure.
/// Invariants: a shard has at most `untaken_max` connections that were handed to it and not taken.
/// Limits:     that: a shard that does not turn is passed over, and nobody has one when all have that many.
/// Source:     Mitzenmacher, "The power of two choices in randomized load balancing", 2001.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/net/server_options.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace skerry::net::detail {

class shard_choice {
 public:
  static constexpr std::size_t untaken_max = 64;

  shard_choice(accept_policy how, std::size_t shards) : how_(how), shards_(shards) {}

  /// Notes it as on its way there; nothing if no shard has room.
  std::optional<shard_id> next(random_source& random) noexcept {
    const auto count = static_cast<shard_id>(shards_.size());
    shard_id first = next_;
    if (how_ == accept_policy::least_loaded && count > 1) {
      first = static_cast<shard_id>(random.uniform(count));
      const auto other = static_cast<shard_id>((first + 1 + random.uniform(count - 1)) % count);
      if (is_better(other, first)) first = other;
    }
    for (shard_id step = 0; step < count; ++step) {
      const shard_id chosen = (first + step) % count;
      each& here = shards_[chosen];
      if (here.untaken == untaken_max) continue;
      ++here.untaken;
      ++here.load;
      next_ = (chosen + 1) % count;
      return chosen;
    }
    return std::nullopt;
  }
  /// Of those on their way to `there`, so many have been taken.
  void taken(shard_id there, std::size_t connections) noexcept {
    SKERRY_ASSERT(shards_[there].untaken >= connections, "what is taken was handed over");
    shards_[there].untaken -= connections;
  }
  /// Connections that came by other ways, or ended.
  void change(shard_id there, std::int64_t connections) noexcept { shards_[there].load += connections; }
  /// As far as it is known.
  std::int64_t load(shard_id there) const noexcept { return shards_[there].load; }

 private:
  struct each {
    std::int64_t load = 0;  // below 0 while a move is heard of in another order than it happened
    std::size_t untaken = 0;
  };
  bool is_better(shard_id a, shard_id b) const noexcept {
    if (shards_[a].untaken == untaken_max || shards_[b].untaken == untaken_max) return shards_[a].untaken < untaken_max;
    return shards_[a].load < shards_[b].load;
  }

  const accept_policy how_;
  std::vector<each> shards_;
  shard_id next_ = 0;
};

}  // namespace skerry::net::detail
