// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <support/heap_count.hpp>

namespace {
std::atomic<std::uint64_t> count{0};
std::atomic<std::uint64_t> failing{0};  // which one, by `count`; 0: none

void count_one() {
  if (count.fetch_add(1, std::memory_order_relaxed) + 1 == failing) throw std::bad_alloc();
}
}  // namespace

std::uint64_t skerry::test_support::heap_allocations() noexcept { return count; }

void skerry::test_support::fail_allocation(std::uint64_t nth) noexcept { failing = nth == 0 ? 0 : count + nth; }
bool skerry::test_support::allocation_failed() noexcept { return failing != 0 && count >= failing; }

// The other forms of operator new end here.
void* operator new(std::size_t bytes) {
  count_one();
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  count_one();
  const auto line = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(line, (bytes + line - 1) / line * line)) return memory;
  throw std::bad_alloc();
}
// AddressSanitizer's would not end here, and what it gave would be freed below.
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t& /*unused*/) noexcept {
  try {
    return operator new(bytes, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
