// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/placement.hpp>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include <fmt/core.h>

namespace skerry {

cpu_list parse_cpu_list(std::string_view text) {
  std::set<unsigned> named;
  const char* at = text.data();
  const char* end = at + text.size();
  auto refuse = [text](const char* why) {
    throw startup_error(
        fmt::format("\"{}\" {}; a list of CPUs looks like 0-3,8,10-12:2", detail::printable(text), why));
  };
  auto skip = [&](char c) { return at != end && *at == c && ++at; };
  auto number = [&] {
    unsigned value = 0;
    auto [next, error] = std::from_chars(at, end, value);
    if (next == at) refuse("is not made of CPU numbers and ranges");
    if (error != std::errc{} || value > cpu_id_max) refuse("goes beyond the largest CPU number, 8191");
    at = next;
    return value;
  };
  do {
    while (skip(' ')) continue;
    unsigned first = number(), last = first, stride = 1;
    if (skip('-')) {
      last = number();
      if (skip(':')) stride = number();
    }
    if (last < first) refuse("has a range that runs backwards");
    if (stride == 0) refuse("has a stride of 0");
    for (unsigned cpu = first; cpu <= last; cpu += stride) named.insert(cpu);
    while (skip(' ')) continue;
  } while (skip(','));
  if (at != end) refuse("is not made of CPU numbers and ranges");
  return {named.begin(), named.end()};
}

std::string format_cpu_list(const cpu_list& cpus) {
  SKERRY_ASSERT(std::ranges::is_sorted(cpus), "a cpu_list is ascending");
  std::string out;
  for (std::size_t first = 0, i = 0; i < cpus.size(); ++i) {
    if (i + 1 < cpus.size() && cpus[i + 1] == cpus[i] + 1) continue;  // the range goes on
    out += fmt::format("{}{}", out.empty() ? "" : ",", cpus[first]);
    if (i > first) out += fmt::format("-{}", cpus[i]);
    first = i + 1;
  }
  return out;
}

startup_error cpus_unavailable(const cpu_list& wanted, const cpu_list& allowed) {
  std::string list = format_cpu_list(allowed);
  return startup_error(
      fmt::format("CPU {} is not available: allowed are {}; use --cpuset {}", format_cpu_list(wanted), list, list));
}

namespace {

using cpus = std::vector<machine::cpu>;

cpu_list ids_of(const cpus& from) {
  cpu_list ids;
  std::ranges::transform(from, std::back_inserter(ids), &machine::cpu::id);
  return ids;
}

/// The allowed CPUs inside the list that was asked for, all of them if none was.
cpus usable_cpus(const machine& from, const app_options& options) {
  SKERRY_ASSERT(!from.cpus.empty(), "a process runs on some CPU");
  SKERRY_ASSERT(from.nodes >= 1, "memory is on some node");
  SKERRY_ASSERT(std::ranges::is_sorted(from.cpus, {}, &machine::cpu::id), "CPUs are listed in ascending order");
  SKERRY_ASSERT(!from.quota || *from.quota > 0, "a quota is more than nothing");
  if (options.cpuset.empty()) return from.cpus;
  cpu_list wanted = parse_cpu_list(options.cpuset), missing;
  std::ranges::set_difference(wanted, ids_of(from.cpus), std::back_inserter(missing));
  if (!missing.empty()) throw cpus_unavailable(missing, ids_of(from.cpus));
  cpus usable = from.cpus;
  std::erase_if(usable, [&](const machine::cpu& cpu) { return !std::ranges::binary_search(wanted, cpu.id); });
  return usable;
}

/// First threads of all cores before second ones; within each, neighbours in the machine are neighbours in the list.
cpus by_preference(cpus usable) {
  std::map<unsigned, unsigned> threads;  // of a core
  std::map<unsigned, unsigned> rank;     // of a CPU among them
  for (const machine::cpu& cpu : usable) rank[cpu.id] = threads[cpu.core]++;
  std::ranges::sort(usable, {}, [&](const machine::cpu& cpu) {
    return std::tuple(rank[cpu.id], cpu.package, cpu.node, cpu.core, cpu.id);
  });
  return usable;
}

/// A choice, and why.
template <class Choice>
using reasoned = std::pair<Choice, std::string>;

reasoned<std::size_t> choose_count(const machine& from, const cpus& usable, const app_options& options) {
  if (options.shards) {
    std::size_t count = *options.shards;
    SKERRY_ASSERT(count >= 1, "there is at least one shard");
    SKERRY_ASSERT(count <= shard_count_max, "the number of shards is bounded");
    if (count > usable.size() && !options.overprovision) {
      throw startup_error(
          fmt::format("{0} shards need {0} CPUs, allowed are {1}: {2}\n"
                      "use --shards {1}, or --overprovision to let shards share CPUs",
                      count, usable.size(), format_cpu_list(ids_of(usable))));
    }
    return {count, "as asked"};
  }
  std::set<unsigned> cores;
  for (const machine::cpu& cpu : usable) cores.insert(cpu.core);
  std::size_t count = options.smt ? usable.size() : cores.size();
  // Rounded down, because a shard that is throttled part of the time delays the others.
  auto covered = static_cast<std::size_t>(std::clamp(from.quota.value_or(1e6), 1.0, 1e6));
  if (std::min(count, covered) > shard_count_max) return {shard_count_max, "the most there can be"};
  if (covered < count) return {covered, fmt::format("what a quota of {:g} CPUs covers", *from.quota)};
  return {count, options.smt ? "one per hardware thread" : usable.size() > 1 ? "one per core" : "one CPU is allowed"};
}

reasoned<bool> choose_pinning(const machine& from, std::size_t usable, std::size_t count, const app_options& options) {
  if (options.pin != pin_mode::automatic) {
    bool on = options.pin == pin_mode::on;
    return {on, on ? "--pin on" : "--pin off"};
  }
  if (count > usable) return {false, "shards share CPUs"};
  bool narrowed = !options.cpuset.empty() || from.cpus.size() < from.online;
  if (!narrowed && from.quota && *from.quota < static_cast<double>(from.cpus.size())) {
    return {false, fmt::format("a quota of {:g} CPUs shares out all {}", *from.quota, from.cpus.size())};
  }
  return {true, narrowed ? "the CPUs are set aside" : "the machine is not shared out"};
}

}  // namespace

placement decide(const machine& from, const app_options& options) {
  cpus usable = usable_cpus(from, options);
  placement out;
  std::size_t count = 0;
  std::tie(count, out.count_reason) = choose_count(from, usable, options);
  std::tie(out.pinned, out.pin_reason) = choose_pinning(from, usable.size(), count, options);
  cpus ordered = by_preference(usable);
  for (std::size_t i = 0; i < count; ++i) {
    place where;
    if (out.pinned) {
      const machine::cpu& cpu = ordered[i % ordered.size()];
      where.cpus = {cpu.id};
      if (from.layout_known && from.nodes > 1) where.node = cpu.node;
    } else if (!options.cpuset.empty()) {
      where.cpus = ids_of(usable);
    }
    out.shards.push_back(std::move(where));
  }
  return out;
}

bool needs_layout(const machine& from, const app_options& options) {
  placement blind = decide(from, options);
  std::size_t count = blind.shards.size(), usable = usable_cpus(from, options).size();
  // One shard takes the first CPU, and as many shards as CPUs take them all: neither is a choice.
  if (count == 1 || usable == 1) return false;
  if (!options.shards && !options.smt) return true;  // how many cores are there?
  return count < usable && blind.pinned;
}

std::string placement::explain() const {
  SKERRY_ASSERT(!shards.empty(), "a decision has a shard to explain");
  std::set<unsigned> used, nodes;
  for (const place& shard : shards) {
    used.insert(shard.cpus.begin(), shard.cpus.end());
    if (shard.node) nodes.insert(*shard.node);
  }
  auto list = [](const char* what, const std::set<unsigned>& of) {
    return fmt::format("{}{} {}", what, of.size() == 1 ? "" : "s", format_cpu_list({of.begin(), of.end()}));
  };
  std::string text = fmt::format("{} shard{} ({})", shards.size(), shards.size() == 1 ? "" : "s", count_reason);
  if (!used.empty()) text += list(" on CPU", used);
  if (!nodes.empty()) text += list(", NUMA node", nodes);
  return text + fmt::format(", {}pinned ({})", pinned ? "" : "not ", pin_reason);
}

}  // namespace skerry
