// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/choose.hpp>
#include <skerry/backends/features.hpp>
#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/shards/placement.hpp>

#include <charconv>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <skerry_doctor/examine.hpp>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace skerry_doctor {

namespace {

namespace fs = std::filesystem;
using skerry::app_options;
using skerry::cpu_list;
using skerry::format_cpu_list;
using skerry::machine;
using skerry::placement;

/// The first line; empty where there is no such file.
std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// What stands behind `name:` in a file of such lines.
std::string field(const fs::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (colon == line.npos || line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1) != name) continue;
    const auto begin = line.find_first_not_of(" \t", colon + 1);
    return begin == line.npos ? "" : line.substr(begin);
  }
  return "";
}

std::string in_mebibytes(std::uint64_t bytes) { return fmt::format("{} MiB", bytes >> 20); }

cpu_list ids(const std::vector<machine::cpu>& cpus) {
  cpu_list all;
  for (const machine::cpu& cpu : cpus) all.push_back(cpu.id);
  return all;
}

/// Those that cost every entry into the kernel; others slow code down that servers seldom run.
json mitigations(const fs::path& root) {
  json found = json::array();
  for (const char* name : {"meltdown", "mds", "spectre_v2", "retbleed", "spec_rstack_overflow", "tsx_async_abort"}) {
    const std::string state = first_line(root / "sys/devices/system/cpu/vulnerabilities" / name);
    if (state.starts_with("Mitigation")) found.push_back(name + state.substr(state.find(':')));
  }
  return found;
}

void describe_machine(report& to, const machine& here, const fs::path& root) {
  utsname kernel{};
  ::uname(&kernel);
  std::set<unsigned> cores, packages;
  std::set<unsigned> nodes;
  for (const machine::cpu& cpu : here.cpus) {
    cores.insert(cpu.core);
    packages.insert(cpu.package);
    nodes.insert(cpu.node);
  }
  json& into = to.sections["machine"];
  into["kernel"] = kernel.release;
  if (std::string model = field(root / "proc/cpuinfo", "model name"); !model.empty()) into["processor"] = model;
  into["CPUs online"] = here.online;
  into["CPUs allowed"] = format_cpu_list(ids(here.cpus));
  if (here.layout_known) {
    into["cores allowed"] = cores.size();
    into["packages allowed"] = packages.size();
    into["NUMA nodes"] = here.nodes;
    for (const unsigned node : nodes) {
      cpu_list there;
      for (const machine::cpu& cpu : here.cpus) {
        if (cpu.node == node) there.push_back(cpu.id);
      }
      if (here.nodes > 1) into[fmt::format("CPUs of node {}", node)] = format_cpu_list(there);
    }
  }
  if (std::string flags = ' ' + field(root / "proc/cpuinfo", "flags") + ' '; flags.size() > 2) {
    into["virtual machine"] = flags.find(" hypervisor ") != flags.npos;
  }
  const std::string governor = first_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (!governor.empty()) into["frequency governor"] = governor;
  if (governor == "powersave" || governor == "ondemand" || governor == "conservative") {
    to.hint(fmt::format("the frequency governor is {}: a shard that has slept wakes on a slow CPU", governor),
            "cpupower frequency-set -g performance");
  }
  into["mitigations"] = mitigations(root);
}

json limit_of(__rlimit_resource which, std::uint64_t unit) {
  rlimit limit{};
  if (::getrlimit(which, &limit) != 0) return nullptr;
  if (limit.rlim_cur == RLIM_INFINITY) return "unlimited";
  return limit.rlim_cur / unit;
}

void describe_limits(report& to, const machine& here, const skerry::discovery_source& from) {
  json& into = to.sections["limits"];
  into["CPU quota"] = here.quota ? json(*here.quota) : json("none");
  into["memory"] = in_mebibytes(skerry::memory_limit_bytes(from));
  into["locked memory KiB"] = limit_of(RLIMIT_MEMLOCK, 1024);
  into["descriptors"] = limit_of(RLIMIT_NOFILE, 1);
  const std::string backlog = first_line(fs::path(from.root + "/") / "proc/sys/net/core/somaxconn");
  if (!backlog.empty()) into["listen backlog"] = std::strtoul(backlog.c_str(), nullptr, 10);
  if (here.quota && *here.quota < 1) {
    to.hint(fmt::format("the quota is {:g} CPUs: a shard is stopped for part of every period", *here.quota),
            "give the container at least one CPU");
  }
  if (into["descriptors"].is_number() && into["descriptors"].get<std::uint64_t>() < 4096) {
    to.hint(fmt::format("{} descriptors limit how many connections there can be", into["descriptors"].dump()),
            "ulimit -n 65536, or LimitNOFILE=65536 in a systemd unit");
  }
}

/// What there is, what is used of it, and why: as `--io-uring-features` prints it.
void describe_features(report& to, const skerry::io_uring_extras& asked) {
  const skerry::io_uring_report found = skerry::examine_io_uring(asked);
  for (const skerry::io_uring_feature& each : found.features) {
    const char* used = each.used ? "used" : each.in_kernel ? "not used" : "not in this kernel";
    if (each.opt_in && each.in_kernel) used = each.used ? "opt-in, on" : "opt-in, off";
    to.sections["io_uring features"][each.name] = fmt::format("{}: {}", used, each.why);
  }
}

