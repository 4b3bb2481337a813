// SPDX-License-Identifier: Apache-2.0
#pragma once

/// placement: how many shards, and where each runs. A pure decision over a described machine.
///
///     app_options -----------+
///                            +--> decide() --> placement --> place_this_thread(), one per shard
///     machine (discover()) --+
///
/// | what           | rule                                                                                        |
/// | -------------- | ------------------------------------------------------------------------------------------- |
/// | shards, auto   | one per allowed core (per CPU with `smt`), at most the CPU quota rounded down, at least one |
/// | shards, N      | N; more than there are allowed CPUs only with `overprovision`                               |
/// | which CPUs     | the first thread of each core, package by package; second threads when the cores run out    |
/// | pinned, auto   | yes, unless a quota alone shares the machine out, or shards share CPUs                      |
///
/// Package by package, because a message between packages costs several times one within; spreading would favour memory
/// bandwidth, which a server of small requests does not run out of.
///
/// A quota alone, no cpuset: several containers see all CPUs, each with a share of their time. If each pinned, shard 0
/// of every one of them would sit on CPU 0 while others idle; so the kernel's scheduler places the threads.
///
/// Errors: startup_error, naming the flag that helps. The options are valid.

#include <skerry/framework/startup_error.hpp>
#include <skerry/shards/app_options.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skerry {

/// CPUs, ascending, no number twice.
using cpu_list = std::vector<unsigned>;

/// The largest number a CPU can have: Linux is built for 8192 at most. A typing error cannot ask for gigabytes.
inline constexpr unsigned cpu_id_max = 8191;

/// Reads what Linux writes: `0-3,8,10-12:2` (the last part: 10 and 12), with blanks between the parts or not. Throws
/// startup_error for anything else; the empty text is no list.
cpu_list parse_cpu_list(std::string_view text);
/// The shortest text without strides.
std::string format_cpu_list(const cpu_list& cpus);
/// What to tell who asked for CPUs that the process may not use.
startup_error cpus_unavailable(const cpu_list& wanted, const cpu_list& allowed);

/// What there is to choose from.
struct machine {
  struct cpu {
    unsigned id = 0;    ///< as the kernel numbers it
    unsigned core = 0;  ///< two CPUs with one core number are hardware threads of one core
    unsigned package = 0;
    unsigned node = 0;  ///< NUMA node, as the kernel numbers it
  };

  std::vector<cpu> cpus;        ///< those this process may run on, ascending by id; never empty
  unsigned online = 0;          ///< how many CPUs the machine runs, ours or not
  unsigned nodes = 1;           ///< how many NUMA nodes it has
  std::optional<double> quota;  ///< CPUs' worth of time per unit of time; empty: no limit
  bool layout_known = false;    ///< false: nobody looked, each CPU stands as a core of its own on node 0
};

/// Where one shard runs.
struct place {
  cpu_list cpus;                 ///< one CPU: pinned to it; several: kept inside them; none: wherever the process may
  std::optional<unsigned> node;  ///< whose memory to prefer; empty when there is nothing to prefer
};

/// The decision, one place per shard.
struct placement {
  std::vector<place> shards;
  bool pinned = false;
  std::string count_reason{};  ///< "one per core"
  std::string pin_reason{};    ///< "--pin on"

  /// One line for the start-up log.
  std::string explain() const;
};

placement decide(const machine& from, const app_options& options);

/// Whether `decide` might choose otherwise if it knew cores, packages and nodes. Refuses what `decide` refuses.
bool needs_layout(const machine& from, const app_options& options);

}  // namespace skerry
