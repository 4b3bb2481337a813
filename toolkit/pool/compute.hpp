// SPDX-License-Identifier: Apache-2.0
#pragma once

/// compute: runs what takes long on threads beside the shards, so that a shard answers meanwhile.
///
///     compute_options threads;                       // in main, before app::run
///     skerry::app program("images");
///     threads.add_to(program.options());             // --compute-threads N, --compute-cpus LIST
///     co_await start_compute(threads);               // once, on a shard
///     std::string small = co_await compute([](std::string big) { return shrink(std::move(big)); }, file);
///
/// The function may take a compute_worker& before its arguments and split its work with it (compute_worker.hpp,
/// parallel.hpp). Off unless a program asks for threads: a server whose requests take microseconds needs none.
///
/// Where the threads run, without --compute-cpus: on CPUs that no shard is pinned to, one each, those of cores without
/// a shard first; where there are fewer of these than threads, on any of these; where there is none, on all CPUs of the
/// process, beside the shards. Which CPUs those are is found out when the options are made.
///
/// The rules of submit_to hold: no captures, transferable arguments and result, `unchecked(fn)` as the escape.
///
/// Affinity:     any task of any shard; resumes on the caller's shard.
/// Lifetime:     the function and its arguments live in the caller's frame until the job is home.
/// Errors:       what the function throws is rethrown; std::system_error(operation_not_supported) without a pool.
/// Cancellation: a job that no thread has begun is withdrawn and never runs; one under way sees `stop_requested()`, and
///               its caller's frame waits for its end.
/// Limits:       `jobs_max` jobs per shard, waiting or under way; the next caller suspends until one is home.

#include <skerry/framework/task/task.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/toolkit/pool/compute_worker.hpp>
#include <skerry/toolkit/pool/executor.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry {

struct compute_options {
  static constexpr std::uint64_t threads_max = 1024;

  /// Made before the app runs, which pins this thread.
  compute_options();
  /// The options of the command line.
  void add_to(command_line& line);

  std::uint64_t threads = 0;     ///< 0 for none; up to threads_max
  std::string cpus;              ///< which CPUs the threads may use, as in placement.hpp; empty: chosen
  std::uint64_t jobs_max = 256;  ///< of each shard, 1 to 65536
  cpu_list allowed;              ///< those of the process
};

/// The CPUs of each of `threads` threads. `core_of[i]` tells which CPUs are hardware threads of one core, for
/// `allowed[i]`.
std::vector<cpu_list> place_compute_threads(const cpu_list& allowed, const std::vector<unsigned>& core_of,
                                            const placement& shards, std::uint64_t threads);

/// Starts the threads and tells all shards. Nothing with 0 threads. Once per host, before the first compute (asserted).
/// Throws startup_error for CPUs that the process may not use, std::system_error when the system refuses a thread.
task<> start_compute(compute_options options);

/// This shard's share in the pool; a resource.
class compute_jobs {
 public:
  /// For a simulation: `does` does the jobs.
  compute_jobs(std::shared_ptr<executor> does, std::uint64_t jobs_max) : slots_("compute", std::move(does), jobs_max) {}

  /// Throws where there is none.
  static compute_jobs& here();
  detail::job_slots& slots() noexcept { return slots_; }

 private:
  detail::job_slots slots_;
};

/// `fn(args...)` or `fn(worker, args...)` on a thread of the pool.
template <class Fn, class... Args>
auto compute(job_priority priority, Fn fn, Args&&... args) {
  detail::require_job_crosses<Fn, std::decay_t<Args>...>();
  return detail::do_job<Fn, std::decay_t<Args>...>("compute", compute_jobs::here().slots(), priority, std::move(fn),
                                                   std::forward<Args>(args)...);
}
template <class Fn, class... Args>
  requires(!std::is_same_v<Fn, job_priority>)
auto compute(Fn fn, Args&&... args) {
  return compute(job_priority::normal, std::move(fn), std::forward<Args>(args)...);
}

}  // namespace skerry
