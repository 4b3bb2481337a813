// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the replaced system calls have in common (system_calls.cpp, guard.cpp).

#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <cerrno>
#include <memory>

namespace skerry::sim::detail {

/// The machine whose shard has its turn; null outside of simulations and between turns.
inline machine* here() noexcept {
  world* in = world::running();
  return in != nullptr && in->running_shard() != nullptr ? &in->running_shard()->of : nullptr;
}

inline bool simulated(int fd) noexcept { return fd >= machine::first_descriptor && world::running() != nullptr; }

template <class Number>
Number answer(Number result) noexcept {
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

/// The node of a descriptor as the running machine knows it.
inline std::shared_ptr<node> node_of(int fd) noexcept {
  machine* m = here();
  return m == nullptr ? nullptr : m->find(fd);
}

/// The real world was asked for this: a violation, if a shard did.
void report_leak(const char* what) noexcept;

}  // namespace skerry::sim::detail
