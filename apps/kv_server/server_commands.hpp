// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server_commands: what needs every shard: DBSIZE, FLUSHALL, KEYS, SCAN, INFO. And which shard a key lives on.
///
/// Affinity: the connection's shard; the shards do their parts by message.
/// Limits:   KEYS holds all matching names until they are sent, 64 MiB at most, beyond which it answers with an error;
///           use SCAN for large keyspaces. A step of SCAN holds 64 KiB of them and one more.

#include <skerry/framework/this_shard.hpp>

#include <cstdint>

#include <kv_server/commands.hpp>
#include <kv_server/connection.hpp>
#include <kv_server/local_commands.hpp>

namespace kv_server {

/// The upper half of a key's hash, spread evenly over the shards.
inline skerry::shard_id shard_of(std::uint64_t hash) noexcept {
  return static_cast<skerry::shard_id>(((hash >> 32) * skerry::shard_count()) >> 32);
}

skerry::task<> execute_on_all_shards(const command_info& info, arguments args, const server_settings& settings,
                                     reply_buffer& out);

}  // namespace kv_server
