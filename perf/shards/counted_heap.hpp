// SPDX-License-Identifier: Apache-2.0
#pragma once
// Counts what a benchmark takes from the heap, on all of its threads. It replaces operator new, so exactly one file of
// a program includes it.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace perf {
inline std::atomic<std::uint64_t> allocations_so_far{0};
inline std::uint64_t allocations() { return allocations_so_far.load(std::memory_order_relaxed); }
}  // namespace perf

// Out of line: inlined, a pair of them looks to the compiler like new with free.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  perf::allocations_so_far.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
// What is aligned beyond malloc's, as chunks of messages are: the library's own would not come by here.
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  perf::allocations_so_far.fetch_add(1, std::memory_order_relaxed);
  const auto line = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(line, (bytes + line - 1) / line * line); memory != nullptr) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
