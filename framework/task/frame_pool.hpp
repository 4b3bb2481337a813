// SPDX-License-Identifier: Apache-2.0
#pragma once

/// frame_pool: memory for coroutine frames, taken and given back on one shard without malloc.
///
/// The rule it enforces: a frame is destroyed on the shard that made it. Frames of one size class (16 bytes apart) come
/// from slabs of 64 KiB aligned to 64 KiB, so the slab of any frame, and with it the owner, is one mask away.
///
///     allocate(n): pop free_[class] ----> else bump the current slab ----> else next slab of a 1 MiB chunk
///     release(p):  push free_[class]      (last in, first out: the hottest line is reused first)
///
/// A frame made on a thread that runs no shard (the argument of `block_on`) gets a slab of its own without an owner;
/// any thread may free it. Rejected: malloc (20 ns per frame), a header per frame (16 bytes; the compiler tells
/// operator delete the size anyway).
///
/// Affinity:   the owner's thread only; release by another shard asserts.
/// Invariants: a free frame is poisoned under ASan.
/// Limits:     frames up to 4 KiB are pooled; each larger one is a slab of its own, from malloc. All slabs together
///             stay under `bytes_max` (default 16 GiB); beyond it allocate throws std::bad_alloc.

#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/this_shard.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace skerry {

class frame_pool {
 public:
  static constexpr std::size_t class_bytes = 16;
  static constexpr std::size_t pooled_bytes_max = 4096;
  static constexpr std::size_t slab_bytes = 64 * 1024;

  explicit frame_pool(std::size_t bytes_max = std::size_t{16} << 30) noexcept : bytes_max_(bytes_max) {
    std::ranges::fill(free_, &none_);
  }
  ~frame_pool();
  frame_pool(const frame_pool&) = delete;
  frame_pool& operator=(const frame_pool&) = delete;

  void* allocate(std::size_t bytes) {
    std::size_t index = class_of(bytes);
    if (index < class_count) [[likely]] {
      free_frame* frame = free_[index];
      detail::unpoison(frame, sizeof *frame);
      if (frame->next != nullptr) [[likely]] {
        detail::unpoison(frame, (index + 1) * class_bytes);
        free_[index] = frame->next;
        return frame;
      }
    }
    return allocate_slowly(bytes);
  }

  void release(void* memory, std::size_t bytes) noexcept {
    std::size_t index = class_of(bytes);
    if (index < class_count) [[likely]] {
      auto* frame = static_cast<free_frame*>(memory);
      frame->next = free_[index];
      frame->depth = depth_of(frame->next) + 1;
      free_[index] = frame;
      detail::poison(frame, (index + 1) * class_bytes);
      return;
    }
    release_large(memory);
  }

  /// Frames handed out and not yet given back.
  std::size_t in_use() const noexcept;
  /// Bytes taken from the system.
  std::size_t bytes_reserved() const noexcept { return bytes_reserved_; }

  /// From the shard's pool, or off a shard a slab without owner.
  static void* allocate_frame(std::size_t bytes) {
    if (shard_core* shard = detail::current_shard; shard != nullptr) [[likely]]
      return shard->frames->allocate(bytes);
    return allocate_alone(nullptr, bytes);
  }

  /// Asserts that this is the home shard.
  static void release_frame(void* memory, std::size_t bytes) noexcept {
    const slab& from = slab_of(memory);
    if (from.home != detail::current_shard) [[unlikely]]
      return release_elsewhere(memory);
    from.owner->release(memory, bytes);
  }

 private:
  struct free_frame {
    free_frame* next;
    std::size_t depth;  // free ones of this class from here on: a counter of its own would be a chain through memory
  };
  static std::size_t depth_of(const free_frame* first) noexcept {
    detail::unpoison(first, sizeof *first);
    const std::size_t depth = first->depth;
    detail::poison(first, sizeof *first);
    return depth;
  }
  struct alignas(class_bytes) slab {
    frame_pool* owner;        // null for a slab without one
    const void* home;         // the owner's shard; the slab itself if it has no owner, which is no shard
    std::size_t large_bytes;  // size of a slab that holds one large frame, else 0
    slab* next_chunk;         // of the first slab of a chunk
  };
  static constexpr std::size_t class_count = pooled_bytes_max / class_bytes;
  static constexpr std::size_t chunk_bytes = 16 * slab_bytes;

  static std::size_t class_of(std::size_t bytes) noexcept { return (bytes - 1) / class_bytes; }
  static slab& slab_of(void* memory) noexcept {
    return *reinterpret_cast<slab*>(reinterpret_cast<std::uintptr_t>(memory) & ~(slab_bytes - 1));
  }
  /// Slabs from the system, counted against the owner's limit if there is an owner.
  static void* take_memory(frame_pool* owner, std::size_t bytes);
  /// One frame with a slab of its own.
  static void* allocate_alone(frame_pool* owner, std::size_t bytes);
  static void release_elsewhere(void* memory) noexcept;
  void* allocate_slowly(std::size_t bytes);
  void release_large(void* memory) noexcept;
  void next_slab();

  free_frame none_{nullptr, 0};  // what is below the last free one
  free_frame* free_[class_count];
  std::byte* bump_ = nullptr;  // free space of the current slab
  std::byte* bump_end_ = nullptr;
  std::byte* chunk_next_ = nullptr;  // slabs of the current chunk that are not in use yet
  std::byte* chunk_end_ = nullptr;
  slab* chunks_ = nullptr;
  std::size_t made_ = 0;  // frames in use or free
  std::size_t bytes_reserved_ = 0;
  std::size_t bytes_max_;
};

namespace detail {
/// Base of what lives in the frame pool: coroutine promises and the nodes of spawned tasks.
struct pooled {
  static void* operator new(std::size_t bytes) { return frame_pool::allocate_frame(bytes); }
  static void* operator new(std::size_t, void* place) noexcept { return place; }
  static void operator delete(void* memory, std::size_t bytes) noexcept { frame_pool::release_frame(memory, bytes); }
};
}  // namespace detail

}  // namespace skerry
