// SPDX-License-Identifier: Apache-2.0
#pragma once

/// heap_count: how often this test program has called operator new, on any thread. Link heap_count.cpp. Frames come
/// from the frame pool, which takes 1 MiB at a time, and not through operator new.

#include <cstdint>

namespace skerry::test_support {

std::uint64_t heap_allocations() noexcept;

/// The `nth` from now on throws std::bad_alloc, once; 0: none does. While no other thread allocates.
void fail_allocation(std::uint64_t nth) noexcept;
/// Whether it has.
bool allocation_failed() noexcept;

}  // namespace skerry::test_support
