// SPDX-License-Identifier: Apache-2.0
#pragma once

/// cgroup: how much CPU time and memory the control groups above this process leave it.
///
/// Limits nest, and the tightest one on the way from the process's own group up to the mount point holds. Version 1
/// (one tree per controller), version 2 (one tree) and both side by side are read. Where no mount shows the process's
/// group (its path is one of another namespace), the tops of the mounts still limit it; what cannot be seen at all
/// counts as unlimited, which is what a container without limits looks like too.
///
/// Which CPUs are allowed is not read here: the kernel already keeps every affinity mask inside the cpuset.
///
/// Errors: none. What is missing or malformed is no limit.
/// Source: Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

#include <cstdint>
#include <optional>
#include <string>

namespace skerry::detail {

struct cgroup_limits {
  std::optional<double> cpus;                 ///< quota / period; 0.5 is half a CPU
  std::optional<std::uint64_t> memory_bytes;  ///< the hard limit
};

/// `root` stands before every path, so that a test can bring its own /proc and /sys; empty for the real ones.
cgroup_limits read_cgroup_limits(const std::string& root);

}  // namespace skerry::detail
