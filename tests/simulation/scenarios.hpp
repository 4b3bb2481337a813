// SPDX-License-Identifier: Apache-2.0
#pragma once

/// scenarios: what is simulated under many seeds, with checks of its own: programs that use a part of Skerry hard and
/// know what must come of it. None knows of any bug: `plants_found` links them with planted ones.
///
///     sim_scenarios                        their names
///     sim_scenarios mailbox --seeds 1000   one of them (simulation/campaign.hpp has the rest)
///
/// Affinity: one at a time; each keeps what it has seen in one place, as all its hosts and shards run in one thread.

#include <skerry/simulation/campaign.hpp>

#include <cstdint>
#include <span>

namespace scenarios {

/// Eight shards of the key-value server, three hosts of clients, and an order of all operations.
skerry::sim::test_case kv();
/// The same with large values, long replies and clients that read slowly.
skerry::sim::test_case kv_bulk();
/// Calls between shards, queues of a few entries, cancels at any moment.
skerry::sim::test_case mailbox();
/// A server that is stopped under load, once it has had some time.
skerry::sim::test_case drain();
/// The same world every time; the server is stopped before the step that the seed names.
skerry::sim::test_case shutdown();
/// More clients than descriptors, or than a server wants.
skerry::sim::test_case accept();
/// Sleeps from milliseconds to months.
skerry::sim::test_case timers();
/// A semaphore beside a simple one, with tasks that give up.
skerry::sim::test_case primitives();

/// Channels within a shard and between shards, with sends and receives that are given up.
skerry::sim::test_case channels();
/// The HTTP example: its items, its files, clients with pools, drains and crashes.
skerry::sim::test_case http();
/// Pools of connections, of threads that block and of threads that compute.
skerry::sim::test_case pools();
/// Settings that every shard follows by what it is told of changes to their files.
skerry::sim::test_case watch();

struct scenario {
  const char* name;
  skerry::sim::test_case (*make)();
  std::uint64_t seeds;  ///< how many a test runs; and how many may be needed to find a bug
};
std::span<const scenario> all();

}  // namespace scenarios
