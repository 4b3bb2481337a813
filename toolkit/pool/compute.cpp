// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/random.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/pool/compute_pool.hpp>
#include <skerry/toolkit/pool/threads.hpp>

#include <algorithm>
#include <fstream>
#include <set>
#include <system_error>

#include <fmt/core.h>

namespace skerry {

namespace {

/// The lowest of a core's CPUs stands for it. Where the kernel does not say, each CPU is a core.
std::vector<unsigned> cores_of(const cpu_list& cpus) {
  std::vector<unsigned> cores;
  for (unsigned cpu : cpus) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    unsigned lowest = cpu;
    file >> lowest;
    cores.push_back(file ? lowest : cpu);
  }
  return cores;
}

std::vector<cpu_list> choose_places(const compute_options& options) {
  const placement& shards = this_shard().host->where();
  if (options.cpus.empty()) {
    return place_compute_threads(options.allowed, cores_of(options.allowed), shards, options.threads);
  }
  const cpu_list wanted = parse_cpu_list(options.cpus);
  if (!std::ranges::includes(options.allowed, wanted)) throw cpus_unavailable(wanted, options.allowed);
  placement none;
  return place_compute_threads(wanted, cores_of(wanted), none, options.threads);
}

}  // namespace

compute_options::compute_options() : allowed(cpus_of_this_thread()) {}

void compute_options::add_to(command_line& line) {
  line.add_option("compute-threads", threads, "threads beside the shards for jobs that take long", 0, threads_max);
  line.add_option("compute-cpus", cpus, "which CPUs they may use, as --cpuset; otherwise those without a shard");
}

std::vector<cpu_list> place_compute_threads(const cpu_list& allowed, const std::vector<unsigned>& core_of,
                                            const placement& shards, std::uint64_t threads) {
  SKERRY_ASSERT(allowed.size() == core_of.size(), "each CPU belongs to a core");
  std::set<unsigned> taken, cores_with_a_shard, cores_used;
  for (const place& each : shards.shards) {
    if (each.cpus.size() == 1) taken.insert(each.cpus.front());
  }
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    if (taken.contains(allowed[i])) cores_with_a_shard.insert(core_of[i]);
  }
  // First one CPU of each core that has no shard, then their other CPUs, then those that share a core with a shard.
  cpu_list fresh, second, beside;
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    if (taken.contains(allowed[i])) continue;
    const bool shared = cores_with_a_shard.contains(core_of[i]);
    (shared ? beside : cores_used.insert(core_of[i]).second ? fresh : second).push_back(allowed[i]);
  }
  cpu_list spare = fresh;
  spare.insert(spare.end(), second.begin(), second.end());
  spare.insert(spare.end(), beside.begin(), beside.end());

  std::vector<cpu_list> places;
  if (threads <= spare.size()) {
    for (std::uint64_t i = 0; i < threads; ++i) places.push_back({spare[i]});
    return places;
  }
  std::ranges::sort(spare);
  places.assign(threads, spare.empty() ? allowed : spare);
  return places;
}

task<> start_compute(compute_options options) {
  SKERRY_ASSERT(options.threads <= compute_options::threads_max, "a pool has up to threads_max threads");
  if (options.threads == 0) co_return;
  std::shared_ptr<executor> pool = std::make_shared<compute_pool>(choose_places(options), (*this_shard().random)());
  for (shard_id shard = 0; shard < shard_count(); ++shard) {
    auto join_in = [](borrowed<std::shared_ptr<executor>> shared, std::uint64_t jobs_max) {
      resources().emplace<compute_jobs>(*shared, jobs_max);
    };
    co_await submit_to(shard, join_in, borrowed(pool), options.jobs_max);
  }
}

compute_jobs& compute_jobs::here() {
  if (auto* found = resources().find<compute_jobs>()) return *found;
  throw std::system_error(std::make_error_code(std::errc::operation_not_supported),
                          "there are no threads for compute: start the program with --compute-threads N, or set "
                          "compute_options::threads before start_compute");
}

}  // namespace skerry
