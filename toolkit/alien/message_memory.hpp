// SPDX-License-Identifier: Apache-2.0
#pragma once

/// message_memory: where a foreign thread takes the memory of its messages, which shards give back.
///
/// From the heap, one by one, a message costs 190 ns while the shard looks on: the thread takes from the arena into
/// which the shard frees, and each waits for the other. So a thread that sends a lot cuts its messages from chunks,
/// which come back to it:
///
///     thread:  chunk [ message | message | ...free ] --full--> sealed
///        '---- emptied_chunks <---keep()--------------------------'    by the shard that is done with the last message
///                  '---full: to the heap
///
/// The word `count_`: `unsealed`, less one for each message that is done; sealing takes `unsealed` off and puts the
/// number of messages that were cut on, so that it then says how many are not done. Lowered by shards and once by the
/// thread; whoever brings it to zero gives the chunk back. Each releases what it did there, and the last acquires it.
/// The thread counts what it cuts by itself, so that it never waits for that line.
///
/// The word `top_` of emptied_chunks: the chunk on top, and in the low bits, which its alignment leaves, how many there
/// are. Many put and only the thread takes, so a chunk that a take has seen on top stays there or below until that take
/// has it: no ABA. A put releases what the shard did in the chunk, the take acquires it.
///
/// Affinity:   one thread at a time; release() any.
/// Ownership:  a chunk holds a share in where it goes back to, until it is there. So the thread may end before its
///             messages are done: the last of them then frees all chunks. Only what a shard is done with in its poll
///             phase lies in chunks: a message that waits an hour would keep one.
/// Limits:     messages up to `message_max`, others come from the heap, and so do a thread's first `from_heap_first`:
///             one that sends a few must not take a chunk for them. `kept_max` chunks wait for their thread (256 KiB);
///             what a burst took beyond that goes back to the heap.

#include <skerry/framework/detail/poison.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace skerry::alien::detail {

class message_chunk;

/// The chunks that are done with and wait for their thread.
class emptied_chunks {
 public:
  static constexpr std::size_t kept_max = 16;

  emptied_chunks() noexcept = default;
  ~emptied_chunks();

  /// False: there are enough.
  bool keep(message_chunk& chunk) noexcept;
  /// The one that was kept last, whose lines are the warmest; null when there is none. The thread only.
  message_chunk* take() noexcept;

 private:
  static constexpr std::uintptr_t number_mask = 63;
  static message_chunk* chunk_of(std::uintptr_t word) noexcept {
    return reinterpret_cast<message_chunk*>(word & ~number_mask);
  }

  std::atomic<std::uintptr_t> top_{0};
};

class message_chunk {
 public:
  static constexpr std::size_t room = 16 * 1024;

  /// Of one message that is done.
  void release() noexcept { lower(1); }

 private:
  friend class emptied_chunks;
  friend class message_memory;
  static constexpr std::uint32_t unsealed = std::uint32_t{1} << 31;

  void lower(std::uint32_t by) noexcept {
    if (count_.fetch_sub(by, std::memory_order_acq_rel) != by) return;
    const std::shared_ptr<emptied_chunks> home = std::move(home_);
    if (!home->keep(*this)) delete this;
  }

  alignas(64) std::atomic<std::uint32_t> count_{unsealed};
  alignas(64) std::shared_ptr<emptied_chunks> home_;
  message_chunk* below_ = nullptr;    // there
  alignas(64) std::byte room_[room];  // not set
};

inline emptied_chunks::~emptied_chunks() {
  while (message_chunk* chunk = take()) delete chunk;
}

inline bool emptied_chunks::keep(message_chunk& chunk) noexcept {
  skerry::detail::poison(chunk.room_, message_chunk::room);
  std::uintptr_t seen = top_.load(std::memory_order_relaxed);
  std::uintptr_t wanted = 0;
  do {
    const std::uintptr_t number = seen & number_mask;
    if (number == kept_max) return false;
    chunk.below_ = chunk_of(seen);
    wanted = reinterpret_cast<std::uintptr_t>(&chunk) | (number + 1);
  } while (!top_.compare_exchange_weak(seen, wanted, std::memory_order_release, std::memory_order_relaxed));
  return true;
}

inline message_chunk* emptied_chunks::take() noexcept {
  std::uintptr_t seen = top_.load(std::memory_order_acquire);
  while (seen != 0) {
    message_chunk* chunk = chunk_of(seen);
    const std::uintptr_t number = (seen & number_mask) - 1;
    if (top_.compare_exchange_weak(seen, reinterpret_cast<std::uintptr_t>(chunk->below_) | number,
                                   std::memory_order_acquire)) {
      skerry::detail::unpoison(chunk->room_, message_chunk::room);
      return chunk;
    }
  }
  return nullptr;
}

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
      begin_chunk();
    }
    void* memory = chunk_->room_ + std::exchange(used_, used_ + lines);
    ++given_;
    return {memory, chunk_};
  }

 private:
  void begin_chunk() {
    if (emptied_ == nullptr) emptied_ = std::make_shared<emptied_chunks>();
    chunk_ = emptied_->take();
    if (chunk_ == nullptr) chunk_ = new message_chunk;
    chunk_->count_.store(message_chunk::unsealed, std::memory_order_relaxed);  // its messages show it to shards
    chunk_->home_ = emptied_;
  }
  void seal() noexcept {
    if (chunk_ == nullptr) return;
    std::exchange(chunk_, nullptr)->lower(message_chunk::unsealed - given_);
    used_ = 0;
    given_ = 0;
  }

  std::shared_ptr<emptied_chunks> emptied_;
  message_chunk* chunk_ = nullptr;
  std::size_t used_ = 0;
  std::uint32_t given_ = 0;
  unsigned from_heap_ = 0;
};

}  // namespace skerry::alien::detail
