// SPDX-License-Identifier: Apache-2.0
#pragma once

/// session: a client's commands on their way: what has arrived of them, the batch they run in, the replies.
///
///     bytes -> parse -> [ one message per shard | own shard at once ] -> assemble -> write
///                |
///                +-- what is left is the beginning of a command: kept until the rest comes
///
/// The rule it enforces: a client that says nothing costs nothing. Idle connections are many and a session is
/// kilobytes, so a connection has one only while some of its bytes are unanswered; else it lies in the shard's pool,
/// still warm for the next client.
///
/// Affinity:     the shard that accepted the client.
/// Ownership:    the pool's, lent to a connection; one that goes down with its connection is freed, and the values its
///               replies borrowed go back to their shards by themselves.
/// Cancellation: at any point.
/// Limits:       a batch's; `out_bytes` of replies before they are written; free sessions: `free_max`. Unfinished
/// commands
///               of all clients of a shard hold at most `kv_shard::input_max` bytes together, beside the first
///               `input_free_bytes` of each; what would exceed it gets an -OOM error, and its connection is closed.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/resp/parser.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/call_batch.hpp>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <kv_server/command_batch.hpp>
#include <kv_server/kv_shard.hpp>
#include <kv_server/local_commands.hpp>

namespace kv_server {

struct server_settings;

class session {
 public:
  static constexpr std::size_t out_bytes = 32 * 1024;
  static constexpr std::size_t input_free_bytes = 16 * 1024;

  session();
  ~session();
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  /// Reads once, runs every complete command in what has come and writes the replies to `client`. Sets state.closing
  /// when the client is to be left: at its end, after QUIT, or when it broke the protocol or a limit.
  skerry::task<> run(skerry::net::stream& client, client_state& state);
  /// Whether no command has begun that is not answered.
  bool idle() const noexcept { return unfinished_.empty() && !parser_.mid_command(); }

 private:
  struct execute_slice {
    void operator()(skerry::borrowed<batch_slice> slice) const { skerry::resource<kv_shard>().execute(*slice); }
  };

  skerry::task<bool> run_batch(skerry::net::stream& client, client_state& state, std::span<char>& window);
  skerry::task<> answer(skerry::net::stream& client, client_state& state);
  skerry::task<> execute_slices();
  skerry::task<> release_pins();
  skerry::task<> send_out(skerry::net::stream& client);
  bool append_unfinished(std::span<const char> more);
  void keep_unfinished(std::span<char> window);
  bool charge_input(std::size_t bytes) noexcept;
  server_facts facts() const noexcept;

  const server_settings& settings_;
  kv_shard& here_;
  skerry::net::resp::request_parser parser_;
  std::unique_ptr<command_batch> batch_;
  skerry::call_batch<execute_slice, skerry::borrowed<batch_slice>> remote_;
  reply_buffer out_{out_bytes};
  std::string unfinished_;
  std::size_t input_charged_ = 0;
};

/// One shard's free sessions, the last one used on top.
class session_pool {
 public:
  static constexpr std::size_t free_max = 64;

  session_pool() { free_.reserve(free_max); }
  std::unique_ptr<session> take() {
    if (free_.empty()) return std::make_unique<session>();
    std::unique_ptr<session> taken = std::move(free_.back());
    free_.pop_back();
    return taken;
  }
  /// Of an idle session.
  void give_back(std::unique_ptr<session> used) noexcept {
    SKERRY_ASSERT(used->idle(), "a session goes back when nothing of it is unanswered");
    if (free_.size() < free_max) free_.push_back(std::move(used));
  }
  std::size_t free() const noexcept { return free_.size(); }

 private:
  std::vector<std::unique_ptr<session>> free_;
};

}  // namespace kv_server
