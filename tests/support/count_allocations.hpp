// SPDX-License-Identifier: Apache-2.0
#pragma once

/// count_allocations: counts calls of operator new in this program. Included by one source of a test that runs one
/// shard.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace skerry::test_support {
inline std::uint64_t allocations = 0;

inline void* count_and_allocate(std::size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
}  // namespace skerry::test_support

void* operator new(std::size_t bytes) { return skerry::test_support::count_and_allocate(bytes); }
void* operator new[](std::size_t bytes) { return skerry::test_support::count_and_allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
