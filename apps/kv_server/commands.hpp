// SPDX-License-Identifier: Apache-2.0
#pragma once

/// commands: which commands there are, what they take, and where their keys are.
///
/// A name is at most eight letters, so it is one 64-bit word, folded to lower case with one `or` (which maps nothing
/// but letters to letters) and found in a table without collisions that the compiler computes: a lookup is a
/// multiplication, a shift and one comparison.
///
/// Routing says who executes: `local` the connection's own shard; `single_key` the key's shard; `multi_key` is taken
/// apart into one piece per key; `all_shards` and everything with the flag `barrier` runs alone, after what was sent
/// before it.
///
/// Affinity: any thread, all of it is constant.

#include <skerry/net/resp/writer.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace kv_server {

using skerry::net::resp::reply_buffer;
using arguments = std::span<const std::string_view>;

enum class command_id : std::uint8_t {
  append,
  client,
  command,
  config,
  dbsize,
  decr,
  decrby,
  del,
  echo,
  exists,
  expire,
  flushall,
  get,
  getdel,
  getex,
  hello,
  incr,
  incrby,
  info,
  keys,
  mget,
  mset,
  persist,
  pexpire,
  ping,
  pttl,
  quit,
  scan,
  select,
  set,
  strlen,
  ttl,
  type
};

enum class routing : std::uint8_t { local, single_key, multi_key, all_shards };

enum command_flag : std::uint8_t {
  flag_readonly = 1,
  flag_write = 2,
  flag_denyoom = 4,  ///< may need memory
  flag_fast = 8,
  flag_barrier = 16  ///< nothing of a pipeline that comes later may start before it is done
};

struct command_info {
  std::string_view name;  ///< lower case
  command_id id;
  routing route;
  std::int8_t arity;  ///< with the name; negative: at least that many
  std::uint8_t flags;
  std::uint8_t key_step;  ///< from one key to the next, for multi_key; 0 when there are no keys
};

/// In the order of their names.
std::span<const command_info> all_commands() noexcept;

/// Null when there is no such command. Letters of either case.
const command_info* find_command(std::string_view name) noexcept;

/// Whether the command takes that many arguments, its name included. MSET also wants pairs.
bool takes(const command_info& info, std::size_t count) noexcept;

/// `ERR unknown command 'x', with args beginning with: 'a' 'b' `, cut as Redis cuts it.
void write_unknown_command(reply_buffer& out, arguments args);
/// `ERR wrong number of arguments for 'x' command`; "client|id" for a subcommand.
void write_wrong_arity(reply_buffer& out, std::string_view name);

/// Clients choose their behaviour by it: that of the server whose commands these are.
inline constexpr std::string_view spoken_version = "7.0.15";

inline constexpr std::string_view error_syntax = "ERR syntax error";
inline constexpr std::string_view error_not_integer = "ERR value is not an integer or out of range";
inline constexpr std::string_view error_out_of_memory = "OOM command not allowed when used memory > 'maxmemory'.";

/// A canonical decimal: no spaces, no plus, no leading zero, no "-0".
std::optional<std::int64_t> parse_integer(std::string_view text) noexcept;
bool equal_ignoring_case(std::string_view text, std::string_view lower) noexcept;

/// An argument as an error quotes it: the beginning of a long one.
constexpr std::string_view quoted(std::string_view argument) noexcept { return argument.substr(0, 128); }

/// What SCAN was asked. Empty when the arguments are wrong; the error is then in `out`.
struct scan_request {
  std::uint64_t cursor = 0;
  std::size_t count = 10;
  std::string_view pattern = "*";
  bool type_exists = true;  ///< false: TYPE asks for what no key is
};
std::optional<scan_request> parse_scan(arguments args, reply_buffer& out);

/// Whether FLUSHALL's arguments are right: none, ASYNC or SYNC. Both mean the same here: O(1) now, memory back in
/// steps.
bool parse_flushall(arguments args, reply_buffer& out);

}  // namespace kv_server
