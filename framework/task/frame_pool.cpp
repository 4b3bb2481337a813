// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/frame_pool.hpp>

#include <cstdlib>
#include <utility>

namespace skerry {

frame_pool::~frame_pool() {
  SKERRY_ASSERT(in_use() == 0,
                "every task must have ended before its shard ends; somebody holds a task or a join_handle");
  detail::unpoison(&none_, sizeof none_);
  while (chunks_ != nullptr) {
    slab* last = std::exchange(chunks_, chunks_->next_chunk);
    detail::unpoison(last, chunk_bytes);
    std::free(last);
  }
}

void* frame_pool::take_memory(frame_pool* owner, std::size_t bytes) {
  if (owner != nullptr && owner->bytes_reserved_ + bytes > owner->bytes_max_) throw std::bad_alloc();
  void* memory = std::aligned_alloc(slab_bytes, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  if (owner != nullptr) owner->bytes_reserved_ += bytes;
  return memory;
}

void* frame_pool::allocate_alone(frame_pool* owner, std::size_t bytes) {
  const std::size_t total = (bytes + sizeof(slab) + slab_bytes - 1) / slab_bytes * slab_bytes;
  void* memory = take_memory(owner, total);
  return ::new (memory) slab{owner, owner != nullptr ? detail::current_shard : memory, total, nullptr} + 1;
}

void* frame_pool::allocate_slowly(std::size_t bytes) {
  SKERRY_ASSERT(bytes > 0, "a frame has a size");
  std::byte* frame;
  if (bytes > pooled_bytes_max) {
    frame = static_cast<std::byte*>(allocate_alone(this, bytes));
  } else {
    const std::size_t rounded = (class_of(bytes) + 1) * class_bytes;
    if (static_cast<std::size_t>(bump_end_ - bump_) < rounded) next_slab();
    frame = std::exchange(bump_, bump_ + rounded);
    detail::unpoison(frame, rounded);
  }
  ++made_;
  return frame;
}

std::size_t frame_pool::in_use() const noexcept {
  std::size_t used = made_;
  for (const free_frame* each : free_) used -= depth_of(each);
  return used;
}

void frame_pool::next_slab() {
  // What is left of the old slab is lost: at most one frame's worth, 6 % of the slab for the largest class.
  if (chunk_next_ == chunk_end_) {
    chunk_next_ = static_cast<std::byte*>(take_memory(this, chunk_bytes));
    chunk_end_ = chunk_next_ + chunk_bytes;
    chunks_ = ::new (chunk_next_) slab{this, detail::current_shard, 0, chunks_};
  } else {
    ::new (chunk_next_) slab{this, detail::current_shard, 0, nullptr};
  }
  bump_ = chunk_next_ + sizeof(slab);
  bump_end_ = chunk_next_ += slab_bytes;
  detail::poison(bump_, slab_bytes - sizeof(slab));
}

void frame_pool::release_large(void* memory) noexcept {
  --made_;
  bytes_reserved_ -= slab_of(memory).large_bytes;
  std::free(&slab_of(memory));
}

void frame_pool::release_elsewhere(void* memory) noexcept {
  if (slab_of(memory).owner != nullptr) {
    SKERRY_ASSERT(detail::current_shard != nullptr, "a task is destroyed on a shard; this thread runs none");
    SKERRY_ASSERT(false, "a task is destroyed on the shard that made it");
  }
  std::free(&slab_of(memory));
}

}  // namespace skerry
