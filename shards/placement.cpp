// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/configuration_error.hpp>
#include <skerry/shards/placement.hpp>

#include <algorithm>
#include <map>
#include <tuple>

#include <fmt/core.h>

namespace skerry {

namespace {

using cpus = std::vector<machine::cpu>;

cpu_list ids_of(const cpus& from) {
  cpu_list ids;
  for (const machine::cpu& cpu : from) ids.push_back(cpu.id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

/// The allowed CPUs inside the request's list, all of them if it has none.
cpus usable_cpus(const machine& from, const cpu_list& cpuset) {
  if (cpuset.empty()) return from.cpus;
  cpus usable;
  for (const machine::cpu& cpu : from.cpus) {
    if (std::binary_search(cpuset.begin(), cpuset.end(), cpu.id)) usable.push_back(cpu);
  }
  return usable;
}

void refuse_unavailable(const machine& from, const cpu_list& cpuset) {
  cpu_list allowed = ids_of(from.cpus);
  cpu_list missing;
  std::set_difference(cpuset.begin(), cpuset.end(), allowed.begin(), allowed.end(), std::back_inserter(missing));
  if (missing.empty()) return;
  std::string list = format_cpu_list(allowed);
  throw configuration_error(
      fmt::format("CPU {} is not available: allowed are {}; use --cpuset {}", format_cpu_list(missing), list, list));
}

/// First threads of all cores before second ones; within each, neighbours in the machine are neighbours in the list.
cpus by_preference(const cpus& usable) {
  std::map<unsigned, unsigned> taken;
  std::vector<std::pair<unsigned, machine::cpu>> ranked;
  for (const machine::cpu& cpu : usable) ranked.emplace_back(taken[cpu.core]++, cpu);
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first, a.second.package, a.second.node, a.second.core, a.second.id) <
           std::tie(b.first, b.second.package, b.second.node, b.second.core, b.second.id);
  });
  cpus ordered;
  for (const auto& [rank, cpu] : ranked) ordered.push_back(cpu);
  SKERRY_ASSERT(ordered.size() == usable.size(), "putting CPUs in order loses none");
  return ordered;
}

std::size_t count_cores(const cpus& usable) {
  cpu_list cores;
  for (const machine::cpu& cpu : usable) cores.push_back(cpu.core);
  std::sort(cores.begin(), cores.end());
  return static_cast<std::size_t>(std::unique(cores.begin(), cores.end()) - cores.begin());
}

/// The quota as a number of shards: rounded down, because a shard that is throttled part of the time delays the others.
std::size_t whole_cpus(double quota) { return quota < 2 ? 1 : static_cast<std::size_t>(std::min(quota, 1e6)); }

struct choice {
  std::size_t count;
  std::string reason;
};

choice choose_count(const machine& from, const cpus& usable, const placement_request& request) {
  if (request.shards) return {*request.shards, "as asked"};
  choice chosen = request.smt ? choice{usable.size(), "one per hardware thread"}
                              : choice{count_cores(usable), usable.size() > 1 ? "one per core" : "one CPU is allowed"};
  if (from.quota && whole_cpus(*from.quota) < chosen.count) {
    chosen = {whole_cpus(*from.quota), fmt::format("what a quota of {:g} CPUs covers", *from.quota)};
  }
  if (chosen.count > shard_count_max) chosen = {shard_count_max, "the most there can be"};
  return chosen;
}

void refuse_bad_count(const cpus& usable, const placement_request& request) {
  if (!request.shards) return;
  if (*request.shards == 0) throw configuration_error("there is no work without a shard; use --shards auto");
  if (*request.shards > shard_count_max) {
    throw configuration_error(fmt::format("{} shards are more than the {} there can be; use --shards auto",
                                          *request.shards, shard_count_max));
  }
  if (*request.shards > usable.size() && !request.overprovision) {
    throw configuration_error(
        fmt::format("{} shards need {} CPUs, allowed are {}: {}", *request.shards, *request.shards, usable.size(),
                    format_cpu_list(ids_of(usable))),
        fmt::format("use --shards {}, or --overprovision to let shards share CPUs", usable.size()));
  }
}

struct pin_choice {
  bool pinned;
  std::string reason;
};

pin_choice choose_pinning(const machine& from, std::size_t usable, std::size_t count,
                          const placement_request& request) {
  if (request.pin == pin_mode::on) return {true, "--pin on"};
  if (request.pin == pin_mode::off) return {false, "--pin off"};
  if (count > usable) return {false, "shards share CPUs"};
  bool narrowed = !request.cpuset.empty() || from.cpus.size() < from.online;
  if (!narrowed && from.quota && *from.quota < static_cast<double>(from.cpus.size())) {
    return {false, fmt::format("a quota of {:g} CPUs shares out all {}", *from.quota, from.cpus.size())};
  }
  return {true, narrowed ? "the CPUs are set aside" : "the machine is not shared out"};
}

void check_machine(const machine& from) {
  SKERRY_ASSERT(!from.cpus.empty(), "a process runs on some CPU");
  SKERRY_ASSERT(from.nodes >= 1, "memory is on some node");
  auto by_id = [](const machine::cpu& a, const machine::cpu& b) { return a.id < b.id; };
  SKERRY_ASSERT(std::is_sorted(from.cpus.begin(), from.cpus.end(), by_id), "CPUs are listed in ascending order");
  SKERRY_ASSERT(!from.quota || *from.quota > 0, "a quota is more than nothing");
}

}  // namespace

