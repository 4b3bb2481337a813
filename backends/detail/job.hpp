// SPDX-License-Identifier: Apache-2.0
#pragma once

/// job: an operation that has begun on the epoll backend and not ended.
///
/// Affinity:   the shard that submitted it; a thread of the blocking pool between post() and take_done().
/// Invariants: it is in one of these at a time: a watch list, the pool, the free list, nowhere while it is being tried.

#include <skerry/framework/backend/operation.hpp>

#include <cstdint>

namespace skerry::detail {

struct job {
  submission what{};           ///< a copy; what is sent or lent meanwhile is noted in it
  job* next = nullptr;         ///< in the one list it is in
  job* same_bucket = nullptr;  ///< among those that can be cancelled
  std::int32_t result = 0;     ///< of what is done so far
  std::uint32_t flags = 0;     ///< of its last completion
  bool pooled = false;         ///< given to the blocking pool
};

inline operation& owner_of(const job& j) noexcept { return *reinterpret_cast<operation*>(j.what.user_data); }

/// The memory, or the structure, that it names first.
template <class T>
T* memory_of(const submission& s) noexcept {
  return reinterpret_cast<T*>(s.addr);
}

}  // namespace skerry::detail
