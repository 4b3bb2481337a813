// SPDX-License-Identifier: Apache-2.0
#pragma once

/// poison: tells AddressSanitizer which memory of our pools is free, so that a use after free in a pool is reported
/// like one in malloc. Nothing in other builds.

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SKERRY_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SKERRY_ASAN 1
#endif
#endif

#ifdef SKERRY_ASAN
extern "C" void __asan_poison_memory_region(const volatile void*, std::size_t);
extern "C" void __asan_unpoison_memory_region(const volatile void*, std::size_t);
#endif

namespace skerry::detail {

inline void poison([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef SKERRY_ASAN
  __asan_poison_memory_region(memory, bytes);
#endif
}

inline void unpoison([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef SKERRY_ASAN
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

}  // namespace skerry::detail
