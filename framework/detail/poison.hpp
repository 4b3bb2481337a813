// SPDX-License-Identifier: Apache-2.0
#pragma once

/// poison: tells AddressSanitizer which memory of our pools is free, so that a use after free in a pool is reported
/// like one in malloc. Nothing in other builds.

#include <cstddef>

#if __has_include(<sanitizer/asan_interface.h>)  // not where a compiler came without the sanitizer's runtime
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, bytes) (static_cast<void>(memory), static_cast<void>(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(memory, bytes) ASAN_POISON_MEMORY_REGION(memory, bytes)
#endif

namespace skerry::detail {

inline void poison(const void* memory, std::size_t bytes) noexcept { ASAN_POISON_MEMORY_REGION(memory, bytes); }
inline void unpoison(const void* memory, std::size_t bytes) noexcept { ASAN_UNPOISON_MEMORY_REGION(memory, bytes); }

}  // namespace skerry::detail
