// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/configuration_error.hpp>
#include <skerry/shards/detail/cgroup.hpp>
#include <skerry/shards/topology.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>

#include <fmt/core.h>
#include <hwloc.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry {

namespace {

/// A kernel CPU mask of any size; glibc's fixed cpu_set_t ends at 1024.
class cpu_mask {
 public:
  explicit cpu_mask(unsigned cpus) : set_(CPU_ALLOC(cpus)), bytes_(CPU_ALLOC_SIZE(cpus)) {
    SKERRY_ASSERT(set_ != nullptr, "a kilobyte for a CPU mask is there at start-up");
    CPU_ZERO_S(bytes_, set_);
  }
  ~cpu_mask() { CPU_FREE(set_); }
  cpu_mask(const cpu_mask&) = delete;
  cpu_mask& operator=(const cpu_mask&) = delete;

  cpu_set_t* get() noexcept { return set_; }
  std::size_t bytes() const noexcept { return bytes_; }
  bool has(unsigned cpu) const noexcept { return CPU_ISSET_S(cpu, bytes_, set_); }
  void add(unsigned cpu) noexcept { CPU_SET_S(cpu, bytes_, set_); }

 private:
  cpu_set_t* set_;
  std::size_t bytes_;
};

cpu_list read_affinity() {
  cpu_mask mask(cpu_id_max + 1);
  if (sched_getaffinity(0, mask.bytes(), mask.get()) != 0) {
    throw configuration_error(fmt::format("cannot ask which CPUs are allowed: {}", std::strerror(errno)),
                              "let the sandbox permit sched_getaffinity");
  }
  cpu_list allowed;
  for (unsigned cpu = 0; cpu <= cpu_id_max; ++cpu) {
    if (mask.has(cpu)) allowed.push_back(cpu);
  }
  SKERRY_ASSERT(!allowed.empty(), "the kernel allows a running thread some CPU");
  return allowed;
}

unsigned count_online() {
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count < 1 ? 1u : static_cast<unsigned>(count);
}

/// Sets a variable unless the user has, and takes it back.
class scoped_environment {
 public:
  scoped_environment(const char* name, const char* value) : name_(std::getenv(name) == nullptr ? name : nullptr) {
    if (name_ != nullptr) setenv(name_, value, 0);
  }
  ~scoped_environment() {
    if (name_ != nullptr) unsetenv(name_);
  }
  scoped_environment(const scoped_environment&) = delete;
  scoped_environment& operator=(const scoped_environment&) = delete;

 private:
  const char* name_;
};

struct destroy_topology {
  void operator()(hwloc_topology* topology) const noexcept { hwloc_topology_destroy(topology); }
};
using topology_handle = std::unique_ptr<hwloc_topology, destroy_topology>;

/// Null if hwloc cannot read the machine.
topology_handle load_topology(const std::string& synthetic) {
  scoped_environment no_plugins("HWLOC_PLUGINS_PATH", "/nonexistent");
  scoped_environment no_cpuid("HWLOC_COMPONENTS", "-x86");
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  topology_handle topology(raw);
  if (!synthetic.empty() && hwloc_topology_set_synthetic(raw, synthetic.c_str()) != 0) return nullptr;
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_NO_DISTANCES |
                                    HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS | HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS);
  hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (hwloc_topology_load(raw) != 0) return nullptr;
  return topology;
}

unsigned node_of(hwloc_topology_t topology, unsigned cpu) {
  hwloc_obj_t node = nullptr;
  while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr) {
    if (hwloc_bitmap_isset(node->cpuset, cpu)) return node->os_index;
  }
  return 0;
}

