// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/io/buffer_pool.hpp>

#include <algorithm>
#include <cstdlib>

namespace skerry {

void buffer_pool::free_memory::operator()(std::byte* memory) const noexcept { std::free(memory); }

buffer_pool::buffer_pool(backend& kernel, const buffer_pool_options& options)
    : options_(options), ring_(kernel.receive_buffers()) {
  SKERRY_ASSERT(options.buffers_max % buffers_per_block == 0, "buffers are made 16 at a time");
  options_.buffers_max = std::min(options.buffers_max, ring_.capacity());
  references_.resize(options_.buffers_max);
  blocks_.reserve(options_.buffers_max / buffers_per_block);
  while (made_ < options.buffers_initial) {
    if (!grow()) throw std::bad_alloc();
  }
}

buffer_pool::~buffer_pool() {
  SKERRY_ASSERT(taken_ == 0, "every buffer must be back before its shard ends");
  SKERRY_ASSERT(waiting_.empty(), "a shard ends after its last connection");
  for (auto& block : blocks_) detail::unpoison(block.get(), std::size_t{stride()} * buffers_per_block);
}

buffer buffer_pool::take(std::uint16_t number, std::uint32_t bytes) noexcept {
  SKERRY_ASSERT(number < made_, "a completion names a buffer of this pool");
  SKERRY_ASSERT(references_[number] == 0, "the kernel fills only buffers that were lent to it");
  references_[number] = 1;
  ++taken_;
  std::byte* data = address_of(number);
  detail::unpoison(data, bytes);
  return buffer(this, data, bytes, number);
}

void buffer_pool::give_back(std::uint16_t number) noexcept {
  --taken_;
  std::byte* data = address_of(number);
  detail::poison(data, options_.buffer_bytes);
  ring_.provide(data, options_.buffer_bytes, number);
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
  // Double, so that a burst of receivers costs few rounds, but not by more than a megabyte that may stay idle; always
  // whole blocks.
  std::uint32_t wanted = made_ == 0 ? options_.buffers_initial : std::min(made_, buffers_per_growth_max);
  bool grew = false;
  for (std::uint32_t added = 0; added < wanted && made_ < options_.buffers_max; added += buffers_per_block) {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, std::size_t{stride()} * buffers_per_block));
    if (memory == nullptr) break;
    detail::poison(memory, std::size_t{stride()} * buffers_per_block);
    blocks_.emplace_back(memory);
    for (std::uint32_t i = 0; i < buffers_per_block; ++i) {
      ring_.provide(memory + std::size_t{i} * stride(), options_.buffer_bytes, static_cast<std::uint16_t>(made_++));
    }
    grew = true;
  }
  return grew;
}

}  // namespace skerry
