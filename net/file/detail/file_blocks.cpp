// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/file/detail/file_blocks.hpp>

#include <cerrno>
#include <limits>
#include <new>
#include <utility>

namespace skerry::net::detail {

namespace {

constexpr std::size_t in_pages(std::size_t bytes) noexcept {
  constexpr std::size_t page = aligned_buffer::alignment_default;
  return (bytes + page - 1) / page * page;
}

std::size_t bytes_together(std::size_t block_bytes, std::size_t depth) {
  SKERRY_ASSERT(depth > 0 && block_bytes > 0, "a reader or writer has blocks, and they have bytes");
  SKERRY_ASSERT(block_bytes <= file::bytes_per_operation_max, "a block is one operation");
  if (depth > std::numeric_limits<std::size_t>::max() / 2 / in_pages(block_bytes)) throw std::bad_alloc();
  return in_pages(block_bytes) * depth;
}

}  // namespace

file_blocks::file_blocks(file_state& of, direction which, std::size_t block_bytes, std::size_t depth)
    : of_(of), memory_(bytes_together(block_bytes, depth)), direction_(which) {
  SKERRY_ASSERT(of_.pool().is_home(), "a file is used on the shard that opened it");
  for (std::span<std::byte> left = memory_.bytes(); !left.empty(); left = left.subspan(in_pages(block_bytes))) {
    blocks_.emplace_back(*this, left.first(in_pages(block_bytes)));
  }
  of_.use();
}

void file_blocks::abandon() noexcept {
  SKERRY_ASSERT(waiter_ == nullptr, "a reader or writer outlives who waits for it");
  abandoned_ = true;
  for (block& each : blocks_) of_.pool().kernel.cancel(each);
  if (in_flight_ == 0) delete this;
}

void file_blocks::arm(block& b) noexcept {
  if (b.used && !std::exchange(goes_round_, true) && is_direct(of_)) {
    registered_ = of_.pool().registered.add(memory_.bytes());
  }
  b.used = true;
  ++in_flight_;
  submission& s = of_.pool().kernel.submit(b);
  const int slot = registered_ != nullptr ? registered_->slot() : -1;
  const auto left = static_cast<std::uint32_t>(b.asked - b.moved);
  if (direction_ == direction::read) {
    prepare::read(s, of_.fd(), b.memory.data() + b.moved, left, b.offset + b.moved, slot);
  } else {
    prepare::write(s, of_.fd(), b.memory.data() + b.moved, left, b.offset + b.moved, slot);
  }
}

void file_blocks::completed(block& b, std::int32_t result) noexcept {
  --in_flight_;
  if (abandoned_) {
    if (in_flight_ == 0) delete this;
    return;
  }
  if (result == -EINTR) return arm(b);
  answered(b, result);
  if (waiter_ != nullptr && ready()) std::exchange(waiter_, nullptr)->come();
}

}  // namespace skerry::net::detail
