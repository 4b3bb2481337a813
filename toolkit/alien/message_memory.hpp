// SPDX-License-Identifier: Apache-2.0
#pragma once

/// message_memory: where a foreign thread takes the memory of its messages, which shards give back.
///
/// From the heap, one by one, a message costs 190 ns while the shard looks on: the thread takes from the arena into
/// which the shard frees, and each waits for the other. So a thread that sends a lot cuts its messages from chunks, and
/// the heap sees one in a hundred:
///
///     thread:  chunk [ message | message | ...free ] --full--> sealed
///     shards:  each message done: one less; the last one of a sealed chunk frees it
///
/// The word `count_`: `unsealed`, less one for each message that is done; sealing takes `unsealed` off and puts the
/// number of messages that were cut on, so that it then says how many are not done. Lowered by shards and once by the
/// thread; whoever brings it to zero frees the chunk. Each releases what it did there, and the last acquires it. The
/// thread counts what it cuts by itself, so that it never waits for that line.
///
/// Affinity:   one thread at a time; release() any.
/// Ownership:  a chunk lives until it is sealed and all its messages are done. So only what a shard is done with in its
///             poll phase lies in chunks: a message that waits an hour would keep one.
/// Limits:     messages up to `message_max`, others come from the heap, and so do a thread's first `from_heap_first`:
///             one that sends a few must not take a chunk for them.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace skerry::alien::detail {

class message_chunk {
 public:
  static constexpr std::size_t room = 16 * 1024;

  /// Of one message that is done.
  void release() noexcept { lower(1); }

 private:
  friend class message_memory;
  static constexpr std::uint32_t unsealed = std::uint32_t{1} << 31;

  void lower(std::uint32_t by) noexcept {
    if (count_.fetch_sub(by, std::memory_order_acq_rel) == by) delete this;
  }

  alignas(64) std::atomic<std::uint32_t> count_{unsealed};
  alignas(64) std::byte room_[room];  // not set
};

class message_memory {
 public:
  static constexpr std::size_t message_max = 512;
  static constexpr unsigned from_heap_first = 32;

  message_memory() noexcept = default;
  /// What another thread's has is not shared.
  message_memory(const message_memory& /*other*/) noexcept {}
  message_memory& operator=(const message_memory& /*other*/) noexcept { return *this; }
  ~message_memory() { seal(); }

  /// Memory in a chunk, which comes with it; null for "from the heap".
  std::pair<void*, message_chunk*> take(std::size_t bytes, std::size_t alignment) {
    if (bytes > message_max || alignment > alignof(std::max_align_t)) return {nullptr, nullptr};
    if (from_heap_ < from_heap_first) {
      ++from_heap_;
      return {nullptr, nullptr};
    }
    // Whole lines: a message that the shard is done with must not share one with the next that the thread makes.
    const std::size_t lines = (bytes + 63) / 64 * 64;
    if (chunk_ == nullptr || used_ + lines > message_chunk::room) {
      seal();
      chunk_ = new message_chunk;
    }
    void* memory = chunk_->room_ + std::exchange(used_, used_ + lines);
    ++given_;
    return {memory, chunk_};
  }

 private:
  void seal() noexcept {
    if (chunk_ == nullptr) return;
    std::exchange(chunk_, nullptr)->lower(message_chunk::unsealed - given_);
    used_ = 0;
    given_ = 0;
  }

  message_chunk* chunk_ = nullptr;
  std::size_t used_ = 0;
  std::uint32_t given_ = 0;
  unsigned from_heap_ = 0;
};

}  // namespace skerry::alien::detail
