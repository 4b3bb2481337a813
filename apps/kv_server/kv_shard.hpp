// SPDX-License-Identifier: Apache-2.0
#pragma once

/// kv_shard: one shard's keys with a clock and a timer: what every shard of the server has one of.
///
/// Time is the wall clock's at start plus the shard's monotonic clock since, so it never goes back and keys do not jump
/// with the wall clock. Keys expire when they are touched, and by the timer at the keyspace's next deadline.
///
/// Affinity:  its shard.
/// Limits:    `memory_max` bytes of keys and values; writes past it get an -OOM error. A quarter of that again for
///            unfinished commands, see session.hpp.

#include <skerry/shards/call_batch.hpp>
#include <skerry/timers/timer.hpp>

#include <cstdint>
#include <memory>
#include <vector>

#include <kv_server/command_batch.hpp>
#include <kv_server/keyspace.hpp>

namespace kv_server {

/// What INFO tells of one shard.
struct shard_report {
  using crosses_shards = shard_report;
  std::uint64_t keys = 0;
  std::uint64_t expiring = 0;
  std::uint64_t commands = 0;
  std::uint64_t expired = 0;
  std::uint64_t memory_used = 0;
  std::uint64_t connections = 0;
  std::uint64_t connections_total = 0;
  std::uint64_t accept_failures = 0;
  std::uint64_t connections_refused = 0;
};

class kv_shard final : private skerry::timers::timer {
 public:
  /// Replies of one slice pause here, so that a shard holds little for a client that does not read.
  static constexpr std::size_t slice_reply_bytes = 16 * 1024;

  /// Of the memory for keys, this much again may be held by commands that have not arrived in full.
  static constexpr std::uint64_t input_share = 4;
  static constexpr std::uint64_t input_min = 1U << 20;

  explicit kv_shard(std::uint64_t memory_max);
  ~kv_shard();

  keyspace& keys() noexcept { return keys_; }
  std::uint64_t now_ms() const noexcept;
  void execute(batch_slice& slice);
  /// After anything that may have brought the next deadline nearer.
  void schedule_maintenance() noexcept;
  shard_report report() const noexcept;

  std::uint64_t connections = 0;
  std::uint64_t connections_total = 0;
  std::uint64_t commands = 0;
  std::uint64_t input_held = 0;
  const std::uint64_t input_max;

 private:
  void expired() noexcept override;

  std::int64_t wall_minus_monotonic_ms_;
  std::uint64_t armed_for_ms_ = 0;
  keyspace keys_;
};

/// Takes a batch whose connection is gone and gives the values it borrowed back to their shards. Frees itself.
void return_pins(std::unique_ptr<command_batch> batch);

}  // namespace kv_server
