// SPDX-License-Identifier: Apache-2.0
#pragma once

/// command_batch: a pipeline on its way through the shards, from parsed arguments to replies in order.
///
///   connection's shard                       each key's shard              connection's shard
///   parser -> arguments() -> add() ---+
///                                     +--> slice 0: pieces --execute()--> replies --+
///             (views into the window) +--> slice 3: pieces --execute()--> replies --+--> assemble() -> out
///                                     +--> one message per slice                    |
///             local commands, errors -------------------------- answered in turn ---+
///
/// The rule it enforces: however a pipeline is spread, its replies come out whole and in order, and nothing is copied
/// but replies. A *piece* is one key's work: a single_key command is one, MGET of ten keys is ten. A *slice* is all
/// pieces for one shard, in the order they were sent, so commands on one key never overtake each other; commands on
/// different shards may run in any order; connection.hpp tells what is atomic.
///
/// How a connection uses it:
///
///     batch.clear();
///     while (!batch.full() && !batch.barrier() && parser.parse(window, batch.arguments()) == verdict::command)
///       batch.add(seed, shard_of);                      // and drop parser.consumed() without moving the window
///     for (;;) {
///       for each batch.slice that needs_execution(): one message; there slice.execute(keys, now, limit)
///       while ((state = batch.assemble(client, server, out, out_max)) is out_full or value)  send out, then the value
///       if (state == finished) break;         waiting: a slice stopped at its reply limit; execute again
///     }
///     for each batch.slice with has_pins(): one message; there slice.release_pins(keys)
///     if (batch.barrier()) run it on all shards, or execute_local() if it is local (QUIT)
///
/// Affinity:   the connection's shard fills, assembles and clears. While a slice is away, only the shard that executes
///             it touches it, and the batch's arguments stay as they are; different slices may be executed at the same
///             time.
/// Ownership:  the arguments are views into the connection's window, which stays until clear(). A pinned value is the
///             keyspace's; every slice with pins must go back to its shard before clear(), also when the connection is
///             dead.
/// Invariants: (1) executed <= pieces, assembled <= executed, per slice; (2) a command's reply is appended in one piece
///             or, if a value is borrowed, continued exactly behind that value.
/// Limits:     pieces_max pieces or commands_max commands close a batch to further commands (one command may exceed
///             it by its own keys); a slice stops when its replies exceed the limit that execute() is given, so what it
///             holds is at most that, plus one reply of at most keyspace::large_value_min. Vectors are reused and
///             trimmed on clear().

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <kv_server/commands.hpp>
#include <kv_server/key_commands.hpp>
#include <kv_server/key_hash.hpp>
#include <kv_server/local_commands.hpp>

namespace kv_server {

/// A command that stands alone, with its arguments where the batch has them.
struct parsed_command {
  const command_info* info;
  std::span<const std::string_view> args;
};

/// One key's work. 48 bytes; the upper part is the connection's, the lower one what execution left.
struct piece {
  const command_info* info;
  std::uint64_t hash;
  std::uint32_t argument;   ///< the first of its arguments in the batch: the command's name, or for a part its key
  std::uint32_t arguments;  ///< how many are its own

  std::uint32_t reply_end = 0;  ///< its reply ends here in the slice's replies and begins where the one before ends
  bool done_well = false;       ///< what execute_piece returned
  pinned_value pinned;          ///< borrowed, to be sent behind the reply
};

/// The pieces for one shard, and their replies.
class batch_slice {
 public:
  std::uint32_t shard() const noexcept { return shard_; }
  bool done() const noexcept { return executed_ == pieces_.size(); }
  /// Whether it has pieces left and all its replies so far were assembled. What assemble() waits for is such a slice.
  bool needs_execution() const noexcept { return !done() && assembled_ == executed_; }
  bool has_pins() const noexcept { return pins_ > 0; }
  std::span<const piece> pieces() const noexcept { return pieces_; }
  std::size_t reply_bytes() const noexcept { return replies_.size(); }

  /// On the shard of the slice: executes pieces until all are done, their replies exceed `reply_bytes_max` or their
  /// number is a batch's; at least one. Returns how many it executed.
  std::size_t execute(keyspace& keys, std::uint64_t now_ms, std::size_t reply_bytes_max);

  /// On the shard of the slice: gives back what replies borrowed.
  void release_pins(keyspace& keys) noexcept;

 private:
  friend class command_batch;
  static constexpr std::size_t reply_capacity_kept = 16U << 10;

  std::uint32_t shard_ = 0;
  std::uint32_t executed_ = 0;
  std::uint32_t assembled_ = 0;
  std::uint32_t pins_ = 0;
  std::uint32_t reply_begin_ = 0;  ///< in replies_: the first byte not assembled
  const std::vector<std::string_view>* arguments_ = nullptr;
  std::vector<piece> pieces_;
  reply_buffer replies_{reply_capacity_kept};
};

class command_batch {
 public:
  static constexpr std::size_t pieces_max = 1024;
  static constexpr std::size_t commands_max = 1024;

