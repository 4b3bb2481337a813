// SPDX-License-Identifier: Apache-2.0
#pragma once

/// topology: looks at the machine, and puts a thread where `decide` said. The only user of hwloc.
///
///     app_options options;
///     placement chosen = decide(discover(options), options);
///     log::info("{}", chosen.explain());
///     place_this_thread(chosen.shards[i]);    // on the thread of shard i, before it allocates anything
///
/// Looking is done in two steps. The cheap one reads the affinity mask and the control groups. The other loads hwloc's
/// picture of cores, packages and NUMA nodes, and only if the options leave a choice that depends on it
/// (`needs_layout`). hwloc is loaded without plugins and without its x86 component, which binds the thread to each CPU
/// in turn to ask it: both cost more than all else (3.8 ms with, 0.8 ms without, on 2 CPUs) and add nothing that is
/// used here. It is freed before the return.
///
/// Control groups, versions 1 (one tree per controller) and 2, also side by side: the tightest limit on the way from
/// the process's own group up to the mount point holds. Where no mount shows that group (its path is one of another
/// namespace), the tops of the mounts still limit it. Which CPUs are allowed is not read there: the kernel keeps every
/// affinity mask inside the cpuset.
///
/// Affinity:  `discover` on the thread that starts the process, before any other exists and before it is pinned: it
///            reads this thread's mask, and sets and restores an environment variable of hwloc.
/// Errors:    startup_error if a thread cannot be put where it was told to. If hwloc fails, each CPU counts as a
///            core of its own: a server that starts a little unevenly beats one that does not start. What is missing or
///            malformed in control groups is no limit.
/// Source:    Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

#include <skerry/shards/placement.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace skerry {

/// Where `discover` looks; the default is this machine. Tests describe others.
struct discovery_source {
  discovery_source() {}

  std::string root;                 ///< stands before /proc and /sys
  std::string layout;               ///< a synthetic description in hwloc's syntax: "pack:2 [numa] core:64 pu:2"
  std::optional<cpu_list> allowed;  ///< in place of this thread's affinity mask
  std::optional<unsigned> online;   ///< in place of the kernel's count
};

/// What there is to choose from. The layout is left out where the decision does not depend on it.
machine discover(const app_options& options, const discovery_source& source = {});

/// How much memory this process may use: the tightest control group's limit, or all RAM if that is less.
std::uint64_t memory_limit_bytes(const discovery_source& source = {});

/// Keeps the calling thread on the place's CPUs, if it names any. Its new pages come from the place's node while that
/// has any; where the kernel or a sandbox refuses this, it costs speed, not correctness.
void place_this_thread(const place& where);

}  // namespace skerry
