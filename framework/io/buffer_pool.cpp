// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/io/buffer_pool.hpp>

#include <new>

namespace skerry {

buffer_pool::buffer_pool(backend& kernel, const shard_core* home)
    : ring_(kernel.receive_buffers()),
      home_(home),
      limit_(std::min(buffers_max, ring_.capacity())),
      references_(limit_) {
  after_.resize(limit_);
  blocks_.reserve(limit_ / buffers_per_block);
  if (!grow()) throw std::bad_alloc();
}

buffer_pool::~buffer_pool() {
  SKERRY_ASSERT(taken_ == 0, "every buffer must be back before its shard ends");
  SKERRY_ASSERT(waiting_.empty(), "a shard ends after its last connection");
  for (auto& each : blocks_) detail::unpoison(each.get(), sizeof(block));
}

buffer buffer_pool::take(std::uint16_t number, std::uint32_t bytes) noexcept {
  SKERRY_ASSERT(number < made_, "a completion names a buffer of this pool");
  SKERRY_ASSERT(references_[number] == 0, "the kernel fills only buffers that were lent to it");
  references_[number] = 1;
  ++taken_;
  std::byte* data = address_of(number);
  detail::unpoison(data, bytes);
  return buffer({this, data, bytes, number});
}

void buffer_pool::give_back(std::uint16_t number) noexcept {
  --taken_;
  std::byte* data = address_of(number);
  detail::poison(data, buffer_bytes);
  provide(data, number);
  if (!waiting_.empty()) waiting_.pop_front().buffer_available();
}

bool buffer_pool::wait_for_buffer(buffer_waiter& who) noexcept {
  // Buffers may have come back between the kernel's look and ours; then receiving again is enough.
  if (taken_ < made_ || grow()) return true;
  ++exhausted_;
  waiting_.push_back(who);
  return false;
}

bool buffer_pool::grow() noexcept {
  // Double, so that a burst of receivers costs few rounds, but not by more than a megabyte that may stay idle.
  const std::uint32_t before = made_;
  const std::uint32_t growth = std::clamp(made_, buffers_per_block, buffers_per_growth_max);
  while (made_ < std::min(before + growth, limit_)) {
    auto* added = new (std::nothrow) block;
    if (added == nullptr) break;
    blocks_.emplace_back(added);
    for (auto& bytes : added->bytes) provide(bytes, static_cast<std::uint16_t>(made_++));
    detail::poison(added, sizeof *added);
  }
  return made_ != before;
}

}  // namespace skerry