/// Tries what a start would do. Without io_uring a program runs on epoll, unless it was told not to. Which it is.
std::string describe_io_uring(report& to, const placement& chosen, const app_options& options, const fs::path& root) {
  json& into = to.sections["io_uring"];
  const std::string disabled = first_line(root / "proc/sys/kernel/io_uring_disabled");
  if (!disabled.empty()) into["io_uring_disabled"] = std::strtol(disabled.c_str(), nullptr, 10);
  const skerry::io_uring_extras asked{options.sqpoll_idle, options.napi_busy_poll, options.send_zc_bytes};
  try {
    auto rings = skerry::make_backends("io_uring", chosen.shards.size(), options.ring_entries, asked).all;
    into["usable"] = true;
    into["rings made"] = rings.size();
    rings.clear();
    describe_features(to, asked);
    if (options.backend != "epoll") return "io_uring";
    if (asked.asked() != nullptr)
      to.problem(fmt::format("{} is for io_uring", asked.asked()), "leave --backend epoll out");
  } catch (const std::exception& refused) {
    into["usable"] = false;
    const std::string_view text = refused.what();
    const auto line = text.find('\n');
    const std::string fix(line == text.npos ? "see above" : text.substr(line + 1));
    const std::string what(text.substr(0, line));
    if (asked.asked() != nullptr) {
      to.problem(what, fix + fmt::format(", or leave {} out", asked.asked()));
    } else if (options.backend == "io_uring") {
      to.problem(what, fix + ", or use --backend auto");
    } else if (options.backend == "auto") {
      to.hint(what + "; epoll stands in, with a system call per receive and send", fix);
    }
  }
  return "epoll";
}

/// A process some thread of which is kept on fewer CPUs than there are.
struct neighbour {
  int pid;
  std::string name;
  cpu_list shared;  ///< CPUs that it and we are kept on
};

std::vector<neighbour> pinned_neighbours(const std::set<unsigned>& ours, unsigned online, const fs::path& root) {
  std::vector<neighbour> found;
  std::error_code gone;  // processes end while we look
  for (fs::directory_iterator process(root / "proc", gone), end; process != end; process.increment(gone)) {
    const std::string number = process->path().filename();
    int pid = 0;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), pid);
    if (parsed.ptr != number.data() + number.size() || pid == ::getpid()) continue;
    if (first_line(process->path() / "cmdline").empty()) continue;  // the kernel's own threads
    std::set<unsigned> shared;
    std::error_code ended;
    for (fs::directory_iterator thread(process->path() / "task", ended), last; thread != last;
         thread.increment(ended)) {
      cpu_list kept;
      try {
        kept = skerry::parse_cpu_list(field(thread->path() / "status", "Cpus_allowed_list"));
      } catch (const skerry::startup_error&) {
        continue;
      }
      if (kept.size() >= online) continue;
      for (const unsigned cpu : kept) {
        if (ours.contains(cpu)) shared.insert(cpu);
      }
    }
    if (!shared.empty()) found.push_back({pid, first_line(process->path() / "comm"), {shared.begin(), shared.end()}});
  }
  return found;
}

void describe_neighbours(report& to, const placement& chosen, const machine& here, const fs::path& root) {
  std::set<unsigned> ours;
  for (const skerry::place& shard : chosen.shards) ours.insert(shard.cpus.begin(), shard.cpus.end());
  if (ours.empty() || here.cpus.size() < here.online) return;  // nothing to collide on, or the CPUs are set aside
  const std::vector<neighbour> all = pinned_neighbours(ours, here.online, root);
  json& into = to.sections["pinned to the same CPUs"];
  into["processes"] = all.size();
  for (const neighbour& each : all) {
    if (into.size() > neighbours_max) break;
    into[fmt::format("pid {}", each.pid)] = fmt::format("{} on CPU {}", each.name, format_cpu_list(each.shared));
  }
  if (!all.empty()) {
    to.hint(fmt::format("{} other process{} pinned to CPUs that the shards would be pinned to", all.size(),
                        all.size() == 1 ? " is" : "es are"),
            "give each its own with --cpuset, or use --pin off");
  }
}

void describe_choice(report& to, const placement& chosen, const std::string& backend) {
  json& into = to.sections["choice"];
  into["backend"] = backend;
  into["shards"] = chosen.shards.size();
  into["because"] = chosen.count_reason;
  into["pinned"] = chosen.pinned;
  into["because pinned"] = chosen.pin_reason;
  json places = json::array();
  for (const skerry::place& shard : chosen.shards) {
    if (!shard.cpus.empty()) places.push_back(format_cpu_list(shard.cpus));
  }
  into["CPUs of shards"] = places;
  into["in a line"] = chosen.explain();
}

}  // namespace

report examine(const app_options& options, const skerry::discovery_source& from) {
  report found;
  const fs::path root = from.root + "/";
  app_options any;  // leaves a choice, so the layout is looked at even where the options leave none
  any.pin = skerry::pin_mode::on;
  const machine here = skerry::discover(any, from);
  describe_machine(found, here, root);
  describe_limits(found, here, from);
  try {
    const placement chosen = skerry::decide(skerry::discover(options, from), options);
    const std::string backend = describe_io_uring(found, chosen, options, root);
    describe_neighbours(found, chosen, here, root);
    describe_choice(found, chosen, backend);
  } catch (const skerry::startup_error& refused) {
    const std::string_view text = refused.what();
    const auto line = text.find('\n');
    found.problem(std::string(text.substr(0, line)),
                  std::string(line == text.npos ? "choose other options" : text.substr(line + 1)));
  }
  return found;
}

}  // namespace skerry_doctor
