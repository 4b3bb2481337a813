// SPDX-License-Identifier: Apache-2.0
#pragma once

/// local_commands: what a connection's own shard answers without asking for a key: PING, ECHO, SELECT, HELLO, QUIT,
/// CLIENT, CONFIG and COMMAND, as far as redis-cli, redis-benchmark and client libraries use them.
///
/// Deliberate differences from Redis 7.0: one database; `CLIENT SETINFO` answers OK as Redis 7.2 does, because
/// libraries send it; `COMMAND DOCS` is empty; HELLO offers protocol 2 only.
///
/// Affinity: the connection's shard.

#include <cstdint>
#include <memory>
#include <string>

#include <kv_server/commands.hpp>

namespace kv_server {

/// What a connection remembers between commands. Small, since idle connections are many.
struct client_state {
  static constexpr std::uint64_t id_max = ~std::uint64_t{0} >> 1;
  std::uint64_t id : 63 = 0;          ///< unique in the process: what CLIENT ID answers
  bool closing : 1 = false;           ///< nothing more is read: send what is written, then close
  std::unique_ptr<std::string> name;  ///< CLIENT SETNAME; at most client_name_size_max bytes; mostly none
};

inline constexpr std::size_t client_name_size_max = 1024;

/// What CONFIG GET can tell of the server.
struct server_facts {
  std::uint64_t memory_max = 0;  ///< over all shards
};

/// args[0] is the name; the count has been checked with `takes`.
void execute_local(client_state& client, const server_facts& server, const command_info& info, arguments args,
                   reply_buffer& out);

}  // namespace kv_server
