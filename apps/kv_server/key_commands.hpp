// SPDX-License-Identifier: Apache-2.0
#pragma once

/// key_commands: what a command does to one key, on the shard that has it.
///
/// `execute` answers a single_key command in full. `execute_piece` does one key's part of MGET, MSET, DEL or EXISTS;
/// the connection's shard puts the parts together (command_batch). Both are Redis 7's answers byte for byte.
///
/// A value too large to copy (keyspace::large_value_min) is pinned if the caller has a place for the pin: then the
/// reply ends with the length line, and the caller sends the pinned bytes and a line end itself.
///
/// Affinity: the key's shard. The arguments and `info` may be another shard's, kept alive and unchanged by it.

#include <kv_server/commands.hpp>
#include <kv_server/keyspace.hpp>

namespace kv_server {

/// A value that a reply borrows instead of copying it. Give it back with keyspace::unpin on the key's shard.
struct pinned_value {
  large_value* value = nullptr;
  std::uint32_t size = 0;
};

/// args[0] is the command's name, args[1] its key, hash the key's; the count has been checked with `takes`.
void execute(keyspace& keys, const command_info& info, arguments args, std::uint64_t hash, std::uint64_t now_ms,
             reply_buffer& out, pinned_value* pin = nullptr);

/// args[0] is the key, args[1] for MSET its value. MGET appends the value to `out`; the others return whether the key
/// was there (EXISTS), was removed (DEL), could be stored (MSET: false means no memory).
bool execute_piece(keyspace& keys, const command_info& info, arguments args, std::uint64_t hash, std::uint64_t now_ms,
                   reply_buffer& out, pinned_value* pin = nullptr);

}  // namespace kv_server