  explicit command_batch(std::uint32_t shard_count);
  command_batch(const command_batch&) = delete;
  command_batch& operator=(const command_batch&) = delete;

  /// Where the parser appends the arguments of the next command.
  std::vector<std::string_view>& arguments() noexcept { return arguments_; }

  /// Takes the arguments appended since the last call as one command. `shard_of(hash)` names the shard of a key. A
  /// wrong name or count becomes an error reply in its place. A barrier is kept aside: add nothing more then.
  template <class ShardOf>
  void add(std::uint64_t seed, ShardOf&& shard_of);

  bool empty() const noexcept { return commands_.empty() && !barrier_; }
  bool full() const noexcept { return order_.size() >= pieces_max || commands_.size() >= commands_max; }
  std::size_t commands() const noexcept { return commands_.size(); }

  /// The command that must wait for all of these, and everything later for it.
  const std::optional<parsed_command>& barrier() const noexcept { return barrier_; }

  /// The shards that have pieces in this batch, in the order they were first named.
  std::span<const std::uint32_t> shards() const noexcept { return active_; }
  batch_slice& slice(std::uint32_t shard) noexcept { return slices_[shard]; }

  enum class assembly : std::uint8_t {
    finished,  ///< every command is answered
    waiting,   ///< the next one needs a piece that is not executed: its slice stopped at its limit
    out_full,  ///< `out` holds `out_max` bytes or more: send it, call again
    value      ///< send `out`, then borrowed_value(), then call again
  };
  /// Appends replies in order, as far as they are there. Local commands are executed here, in their turn.
  assembly assemble(client_state& client, const server_facts& server, reply_buffer& out, std::size_t out_max);

  /// After `value`. The bytes stay until release_pins() and clear(); their line end comes with the next assemble().
  std::string_view borrowed_value() const noexcept { return borrowed_; }

  /// Makes it ready for the next pipeline. No slice may be away, and none may hold pins.
  void clear() noexcept;

 private:
  struct command {
    const command_info* info;  ///< null: unknown
    std::uint32_t argument;
    std::uint32_t arguments;
    std::uint32_t pieces;
    bool answered_here;  ///< local, or an error: no piece
  };

  parsed_command begin_add();
  void finish_add(const command_info* info, std::uint32_t first, std::uint32_t pieces, bool answered_here);
  void add_piece(std::uint32_t shard, const piece& work);

  void answer_here(const command& c, client_state& client, const server_facts& server, reply_buffer& out);
  bool lend_argument(const command& c, reply_buffer& out);
  bool assemble_piece(const command& c, reply_buffer& out);
  void finish_command(const command& c, reply_buffer& out);
  std::span<const std::string_view> arguments_of(const command& c) const noexcept;

  std::vector<std::string_view> arguments_;
  std::vector<command> commands_;
  std::vector<std::uint32_t> order_;   ///< the shard of every piece, in the order they were sent
  std::vector<std::uint32_t> active_;  ///< shards whose slice has pieces
  std::vector<batch_slice> slices_;    ///< by shard
  std::optional<parsed_command> barrier_;

  // Where assemble() stands.
  std::size_t next_command_ = 0;
  std::size_t next_piece_ = 0;  ///< in order_
  std::uint32_t piece_of_command_ = 0;
  std::uint32_t counted_ = 0;  ///< pieces of the command that were done well
  bool line_end_due_ = false;  ///< behind a borrowed value
  std::string_view borrowed_;
};

template <class ShardOf>
void command_batch::add(std::uint64_t seed, ShardOf&& shard_of) {
  const parsed_command parsed = begin_add();
  const command_info* info = parsed.info;
  const auto first = static_cast<std::uint32_t>(arguments_.size() - parsed.args.size());
  const auto count = static_cast<std::uint32_t>(parsed.args.size());
  if (info == nullptr || !takes(*info, count)) return finish_add(info, first, 0, true);
  if ((info->flags & flag_barrier) != 0) {
    barrier_ = parsed;
    return;
  }
  if (info->route == routing::local) return finish_add(info, first, 0, true);
  if (info->route == routing::single_key) {
    std::uint64_t hash = key_hash(parsed.args[1], seed);
    add_piece(shard_of(hash), {info, hash, first, count, 0, false, {}});
    return finish_add(info, first, 1, false);
  }
  SKERRY_ASSERT(info->route == routing::multi_key, "a command for all shards is a barrier");
  for (std::uint32_t i = 1; i < count; i += info->key_step) {
    std::uint64_t hash = key_hash(parsed.args[i], seed);
    add_piece(shard_of(hash), {info, hash, first + i, info->key_step, 0, false, {}});
  }
  finish_add(info, first, (count - 1) / info->key_step, false);
}

}  // namespace kv_server
