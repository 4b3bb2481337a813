// SPDX-License-Identifier: Apache-2.0
#pragma once

/// steering: connections go to the shard of the CPU that handles their packets.
///
/// Sockets of one port are a group in the kernel, which chooses one of them by a hash for the first packet of each
/// connection, or by what a program says: the place of a socket in the group, which is the order in which they began to
/// listen. Ours does in the order of the shards, so the program is a table from CPUs to shards:
///
///     A = the CPU that runs this;  if A == cpu[0] return 0;  if A == cpu[1] return 1;  …;  return none
///
/// "None" (a place that there is not) makes the kernel use its hash; so CPUs without a shard spread what they get. A
/// shard's CPU handles a connection's packets all along where the network card spreads by connection (RSS) and the
/// interrupts of its queues are bound; on the loopback device it is the CPU of whoever sends.
///
/// Affinity: any shard.
/// Errors:   values: the reason why not, in words.
/// Limits:   `steered_shards_max`, as a program has 4096 instructions at most.
/// Source:   socket(7), SO_ATTACH_REUSEPORT_CBPF; Linux, Documentation/networking/filter.rst, SKF_AD_CPU.

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace skerry::net::detail {

inline constexpr std::size_t steered_shards_max = 2000;

/// The one that this shard's thread is pinned to; none if it may run on several.
std::optional<unsigned> cpu_of_this_shard();

/// Lets the group of `listening` choose by CPU; `cpus` by shard. Empty if it does, else why not.
std::string steer(int listening, const std::vector<std::optional<unsigned>>& cpus);

}  // namespace skerry::net::detail