bool needs_layout(const machine& from, const placement_request& request) {
  check_machine(from);
  std::size_t usable = usable_cpus(from, request.cpuset).size();
  if (usable <= 1) return false;
  if (!request.shards && !request.smt) return !from.quota || whole_cpus(*from.quota) > 1;
  std::size_t count = request.shards ? *request.shards : usable;
  if (!request.shards && from.quota) count = std::min(count, whole_cpus(*from.quota));
  // One shard takes the first CPU, and as many shards as CPUs take them all: neither is a choice.
  bool chooses = count > 1 && count < usable;
  return chooses && choose_pinning(from, usable, count, request).pinned;
}

placement decide(const machine& from, const placement_request& request) {
  check_machine(from);
  SKERRY_ASSERT(std::is_sorted(request.cpuset.begin(), request.cpuset.end()), "a cpu_list is ascending");
  refuse_unavailable(from, request.cpuset);
  cpus usable = usable_cpus(from, request.cpuset);
  refuse_bad_count(usable, request);

  choice count = choose_count(from, usable, request);
  SKERRY_ASSERT(count.count >= 1, "there is at least one shard");
  SKERRY_ASSERT(count.count <= shard_count_max, "the number of shards is bounded");
  pin_choice pin = choose_pinning(from, usable.size(), count.count, request);

  placement out;
  out.pinned = pin.pinned;
  out.count_reason = std::move(count.reason);
  out.pin_reason = std::move(pin.reason);
  cpus ordered = by_preference(usable);
  for (std::size_t i = 0; i < count.count; ++i) {
    place where;
    if (pin.pinned) {
      const machine::cpu& cpu = ordered[i % ordered.size()];
      where.cpus = {cpu.id};
      if (from.layout_known && from.nodes > 1) where.node = cpu.node;
    } else if (!request.cpuset.empty()) {
      where.cpus = ids_of(usable);
    }
    out.shards.push_back(std::move(where));
  }
  return out;
}

std::string placement::explain() const {
  SKERRY_ASSERT(!shards.empty(), "a decision has a shard to explain");
  cpu_list used;
  cpu_list nodes;
  for (const place& shard : shards) {
    used.insert(used.end(), shard.cpus.begin(), shard.cpus.end());
    if (shard.node) nodes.push_back(*shard.node);
  }
  for (cpu_list* list : {&used, &nodes}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  std::string text = fmt::format("{} shard{} ({})", shards.size(), shards.size() == 1 ? "" : "s", count_reason);
  if (!used.empty()) text += fmt::format(" on CPU{} {}", used.size() == 1 ? "" : "s", format_cpu_list(used));
  if (!nodes.empty()) text += fmt::format(", NUMA node{} {}", nodes.size() == 1 ? "" : "s", format_cpu_list(nodes));
  return text + fmt::format(", {}pinned ({})", pinned ? "" : "not ", pin_reason);
}

}  // namespace skerry
