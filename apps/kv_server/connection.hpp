// SPDX-License-Identifier: Apache-2.0
#pragma once

/// connection: one client. Waits until it says something, lends it a session for that, and waits again.
///
/// A session runs the commands that have come as batches over the shards. The next batch starts when the replies of
/// this one are with the stream, so a client that does not read stops being read: what is held for it is the stream's
/// marks and one session, under 1 MiB on up to eight shards. Silent, it takes less than 512 bytes. Beside that, a
/// command that did not come in one piece is held until it is answered, within the shard's room for these
/// (session.hpp), and what KEYS or a step of SCAN found (server_commands.hpp).
///
/// Atomicity: what one command does to one key is atomic. MSET, MGET, DEL and EXISTS do each shard's part at once, up
///            to command_batch::pieces_max keys and kv_shard::slice_reply_bytes of values; between such parts and
///            between shards others are served. FLUSHALL, DBSIZE, KEYS and INFO visit the shards while these serve
///            others.
/// Cursors:   SCAN's holds its shard in the upper 16 bits and the position there in the lower 48: it walks shard 0 to
///            its end, then shard 1, and so on.
/// Affinity:  the shard that accepted.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/stream.hpp>

#include <cstdint>

namespace kv_server {

/// What every connection knows of the server; the same on all shards.
struct server_settings {
  using crosses_shards = server_settings;
  std::uint64_t memory_max = 0;
  std::uint32_t connections_max = 0;
  std::uint64_t hash_seed = 0;
  std::uint16_t port = 0;
  std::int64_t started_ms = 0;
};

/// Serves one client until it leaves, breaks the protocol or the app stops.
skerry::task<> serve(skerry::net::stream client);

}  // namespace kv_server
