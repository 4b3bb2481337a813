// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server_options: what a server takes in, and what becomes of the rest.
///
///     limit                         at the limit                            with a `refusal`
///     connections_max               further ones wait in the kernel's       further ones are told, and closed
///                                   queue until one has ended
///     connections_per_address_max   one more is reset at once               one more is told, and closed
///     accepts_per_second            further ones wait in the kernel's queue until there is a token; a timer wakes it
///
/// Whoever is refused is counted. Who waits learns nothing, but is served in the end: right for few clients that come
/// again and again. A refusal costs more, and lets a client go elsewhere.
///
/// A refusal is told at once or, for protocols in which only the client may speak first, when something has come from
/// it; then what it still sends is read and dropped until its end, as closing before would reset the connection, and
/// the reset overtake our words. All that takes `refusal_max` at most, and the connection's closing order after it.
///
/// A connection counts until its task has ended; its descriptor may live on for endpoint::send_rest_max and linger.
/// Those that come in one turn before a limit is reached are accepted together, and wait in the process.
///
///     accept policy   who accepts                 a connection is served
///     reuseport       every shard, of its socket  where the kernel's hash of its addresses puts it
///     steered         every shard, of its socket  by the shard of the CPU that its first packet came to
///     round_robin     the one that starts it      on each shard in turn
///     least_loaded    the one that starts it      on the one of two random shards that has fewer
///
/// `reuseport` costs nothing and is uneven where connections are few or long. `steered` saves the way of each packet
/// between two CPUs, where the network card spreads connections and the shards are pinned (net/detail/steering.hpp);
/// else it says in the log why not and is `reuseport`. The last two cost the hand-over, a message for a batch and a
/// place in another shard's queues; they are for connections that live long. They are also for what has one socket, a
/// Unix name or one that was handed to the process, of which else each shard takes what it gets.
///
/// Limits: none of these by default. Then the descriptors are the bound (RLIMIT_NOFILE): accepting pauses when they run
///         out and goes on when one is given back, see acceptor.hpp. `refusals_at_once` per shard; one more is reset.

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>

namespace skerry::net {

enum class accept_policy : std::uint8_t { reuseport, steered, round_robin, least_loaded };

struct server_options {
  using crosses_shards = server_options;
  server_options() {}  // no aggregate: g++ 12 destroys those twice in co_await

  static constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();

  std::uint32_t connections_max = unlimited;  ///< on all shards together; at least 1
  /// Of one peer address on one shard; of IPv6 addresses, of one /64. The kernel spreads an address's connections over
  /// the shards, so in all it may have as many times more as there are of them. At least 1.
  std::uint32_t connections_per_address_max = unlimited;
  std::uint32_t accepts_per_second = unlimited;  ///< on each shard that accepts, on average; at least 1
  std::uint32_t accepts_at_once = 100;           ///< of these, without a pause before; at least 1
  std::string refusal;                           ///< what whoever is refused is told; empty: as in the table above
  bool refusal_after_question = false;           ///< told when the client has said something, if it does
  accept_policy accept = accept_policy::reuseport;
  /// Takes the sockets over from the process that serves there, and offers them to the next: hand_over.hpp.
  bool hand_over = false;
  std::string name;  ///< the label `server` of its metrics; empty for its address
};

inline constexpr std::chrono::seconds refusal_max{1};
inline constexpr std::uint32_t refusals_at_once = 256;

namespace detail {
/// The same on every shard: who made it, and its number there.
using server_id = std::uint64_t;
/// Whether one shard accepts for all, and which.
constexpr bool accepts_for_all(accept_policy how) noexcept {
  return how == accept_policy::round_robin || how == accept_policy::least_loaded;
}
constexpr std::uint32_t starter_of(server_id id) noexcept { return static_cast<std::uint32_t>(id >> 32); }
}  // namespace detail

/// What one server has come to, on one shard or on all.
struct server_stats {
  using crosses_shards = server_stats;
  std::uint64_t connections = 0;          ///< now
  std::uint64_t accepted = 0;             ///< since the start, as all below: connections that were served
  std::uint64_t errors = 0;               ///< handlers that ended with an exception
  std::uint64_t refused_connections = 0;  ///< too many, where whoever is too many is told
  std::uint64_t refused_address = 0;      ///< too many of one address
  std::uint64_t refused_memory = 0;       ///< the frame pool was at its limit
  std::uint64_t waits_for_place = 0;      ///< times accepting paused at connections_max
  std::uint64_t waits_for_token = 0;      ///< times accepting paused at accepts_per_second

  server_stats& operator+=(const server_stats& other) noexcept;
};

/// What a drain has come to.
struct drain_result {
  using crosses_shards = drain_result;
  std::uint64_t finished = 0;   ///< connections that ended by themselves in its time
  std::uint64_t cancelled = 0;  ///< those that were cancelled at its limit
  std::uint64_t unserved = 0;   ///< those that still waited for a place then, and were reset
};

}  // namespace skerry::net
