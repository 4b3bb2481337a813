// SPDX-License-Identifier: Apache-2.0
#pragma once

/// registered_memory: memory whose pages the kernel keeps at hand for a shard's ring, so that a transfer past the page
/// cache need not find, pin and let go each of them.
///
/// The rule it enforces: what is refused is done without. Whoever asks for a registration gets one or null, never an
/// error, and an operation without one does the same.
///
///     add --refused, no slot free, or too much--> null, counted, the first one logged
///      '--> known: find() gives it to operations --deleted--> slot free
///
/// A slot of the ring's table is free at once, for no operation in flight can name it: whatever is given to one lives
/// until its completion, and a registration lives as long as its memory.
///
/// Affinity:   home shard. What outlives its shard's table may be deleted anywhere: the ring is gone.
/// Ownership:  the memory's owner has it deleted, and before the memory goes.
/// Invariants: (1) a slot is taken or null; (2) bytes() is the sum of what is registered.
/// Limits:     backend::registered_buffers_max pieces per shard, which together have at most a quarter of
///             RLIMIT_MEMLOCK for all shards and 64 MiB for each: what is registered counts against that limit of the
///             user, and rings, also those of other processes, need room there.

#include <skerry/framework/backend/backend.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace skerry::net {

class registered_memory;

/// What one shard has registered.
class memory_table {
 public:
  static constexpr std::size_t bytes_max_of_shard = std::size_t{64} << 20;

  explicit memory_table(backend& kernel) noexcept;
  ~memory_table();
  memory_table(const memory_table&) = delete;
  memory_table& operator=(const memory_table&) = delete;

  /// Null where it cannot be registered, which the first time is also logged.
  std::unique_ptr<registered_memory> add(std::span<std::byte> memory);
  /// The piece that has all of `bytes`, or null.
  registered_memory* find(std::span<const std::byte> bytes) const noexcept;

  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t bytes_max() const noexcept { return bytes_max_; }
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  friend class registered_memory;
  std::nullptr_t refuse(const char* why) noexcept;

  backend& kernel_;
  std::array<registered_memory*, backend::registered_buffers_max> slots_{};
  std::size_t ever_used_ = 0;  // slots behind these have always been free
  std::size_t bytes_ = 0;
  std::size_t bytes_max_;
  std::uint64_t refused_ = 0;
};

class registered_memory {
 public:
  registered_memory(const registered_memory&) = delete;
  registered_memory& operator=(const registered_memory&) = delete;
  ~registered_memory();

  int slot() const noexcept { return static_cast<int>(slot_); }

 private:
  friend class memory_table;
  registered_memory(memory_table& table, unsigned slot, std::span<std::byte> memory) noexcept
      : table_(&table), memory_(memory), slot_(slot) {}

  memory_table* table_;  // null: its shard has ended, or it was refused
  const std::span<std::byte> memory_;
  const unsigned slot_;
};

}  // namespace skerry::net
