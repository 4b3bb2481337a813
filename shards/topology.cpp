// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/shards/topology.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <sstream>
#include <vector>

#include <fmt/core.h>
#include <hwloc.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry {

namespace {

/// A kernel CPU mask for every number there can be; glibc's own ends at 1024.
struct cpu_mask {
  cpu_set_t parts[(cpu_id_max + 1) / CPU_SETSIZE] = {};
};

cpu_list read_affinity() {
  cpu_mask mask;
  if (sched_getaffinity(0, sizeof mask, mask.parts) != 0) {
    throw startup_error(fmt::format("cannot ask which CPUs are allowed: {}\nlet the sandbox permit sched_getaffinity",
                                    std::strerror(errno)));
  }
  cpu_list allowed;
  for (unsigned cpu = 0; cpu <= cpu_id_max; ++cpu) {
    if (CPU_ISSET_S(cpu, sizeof mask, mask.parts)) allowed.push_back(cpu);
  }
  SKERRY_ASSERT(!allowed.empty(), "the kernel allows a running thread some CPU");
  return allowed;
}

/// Does nothing if hwloc cannot read the machine.
void read_layout(machine& into, const std::string& synthetic) {
  constexpr const char* plugins = "HWLOC_PLUGINS_PATH";  // read by hwloc_topology_init
  bool ours = std::getenv(plugins) == nullptr;
  if (ours) setenv(plugins, "/nonexistent", 0);
  hwloc_topology_t raw = nullptr;
  bool made = hwloc_topology_init(&raw) == 0;
  if (ours) unsetenv(plugins);
  if (!made) return;
  std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)> owner(raw, &hwloc_topology_destroy);
  hwloc_topology_set_components(raw, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
  if (!synthetic.empty() && hwloc_topology_set_synthetic(raw, synthetic.c_str()) != 0) return;
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_NO_DISTANCES |
                                    HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS | HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS);
  hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (hwloc_topology_load(raw) != 0) return;

  for (machine::cpu& cpu : into.cpus) {
    // Some virtual machines report CPUs without cores, and a CPU may be missing altogether (plugged in just now): each
    // of those is a core of its own, numbered past the real ones.
    cpu.core = cpu_id_max + 1 + cpu.id;
    hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(raw, cpu.id);
    if (pu == nullptr) continue;
    if (auto* core = hwloc_get_ancestor_obj_by_type(raw, HWLOC_OBJ_CORE, pu)) cpu.core = core->logical_index;
    if (auto* pack = hwloc_get_ancestor_obj_by_type(raw, HWLOC_OBJ_PACKAGE, pu)) cpu.package = pack->logical_index;
    cpu.node = static_cast<unsigned>(std::max(0, hwloc_bitmap_first(pu->nodeset)));
  }
  into.nodes = static_cast<unsigned>(std::max(1, hwloc_get_nbobjs_by_type(raw, HWLOC_OBJ_NUMANODE)));
  into.layout_known = true;
}

/// What the control groups above this process leave it.
struct cgroup_limits {
  double cpus = std::numeric_limits<double>::infinity();  ///< quota / period; 0.5 is half a CPU
  std::uint64_t memory_bytes = std::numeric_limits<std::uint64_t>::max();
};

struct mount {
  std::string top;          ///< which group the mount shows at its top; empty: the root of all
  std::string point;        ///< where
  std::string controllers;  ///< and other words, between commas: ",rw,cpu,cpuacct,"; of version 2 ",,"
};

/// mountinfo writes blanks and backslashes in paths as \040 and \134.
std::string unescaped(std::string text) {
  for (auto at = text.find('\\'); at != text.npos; at = text.find('\\', at + 1)) {
    text.replace(at, 4, 1, static_cast<char>(std::strtoul(text.substr(at + 1, 3).c_str(), nullptr, 8)));
  }
  return text;
}

std::vector<mount> read_mounts(const std::string& root) {
  std::vector<mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    auto dash = line.find(" - cgroup");
    if (dash == line.npos) continue;
    std::string skipped, top, point, type, options;
    std::istringstream(line) >> skipped >> skipped >> skipped >> top >> point;
    std::istringstream(line.substr(dash + 3)) >> type >> skipped >> options;
    if (options.empty()) continue;  // malformed
    if (type == "cgroup2") options.clear();
    mounts.push_back({top == "/" ? "" : unescaped(top), root + unescaped(point), ',' + options + ','});
  }
  return mounts;
}

/// Reads what numbers the file holds, if it holds these and nothing else.
template <typename... Numbers>
bool read_numbers(const std::string& path, Numbers&... numbers) {
  std::ifstream file(path);
  return (file >> ... >> numbers) && (file >> std::ws).eof();
}

