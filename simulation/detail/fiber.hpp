// SPDX-License-Identifier: Apache-2.0
#pragma once

/// fiber: a stack of its own for one simulated shard, whose loop is the shipped one and knows of no simulator.
///
///     simulator           resume() --> body runs --> yield() --> resume() returns
///
/// Affinity:   one thread. yield() from within the fiber, everything else from outside of it.
/// Ownership:  owns its stack. A fiber that has not ended cannot be destroyed: what is on its stack (loops that are
///             noexcept) cannot be unwound. Whoever gives up lets it be forgotten: `abandon()`.
/// Limits:     `stack_bytes` of stack, with a page behind it that must not be touched.

#include <cstddef>
#include <functional>
#include <memory>

namespace skerry::sim::detail {

class fiber {
 public:
  static constexpr std::size_t stack_bytes = 8U << 20;  // as a thread has; pages are touched as they are used

  explicit fiber(std::function<void()> body);
  ~fiber();
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// Runs the body until it yields or ends.
  void resume();
  void yield();
  bool ended() const noexcept;
  /// It is never resumed again; its stack and all that is on it stay.
  void abandon() noexcept;

 private:
  struct context;
  std::unique_ptr<context> context_;
};

}  // namespace skerry::sim::detail
