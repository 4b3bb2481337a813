// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdlib>
#include <new>

#include <support/heap_count.hpp>

namespace {
std::uint64_t count = 0;
std::uint64_t failing = 0;  // which one, by `count`; 0: none
}  // namespace

std::uint64_t skerry::test_support::heap_allocations() noexcept { return count; }

void skerry::test_support::fail_allocation(std::uint64_t nth) noexcept { failing = nth == 0 ? 0 : count + nth; }
bool skerry::test_support::allocation_failed() noexcept { return failing != 0 && count >= failing; }

// The other forms of operator new end here.
void* operator new(std::size_t bytes) {
  if (++count == failing) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
