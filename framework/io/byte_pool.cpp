// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/io/byte_pool.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace skerry {

byte_pool::~byte_pool() {
  SKERRY_ASSERT(bytes_in_use_ == 0, "every block must be back before its shard ends");
  for (std::size_t i = 0; i < size_count; ++i) {
    while (free_[i] != nullptr) {
      detail::unpoison(free_[i], block_bytes_min << i);
      std::free(std::exchange(free_[i], free_[i]->next));
    }
  }
}

std::span<std::byte> byte_pool::allocate(std::size_t bytes) {
  SKERRY_ASSERT(bytes <= block_bytes_max, "a block holds at most 256 KiB");
  std::size_t rounded = std::bit_ceil(std::max(bytes, block_bytes_min));
  free_block*& list = free_[index_of(rounded)];
  void* memory = list;
  if (memory != nullptr) {
    detail::unpoison(memory, rounded);
    list = list->next;
    kept_bytes_ -= rounded;
  } else {
    memory = std::malloc(rounded);
    if (memory == nullptr) throw std::bad_alloc();
  }
  bytes_in_use_ += rounded;
  return {static_cast<std::byte*>(memory), rounded};
}

void byte_pool::release(std::span<std::byte> block) noexcept {
  SKERRY_ASSERT(std::has_single_bit(block.size()), "a block is given back whole");
  bytes_in_use_ -= block.size();
  if (kept_bytes_ + block.size() > kept_bytes_max_) return std::free(block.data());
  kept_bytes_ += block.size();
  auto* freed = reinterpret_cast<free_block*>(block.data());
  free_block*& list = free_[index_of(block.size())];
  freed->next = list;
  list = freed;
  detail::poison(freed, block.size());
}

void byte_queue::append(byte_pool& pool, std::span<const std::byte> more) {
  if (more.empty()) return;  // memcpy takes no null pointers, whatever the size
  std::size_t wanted = size() + more.size();
  if (more.size() > capacity_ - end_) {
    if (wanted <= capacity_ && begin_ >= capacity_ / 2) {
      std::memmove(block_, block_ + begin_, size());
    } else {
      std::span<std::byte> larger = pool.allocate(wanted);
      if (block_ != nullptr) {
        std::memcpy(larger.data(), block_ + begin_, size());
        pool.release({block_, capacity_});
      }
      block_ = larger.data();
      capacity_ = static_cast<std::uint32_t>(larger.size());
    }
    end_ -= begin_;
    begin_ = 0;
  }
  std::memcpy(block_ + end_, more.data(), more.size());
  end_ += static_cast<std::uint32_t>(more.size());
}

void byte_queue::consume(byte_pool& pool, std::size_t bytes) noexcept {
  SKERRY_ASSERT(bytes <= size(), "cannot drop more bytes than there are");
  begin_ += static_cast<std::uint32_t>(bytes);
  if (begin_ != end_) return;
  if (block_ != nullptr) pool.release({block_, capacity_});
  block_ = nullptr;
  capacity_ = begin_ = end_ = 0;
}

void byte_queue::swap(byte_queue& other) noexcept {
  std::swap(block_, other.block_);
  std::swap(capacity_, other.capacity_);
  std::swap(begin_, other.begin_);
  std::swap(end_, other.end_);
}

}  // namespace skerry
