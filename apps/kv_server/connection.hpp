// SPDX-License-Identifier: Apache-2.0
#pragma once

/// connection: one client. Reads what has arrived, runs every complete command in it as one batch over the shards, and
/// sends the replies in order.
///
///     read -> parse -> [ one message per shard | own shard at once ] -> assemble -> write -> read ...
///
/// The next batch starts when the replies of this one are with the stream, so a client that does not read stops being
/// read: what is held for it is the stream's high-water marks plus one slice's replies per shard, under 1 MiB on up to
/// eight shards.
///
/// Atomicity: a command on one key is atomic. MSET, MGET, DEL and EXISTS are atomic per shard. FLUSHALL, DBSIZE, KEYS
/// and INFO visit the shards one after the other while they serve others. A SCAN cursor holds its shard in the upper 16
/// bits and the position there in the lower 48: it walks shard 0 to its end, then shard 1, and so on.
///
/// Affinity: the shard that accepted.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/stream.hpp>

#include <cstdint>

namespace kv_server {

/// What every connection knows of the server; the same on all shards.
struct server_settings {
  using crosses_shards = server_settings;
  std::uint64_t memory_max = 0;
  std::uint64_t hash_seed = 0;
  std::uint16_t port = 0;
  std::int64_t started_ms = 0;
};

/// Serves one client until it leaves, breaks the protocol or the app stops.
skerry::task<> serve(skerry::net::stream client);

}  // namespace kv_server