/// A group has files of one version; those of the other are missing.
void tighten_by_group(cgroup_limits& limits, const std::string& directory) {
  double quota = 0, period = 0;  // no quota is the word "max" in version 2 and -1 in version 1
  bool timed =
      read_numbers(directory + "/cpu.max", quota, period) ||
      (read_numbers(directory + "/cpu.cfs_quota_us", quota) && read_numbers(directory + "/cpu.cfs_period_us", period));
  if (timed && quota > 0 && period > 0) limits.cpus = std::min(limits.cpus, quota / period);
  std::uint64_t bytes = 0;  // no limit is the word "max", and in version 1 the largest multiple of a page
  if (read_numbers(directory + "/memory.max", bytes) || read_numbers(directory + "/memory.limit_in_bytes", bytes)) {
    limits.memory_bytes = std::min(limits.memory_bytes, bytes);
  }
}

/// Applies the limits of a group and of those above it.
void tighten_by_path(cgroup_limits& limits, const std::vector<mount>& mounts, const std::string& controllers,
                     const std::string& path) {
  auto of_this_tree = [&](const mount& m) {
    return std::ranges::any_of(std::array{",,", ",cpu,", ",memory,"}, [&](const char* word) {
      return controllers.find(word) != controllers.npos && m.controllers.find(word) != m.controllers.npos;
    });
  };
  auto shows_us = [&](const mount& m) {
    return of_this_tree(m) && (path + '/').starts_with(m.top + '/') && path.find("..") == path.npos;
  };
  bool shown = std::ranges::any_of(mounts, shows_us);
  for (const mount& m : mounts) {
    if (shown ? !shows_us(m) : !of_this_tree(m)) continue;
    std::string below = shown ? path.substr(m.top.size()) : "";
    for (; !below.empty(); below.resize(below.rfind('/'))) tighten_by_group(limits, m.point + below);
    tighten_by_group(limits, m.point);
  }
}

cgroup_limits read_cgroup_limits(const std::string& root) {
  cgroup_limits limits;
  std::vector<mount> mounts = read_mounts(root);
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // id:controllers:path, where controllers is empty for version 2.
    auto first = line.find(':');
    auto second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    std::string path = line.substr(second + 1);
    while (path.ends_with('/')) path.pop_back();
    tighten_by_path(limits, mounts, ',' + line.substr(first + 1, second - first - 1) + ',', path);
  }
  SKERRY_ASSERT(limits.cpus > 0, "a quota of no time at all does not exist");
  return limits;
}

}  // namespace

machine discover(const app_options& options, const discovery_source& source) {
  machine found;
  for (unsigned id : source.allowed ? *source.allowed : read_affinity()) found.cpus.push_back({.id = id, .core = id});
  long online = source.online ? *source.online : sysconf(_SC_NPROCESSORS_ONLN);
  found.online = static_cast<unsigned>(std::max(online, std::ssize(found.cpus)));
  double quota = read_cgroup_limits(source.root).cpus;
  if (std::isfinite(quota)) found.quota = quota;
  if (needs_layout(found, options)) read_layout(found, source.layout);
  return found;
}

std::uint64_t memory_limit_bytes(const discovery_source& source) {
  std::ifstream file(source.root + "/proc/meminfo");
  std::string key;
  std::uint64_t kibibytes = 0;
  file >> key >> kibibytes;  // the first line is "MemTotal: 16266928 kB"
  std::uint64_t installed = kibibytes > 0 ? kibibytes * 1024 : std::numeric_limits<std::uint64_t>::max();
  std::uint64_t limit = std::min(installed, read_cgroup_limits(source.root).memory_bytes);
  SKERRY_ASSERT(limit > 0, "there is memory to run in");
  return limit;
}

void place_this_thread(const place& where) {
  cpu_mask mask;
  for (unsigned cpu : where.cpus) {
    SKERRY_ASSERT(cpu <= cpu_id_max, "CPU numbers are bounded");
    CPU_SET_S(cpu, sizeof mask, mask.parts);
  }
  if (!where.cpus.empty() && sched_setaffinity(0, sizeof mask, mask.parts) != 0) {
    int error = errno;
    if (error == EINVAL) throw cpus_unavailable(where.cpus, read_affinity());
    throw startup_error(fmt::format("cannot pin a thread to CPU {}: {}; use --pin off without --cpuset",
                                    format_cpu_list(where.cpus), std::strerror(error)));
  }
  constexpr unsigned bits = std::numeric_limits<unsigned long>::digits;
  unsigned long nodes[16] = {};
  if (!where.node || *where.node >= std::size(nodes) * bits) return;
  nodes[*where.node / bits] = 1ul << (*where.node % bits);
  // The raw call: libnuma would be a dependency for this one line. The kernel reads one bit less than it is told.
  syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes, std::size(nodes) * bits + 1);
}

}  // namespace skerry
