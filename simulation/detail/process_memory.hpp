// SPDX-License-Identifier: Apache-2.0
#pragma once

/// process_memory: the variables of which a process has one, for each simulated host its own.
///
/// What a handler of signals shares with the rest of its process has to be static: a handler is told nothing but a
/// number. Hosts of one simulation are processes of their own, so such variables lie in a section of their own, by
/// `[[gnu::section("skerry_process")]]`, and its bytes go in and out with whoever has its turn:
///
///     outside --first turn--> saved; host a's bytes --turn of b--> saved; b's bytes --the simulation ends--> outside's
///
/// Rejected: the state behind a function that the linker replaces, which hides in every handler that there are
/// simulations; and one host per simulation that listens, which leaves out what clusters do.
///
/// Affinity:   the simulator's thread, between turns.
/// Invariants: a host begins with what is there outside, which is what was linked unless the process itself listens.
/// Limits:     variables whose bytes are all of them: no pointers to themselves, no destructors. Programs whose linker
///             makes __start_ and __stop_ for sections have it; in others all hosts share.

#include <vector>

namespace skerry::sim::detail {

class process_memory {
 public:
  /// What is there now.
  process_memory();
  void save() noexcept;
  void load() const noexcept;

 private:
  std::vector<char> bytes_;
};

}  // namespace skerry::sim::detail
