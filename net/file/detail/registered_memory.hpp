// SPDX-License-Identifier: Apache-2.0
#pragma once

/// registered_memory: memory whose pages the kernel keeps at hand for a shard's ring, so that a transfer past the page
/// cache need not find, pin and let go each of them.
///
/// The rule it enforces: a slot of the ring's table is not used anew before the last operation that names it has
/// ended. An operation may be queued and not yet with the kernel, which would then meet another's memory there.
///
///     add --refused, no slot free, or too much--> null, counted: plain operations do the same
///      '--> known (find gives it) --owner leaves--> no longer found --last operation leaves--> slot free
///
/// Affinity:   home shard. What outlives its shard's table may be left anywhere: the ring is gone.
/// Ownership:  shared by its owner and the operations that name it, in counts; the memory is the owner's, and lives as
///             long as any memory that is given to an operation: until its completion.
/// Invariants: (1) `users_` counts them; (2) a slot is taken or null; (3) `bytes` is the sum of what is registered.
/// Limits:     backend::registered_buffers_max pieces per shard, of 1 GiB at most (the kernel's bound), and together a
///             quarter of RLIMIT_MEMLOCK for all shards, 64 MiB per shard at most: what is registered counts against
///             that limit of the user, and rings, also those of other processes, need room there.

#include <skerry/framework/backend/backend.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
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
  registered_memory* add(std::span<std::byte> memory);
  /// The piece that has all of `bytes`, or null.
  registered_memory* find(std::span<const std::byte> bytes) const noexcept;

  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t bytes_max() const noexcept { return bytes_max_; }
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  friend class registered_memory;
  registered_memory* refuse(const char* why) noexcept;

  backend& kernel_;
  std::array<registered_memory*, backend::registered_buffers_max> slots_{};
  std::size_t ever_used_ = 0;  // slots behind these have always been free
  std::size_t bytes_ = 0;
  std::size_t bytes_max_;
  std::uint64_t refused_ = 0;
};

class registered_memory {
 public:
  int slot() const noexcept { return static_cast<int>(slot_); }
  void use() noexcept { ++users_; }
  void leave() noexcept;
  /// The owner's leave: nobody new finds it.
  void forget() noexcept;

 private:
  friend class memory_table;
  registered_memory(memory_table& table, unsigned slot, std::span<std::byte> memory) noexcept
      : table_(&table), memory_(memory), bytes_(memory.size()), slot_(slot) {}
  ~registered_memory() = default;

  memory_table* table_;          // null: its shard has ended
  std::span<std::byte> memory_;  // what find() looks at
  std::size_t bytes_;
  std::uint32_t users_ = 1;
  unsigned slot_;
};

/// Keeps a slot for one operation, if the memory has one.
class registered_use {
 public:
  explicit registered_use(registered_memory* of) noexcept : of_(of) {
    if (of_ != nullptr) of_->use();
  }
  registered_use(const registered_use&) = delete;
  registered_use& operator=(const registered_use&) = delete;
  ~registered_use() {
    if (of_ != nullptr) of_->leave();
  }
  int slot() const noexcept { return of_ != nullptr ? of_->slot() : -1; }

 private:
  registered_memory* of_;
};

}  // namespace skerry::net
