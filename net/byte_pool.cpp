// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/byte_pool.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace skerry::net {

byte_pool::~byte_pool() {
  SKERRY_ASSERT(bytes_in_use_ == 0, "every block must be back before its shard ends");
  kept_bytes_max_ = 0;  // so that what is taken out now goes back to malloc
  for (std::size_t bytes = block_bytes_min; bytes <= block_bytes_max; bytes *= 2) {
    while (free_of(bytes) != nullptr) release(allocate(bytes));
  }
}

std::span<std::byte> byte_pool::allocate(std::size_t bytes) {
  SKERRY_ASSERT(bytes <= block_bytes_max, "a block holds at most 256 KiB");
  const std::size_t rounded = std::bit_ceil(std::max(bytes, block_bytes_min));
  free_block*& list = free_of(rounded);
  void* memory = list;
  if (memory != nullptr) {
    skerry::detail::unpoison(memory, rounded);
    list = list->next;
    kept_bytes_ -= rounded;
  } else if ((memory = std::malloc(rounded)) == nullptr) {
    throw std::bad_alloc();
  }
  bytes_in_use_ += rounded;
  return {static_cast<std::byte*>(memory), rounded};
}

void byte_pool::release(std::span<std::byte> block) noexcept {
  SKERRY_ASSERT(std::has_single_bit(block.size()), "a block is given back whole");
  bytes_in_use_ -= block.size();
  if (kept_bytes_ + block.size() > kept_bytes_max_) return std::free(block.data());
  kept_bytes_ += block.size();
  free_block*& list = free_of(block.size());
  list = ::new (block.data()) free_block{list};
  skerry::detail::poison(list, block.size());
}

byte_pool& this_bytes() {
  byte_pool* found = resources().find<byte_pool>();
  return found != nullptr ? *found : resources().emplace<byte_pool>();
}

void byte_queue::append(byte_pool& pool, std::span<const std::byte> more) {
  if (more.empty()) return;  // memcpy takes no null pointers, whatever the size
  if (more.size() > block_.size() - end_) {
    const std::span<const std::byte> old = bytes();
    if (old.size() + more.size() <= block_.size() && begin_ >= block_.size() / 2) {
      std::memmove(block_.data(), old.data(), old.size());
    } else {
      const std::span<std::byte> larger = pool.allocate(old.size() + more.size());
      std::ranges::copy(old, larger.data());
      if (!block_.empty()) pool.release(block_);
      block_ = larger;
    }
    end_ -= std::exchange(begin_, 0);
  }
  std::memcpy(&block_[end_], more.data(), more.size());
  end_ += static_cast<std::uint32_t>(more.size());
}

void byte_queue::consume(byte_pool& pool, std::size_t bytes) noexcept {
  SKERRY_ASSERT(bytes <= size(), "cannot drop more bytes than there are");
  begin_ += static_cast<std::uint32_t>(bytes);
  if (begin_ != end_) return;
  if (!block_.empty()) pool.release(std::exchange(block_, {}));
  begin_ = end_ = 0;
}

void byte_queue::swap(byte_queue& other) noexcept {
  std::swap(block_, other.block_);
  std::swap(begin_, other.begin_);
  std::swap(end_, other.end_);
}

}  // namespace skerry::net
