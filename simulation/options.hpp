// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a simulation is made of: its seed, its size, how its shards take turns, and what goes wrong.
///
///     skerry::sim::options o;
///     o.seed = 7;
///     o.shards = 4;
///     o.network.reset_per_segment = 0.001;
///
/// Probabilities are between 0 and 1 and per opportunity: per segment, per connect, per operation. All defaults are a
/// world in which nothing goes wrong but time passes.

#include <skerry/shards/app_options.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

namespace skerry::sim {

/// How the next shard to run is chosen.
enum class schedule : std::uint8_t {
  fair,  ///< each that can run is as likely
  /// One of them stands still, or what another sends to it stays on the way, again and again, for up to `stall_max`;
  /// the others run on.
  adversarial,
};

/// What a partition cuts.
enum class protocol : std::uint8_t { any, ipv4, ipv6 };

struct network_options {
  std::chrono::nanoseconds latency_min = std::chrono::microseconds(20);
  std::chrono::nanoseconds latency_max = std::chrono::microseconds(500);
  std::uint64_t bytes_per_second = 1'000'000'000;  ///< of one direction of a connection
  std::uint32_t segment_bytes_max = 64 * 1024;     ///< what is sent arrives in pieces of at most this
  std::uint32_t socket_buffer_bytes = 256 * 1024;  ///< of each side of a connection, for what is sent and what has come
  double small_segment = 0;                        ///< a piece is cut to a few bytes
  double delayed_segment = 0;                      ///< lost and sent again: 200 ms later
  double reset_per_segment = 0;                    ///< the connection breaks
  double refused_connect = 0;                      ///< as if nobody listened
  double reset_accept = 0;                         ///< reset between the hand-shake and accept
  double datagram_lost = 0, datagram_twice = 0, datagram_late = 0;
};

struct system_options {
  double interrupted = 0;           ///< an operation ends with EINTR before it has done anything
  double out_of_memory = 0;         ///< ENOMEM or ENOBUFS
  double out_of_descriptors = 0;    ///< an accept ends with EMFILE, a message comes without its descriptors
  double short_transfer = 0;        ///< fewer bytes than could be
  double ended_multishot = 0;       ///< the kernel stops a multishot operation of its own accord
  double late_completion = 0;       ///< stays behind those of later operations
  unsigned descriptors_max = 4096;  ///< of one host
  // Of one host, as fs.inotify has them of one user.
  unsigned watch_queues_max = 128;
  unsigned watches_max = 8192;
  unsigned watched_changes_max = 16384;                                ///< of one queue, then it overflows
  std::chrono::nanoseconds stall_max = std::chrono::milliseconds(20);  ///< of `schedule::adversarial`
};

struct disk_options {
  std::chrono::nanoseconds latency_min = std::chrono::microseconds(20);
  std::chrono::nanoseconds latency_max = std::chrono::milliseconds(2);
  double io_error = 0;                         ///< EIO; of an fsync: what it was to write is not all written, ever
  double full = 0;                             ///< ENOSPC
  std::uint64_t bytes_max = 64 * 1024 * 1024;  ///< of one host's disk
};

/// What name servers say. The names of hosts lead to their addresses.
struct name_options {
  std::chrono::nanoseconds latency_min = std::chrono::microseconds(200);
  std::chrono::nanoseconds latency_max = std::chrono::milliseconds(30);
  double unanswered = 0;         ///< a try: nothing comes
  double failed = 0;             ///< SERVFAIL
  double unknown = 0;            ///< NXDOMAIN for a name that is there
  std::chrono::seconds ttl{60};  ///< of what they say
};

struct options {
  options() {}  // no aggregate: g++ 12 destroys an aggregate temporary inside a co_await operand twice

  std::uint64_t seed = 1;
  unsigned shards = 1;                         ///< of the host that `fn` runs on; others say themselves
  std::function<void(app_options&)> settings;  ///< of that host: what its command line would say; may be empty
  schedule order = schedule::fair;
  double shuffled_tasks = 0;  ///< a group's ready tasks go in any order, those whose timers share a tick included
  network_options network;
  system_options system;
  disk_options disk;
  name_options names;
  std::uint64_t steps_max = 50'000'000;                              ///< more are a violation: it does not end
  std::chrono::nanoseconds time_max = std::chrono::hours(24 * 365);  ///< likewise
  std::uint64_t until = 0;  ///< raises SIGTRAP, for a debugger, before this step; 0: never
  std::string trace_file;   ///< where the log of all that happens goes; empty: nowhere
  /// Of all faults that are drawn, numbered from 1, these alone happen. Shrinking fills it; empty: all happen.
  std::optional<std::set<std::uint64_t>> only;

  /// Everything that can go wrong does, at rates at which most of a program's work still succeeds.
  options& all_faults();
};

/// What came of a simulation.
struct report {
  std::uint64_t seed = 0;
  std::uint64_t steps = 0;  ///< turns of shards and events of the world
  std::chrono::nanoseconds virtual_time{0};
  std::uint64_t trace_hash = 0;  ///< of everything that happened, in order
  std::uint64_t faults = 0;      ///< drawn, those that were left out included
  std::string violation;         ///< empty if there was none; else what, where and when
  bool ok() const noexcept { return violation.empty(); }
};

}  // namespace skerry::sim
