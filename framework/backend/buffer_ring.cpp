// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/backend/buffer_ring.hpp>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace skerry {

namespace {
constexpr std::size_t page_bytes = 4096;
std::size_t bytes_of(std::uint32_t capacity) noexcept {
  std::size_t bytes = capacity * sizeof(io_uring_buf);
  return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}
}  // namespace

buffer_ring::buffer_ring(std::uint32_t capacity) : capacity_(capacity) {
  SKERRY_ASSERT(std::has_single_bit(capacity), "the kernel takes powers of two");
  SKERRY_ASSERT(capacity <= 32768, "the kernel takes at most 32768 buffers in a ring");
  entries_ = static_cast<io_uring_buf*>(std::aligned_alloc(page_bytes, bytes_of(capacity)));
  if (entries_ == nullptr) throw std::bad_alloc();
  std::memset(static_cast<void*>(entries_), 0, bytes_of(capacity));
}

buffer_ring::~buffer_ring() { std::free(entries_); }

void buffer_ring::publish() noexcept {
  // The kernel reads the tail with acquire inside the kernel entry that follows on this same thread; release costs
  // nothing.
  __atomic_store_n(&reinterpret_cast<io_uring_buf_ring*>(entries_)->tail, tail_, __ATOMIC_RELEASE);
}

}  // namespace skerry
