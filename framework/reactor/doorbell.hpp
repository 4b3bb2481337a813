// SPDX-License-Identifier: Apache-2.0
#pragma once

/// doorbell: one word per shard that tells who has left something for it, and whether it sleeps.
///
///     bit 0       the shard is asleep, or about to be
///     bit 1       something outside of the shards wants a poll (a signal, a stop)
///     bit 2..63   the inbox of shard (bit - 2) may hold messages; beyond 62 shards a bit stands for several
///
///     sender                             sleeper
///     push into the queue                announce_sleep(): fetch_or(asleep)   - fails when a bit is set
///     ring(): fetch_or(bit)              look once more, wait in the kernel
///     old word == asleep: wake it        woken(): fetch_and(~asleep)
///
/// Of all senders to a sleeping shard exactly one finds the word equal to `asleep` and pays for the wake-up. Nobody
/// scans queues: a set bit names the inboxes to look into.
///
/// The word: written by every sender (fetch_or) and by the owner (fetch_or, fetch_and, exchange), read by the owner
/// between tasks (relaxed: a hint, a late view costs one task). What decides something is a read-modify-write, so all
/// are in one modification order: a sender's comes before the owner's exchange, which then acquires what was pushed, or
/// after it, and the bit is set for the next look. Rejected: a bitmap apart whose bit a sender sets only if it reads
/// clear: the full fence between its push and that read costs what the read-modify-write costs.
///
/// Affinity: ring() any thread, everything else the owner.

#include <atomic>
#include <cstdint>

namespace skerry {

class alignas(64) doorbell {
 public:
  static constexpr std::uint64_t asleep = 1;
  static constexpr std::uint64_t outside = 2;
  static constexpr unsigned first_inbox = 2, inbox_bits = 62;

  static constexpr std::uint64_t inbox_bit(std::uint32_t sender) noexcept {
    return std::uint64_t{1} << (first_inbox + sender % inbox_bits);
  }

  /// True when the caller is the first to ring a sleeping shard and must wake it.
  [[nodiscard]] bool ring(std::uint64_t bit) noexcept {
    return word_.fetch_or(bit, std::memory_order_seq_cst) == asleep;
  }
  /// A hint.
  std::uint64_t peek() const noexcept { return word_.load(std::memory_order_relaxed) & ~asleep; }
  bool rung() const noexcept { return peek() != 0; }
  /// Takes all bits that have been rung; the owner must then look into every inbox that they name.
  std::uint64_t take() noexcept {
    if (!rung()) return 0;
    return word_.exchange(0, std::memory_order_seq_cst) & ~asleep;
  }
  /// False when somebody has rung: do not sleep.
  [[nodiscard]] bool announce_sleep() noexcept { return word_.fetch_or(asleep, std::memory_order_seq_cst) == 0; }
  /// True when somebody has rung meanwhile.
  bool woken() noexcept { return word_.fetch_and(~asleep, std::memory_order_seq_cst) != asleep; }

 private:
  std::atomic<std::uint64_t> word_{0};
};

}  // namespace skerry