void read_layout(machine& into, const std::string& synthetic) {
  topology_handle topology = load_topology(synthetic);
  if (!topology) return;
  // Some virtual machines report CPUs without cores, and a CPU may be missing altogether (plugged in just now): each of
  // those is a core of its own, numbered past the real ones.
  auto cores = static_cast<unsigned>(std::max(0, hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_CORE)));
  for (machine::cpu& cpu : into.cpus) {
    cpu.core = cores + cpu.id;
    hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topology.get(), cpu.id);
    if (pu == nullptr) continue;
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology.get(), HWLOC_OBJ_CORE, pu);
    if (core != nullptr) cpu.core = core->logical_index;
    hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(topology.get(), HWLOC_OBJ_PACKAGE, pu);
    if (package != nullptr) cpu.package = package->logical_index;
    cpu.node = node_of(topology.get(), cpu.id);
  }
  into.nodes = static_cast<unsigned>(std::max(1, hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_NUMANODE)));
  into.layout_known = true;
}

std::uint64_t installed_memory_bytes(const std::string& root) {
  std::string text = detail::read_text_file(root + "/proc/meminfo").value_or("");
  constexpr std::string_view key = "MemTotal:";
  auto at = text.find(key);
  if (at == text.npos) return std::numeric_limits<std::uint64_t>::max();
  std::string_view rest = std::string_view(text).substr(at + key.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  std::uint64_t kibibytes = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), kibibytes);
  return kibibytes == 0 ? std::numeric_limits<std::uint64_t>::max() : kibibytes * 1024;
}

}  // namespace

machine discover(const placement_request& request, const discovery_source& source) {
  machine found;
  for (unsigned id : source.allowed ? *source.allowed : read_affinity()) found.cpus.push_back({.id = id, .core = id});
  found.online = std::max(source.online ? *source.online : count_online(), static_cast<unsigned>(found.cpus.size()));
  found.quota = detail::read_cgroup_limits(source.root).cpus;
  if (needs_layout(found, request)) read_layout(found, source.layout);
  SKERRY_ASSERT(!found.cpus.empty(), "there is a CPU to run on");
  return found;
}

std::uint64_t memory_limit_bytes(const discovery_source& source) {
  std::uint64_t installed = installed_memory_bytes(source.root);
  std::uint64_t limit = std::min(installed, detail::read_cgroup_limits(source.root).memory_bytes.value_or(installed));
  SKERRY_ASSERT(limit > 0, "there is memory to run in");
  return limit;
}

void pin_this_thread(unsigned cpu) { confine_this_thread({cpu}); }

void confine_this_thread(const cpu_list& cpus) {
  SKERRY_ASSERT(!cpus.empty(), "a thread runs on some CPU");
  SKERRY_ASSERT(cpus.back() <= cpu_id_max, "CPU numbers are bounded");
  cpu_mask mask(cpu_id_max + 1);
  for (unsigned cpu : cpus) mask.add(cpu);
  if (sched_setaffinity(0, mask.bytes(), mask.get()) == 0) return;
  int error = errno;
  std::string wanted = format_cpu_list(cpus);
  if (error == EINVAL) {
    std::string allowed = format_cpu_list(read_affinity());
    throw configuration_error(
        fmt::format("CPU {} is not available: allowed are {}; use --cpuset {}", wanted, allowed, allowed));
  }
  throw configuration_error(
      fmt::format("cannot pin a thread to CPU {}: {}; use --pin off without --cpuset", wanted, std::strerror(error)));
}

bool prefer_memory_of_node(unsigned node) noexcept {
  constexpr unsigned bits = std::numeric_limits<unsigned long>::digits;
  constexpr unsigned nodes_max = 1024;
  if (node >= nodes_max) return false;
  unsigned long mask[nodes_max / bits] = {};
  mask[node / bits] = 1ul << (node % bits);
  // The raw call: libnuma would be a dependency for this one line. The kernel reads one bit less than it is told.
  return syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask, nodes_max + 1ul) == 0;
}

void place_this_thread(const place& where) {
  if (!where.cpus.empty()) confine_this_thread(where.cpus);
  if (where.node) prefer_memory_of_node(*where.node);
}

}  // namespace skerry
