// SPDX-License-Identifier: Apache-2.0
#pragma once

/// cgroup: how much CPU time and memory the control groups above this process leave it.
///
/// The tightest limit on the way from the process's own group up to the mount point holds. Version 1 (one tree per
/// controller), version 2 (one tree) and both side by side are read. Where no mount shows the process's group (its path
/// is one of another namespace), the tops of the mounts still limit it. Which CPUs are allowed is not read: the kernel
/// keeps every affinity mask inside the cpuset.
///
/// Errors: none. What is missing, malformed or cannot be seen is no limit, as in a container without limits.
/// Source: Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

#include <cstdint>
#include <optional>
#include <string>

namespace skerry::detail {

struct cgroup_limits {
  std::optional<double> cpus;                 ///< quota / period; 0.5 is half a CPU
  std::optional<std::uint64_t> memory_bytes;  ///< the hard limit
};

/// `root` stands before every path: a test brings its own /proc and /sys.
cgroup_limits read_cgroup_limits(const std::string& root);

}  // namespace skerry::detail
