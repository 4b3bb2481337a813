// SPDX-License-Identifier: Apache-2.0
#pragma once

/// event_counter: what eventfd gives: a number that writes add to and a read takes, readable while it is not zero.
///
/// It is what handlers of signals ring, so a shard may lose its turn just before a plain call finds it, as when a
/// handler has looked whom to tell and has not told them, and just after it was read.
///
/// Affinity:   the simulator's thread.
/// Ownership:  the descriptors of its host, the last of which ends it, as of every node.
/// Invariants: the number is `most` at most; whoever waits to read is served as soon as it is not zero.
/// Limits:     as eventfd: 2^64 - 2; a write that would pass it waits, or EAGAIN.

#include <skerry/simulation/detail/simulated_backend.hpp>

#include <cstddef>
#include <cstdint>

#include <poll.h>

namespace skerry::sim::detail {

class event_counter final : public node {
 public:
  static constexpr std::uint64_t most = ~std::uint64_t{1};

  event_counter(machine& whose, std::uint64_t begin, bool one_by_one) noexcept
      : of_(whose), count_(begin), one_by_one_(one_by_one) {}

  std::uint32_t events() const noexcept override { return (count_ > 0 ? POLLIN : 0) | (count_ < most ? POLLOUT : 0); }
  bool attempt(request& r) noexcept override;
  void closed() noexcept override { cancel_all(); }
  void vanished() noexcept override {}
  long read_now(msghdr& into, int flags) override;
  long write_now(const msghdr& from, int flags) override;
  std::uint32_t file_type() const noexcept override { return 0; }
  /// The running shard loses its turn, for longer than a turn, if that is drawn.
  void interrupt_at_times() const noexcept;

 private:
  long take(void* into, std::size_t bytes) noexcept;
  long give(const void* from, std::size_t bytes) noexcept;

  machine& of_;
  std::uint64_t count_;
  const bool one_by_one_;  // EFD_SEMAPHORE
};

}  // namespace skerry::sim::detail
