// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/task/frame_pool.hpp>

#include <cstdlib>

namespace skerry {

/// Sits at the start of a chunk's first slab, behind its slab header.
struct frame_pool::chunk_list {
  chunk_list* next;
};

frame_pool::~frame_pool() {
  SKERRY_ASSERT(in_use_ == 0,
                "every task must have ended before its shard ends; somebody holds a task or a join_handle");
  while (chunks_ != nullptr) {
    chunk_list* next = chunks_->next;
    void* chunk = &slab_of(chunks_);
    detail::unpoison(chunk, slab_bytes * slabs_per_chunk);
    std::free(chunk);
    chunks_ = next;
  }
}

void* frame_pool::allocate_slowly(std::size_t bytes) {
  SKERRY_ASSERT(bytes > 0, "a frame has a size");
  if (bytes > pooled_bytes_max) return allocate_large(bytes);
  std::size_t rounded = (class_of(bytes) + 1) * class_bytes;
  if (static_cast<std::size_t>(bump_end_ - bump_) < rounded) next_slab();
  std::byte* frame = bump_;
  bump_ += rounded;
  detail::unpoison(frame, rounded);
  ++in_use_;
  return frame;
}

void frame_pool::next_slab() {
  if (chunk_next_ == chunk_end_) {
    constexpr std::size_t chunk_bytes = slab_bytes * slabs_per_chunk;
    if (bytes_reserved_ + chunk_bytes > bytes_max_) throw std::bad_alloc();
    auto* chunk = static_cast<std::byte*>(std::aligned_alloc(slab_bytes, chunk_bytes));
    if (chunk == nullptr) throw std::bad_alloc();
    bytes_reserved_ += chunk_bytes;
    auto* list = reinterpret_cast<chunk_list*>(chunk + sizeof(slab));
    list->next = chunks_;
    chunks_ = list;
    chunk_next_ = chunk;
    chunk_end_ = chunk + chunk_bytes;
  }
  // What is left of the old slab is lost: at most one frame's worth, 6 % of the slab for the largest class.
  std::size_t header =
      sizeof(slab) + (chunk_next_ + slab_bytes * slabs_per_chunk == chunk_end_ ? sizeof(chunk_list) : 0);
  header = (header + class_bytes - 1) / class_bytes * class_bytes;
  ::new (static_cast<void*>(chunk_next_)) slab{this, 0};
  bump_ = chunk_next_ + header;
  bump_end_ = chunk_next_ + slab_bytes;
  chunk_next_ = bump_end_;
  detail::poison(bump_, slab_bytes - header);
}

namespace {
std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept { return (bytes + unit - 1) / unit * unit; }
}  // namespace

void* frame_pool::allocate_large(std::size_t bytes) {
  std::size_t total = round_up(bytes + sizeof(slab), slab_bytes);
  if (bytes_reserved_ + total > bytes_max_) throw std::bad_alloc();
  void* memory = std::aligned_alloc(slab_bytes, total);
  if (memory == nullptr) throw std::bad_alloc();
  auto* header = ::new (memory) slab{this, total};
  bytes_reserved_ += total;
  ++large_total_;
  ++in_use_;
  return header + 1;
}

void frame_pool::release_large(void* memory) noexcept {
  slab& own = slab_of(memory);
  bytes_reserved_ -= own.large_bytes;
  std::free(&own);
}

void* frame_pool::allocate_without_owner(std::size_t bytes) {
  void* memory = std::aligned_alloc(slab_bytes, round_up(bytes + sizeof(slab), slab_bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return ::new (memory) slab{nullptr, 0} + 1;
}

void frame_pool::release_elsewhere(void* memory) noexcept {
  if (slab_of(memory).owner != nullptr) {
    SKERRY_ASSERT(detail::current_shard != nullptr, "a task is destroyed on a shard; this thread runs none");
    SKERRY_ASSERT(false, "a task is destroyed on the shard that made it");
  }
  std::free(&slab_of(memory));
}

}  // namespace skerry
