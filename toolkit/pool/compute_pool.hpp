// SPDX-License-Identifier: Apache-2.0
#pragma once

/// compute_pool: threads that share work by stealing. One pool serves all shards of a host.
///
///     post(job) -> inject queue (three priorities) -> a worker with nothing to do: runs it, forks (work_deque)
///                                                     other workers steal forks, from victims drawn at random
///
/// A worker without work looks around for a while, then parks:
///
///     worker                                       who has work
///     enter the list of sleepers, sleepers_ += 1   push (deque: bottom_), or the inject queue under the mutex
///     look at the inject queue and all deques      sleepers_ != 0: take one off the list and call it
///     wait to be called
///
/// `sleepers_` and each `bottom_` are written and then the other is read, all four sequentially consistent: so either
/// the sleeper finds the work, or who has it finds the sleeper. The list and `called_` are under the mutex. Each call
/// takes one sleeper off the list, so a thousand forks call no worker twice. (tests/models/parking.pml)
///
/// A high job goes before a normal one and that before a low one, but every `fair_every`th pick begins with the lowest,
/// so that no flood keeps others out for ever.
///
/// Affinity:   made on a shard, whose random source seeds it; post and withdraw any shard; destroyed by the last owner.
/// Ownership:  owns its threads. Jobs are those who wait for them.
/// Invariants: (1) a worker's deque is empty whenever it takes a job, steals, or parks; (2) `sleepers_` is how many are
///             on the two lists.
/// Limits:     as many threads as it was made with. Each shard's `jobs_max` bounds the inject queue.
/// Errors:     std::system_error when the system refuses a thread.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/toolkit/pool/compute_worker.hpp>
#include <skerry/toolkit/pool/executor.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace skerry {

class compute_pool final : public executor {
 public:
  static constexpr std::uint64_t fair_every = 16;

  /// A thread on each of `places`.
  compute_pool(const std::vector<cpu_list>& places, std::uint64_t seed);
  ~compute_pool() override;

  void post(job& work) noexcept override;
  bool withdraw(job& work) noexcept override;
  std::size_t waiting() const noexcept override { return injected_.load(std::memory_order_relaxed); }
  std::size_t threads() const noexcept override { return workers_.size(); }

 private:
  friend class compute_worker;
  using worker_list = detail::intrusive_list<compute_worker, compute_worker>;

  void work(compute_worker& me) noexcept;
  job* take_job() noexcept;
  detail::stealable* steal(compute_worker& thief) noexcept;
  /// Waits until there may be something to do; false when the pool ends.
  bool park(compute_worker& me) noexcept;
  /// Waits until `awaited` is done, or there may be something to steal if `may_steal`.
  void park_until(compute_worker& me, detail::stealable& awaited, bool may_steal) noexcept;
  void call_a_sleeper() noexcept;
  void wake(compute_worker& owner) noexcept;
  bool nothing_to_steal() const noexcept;
  /// Under the mutex.
  void enter(worker_list& sleepers, compute_worker& me) noexcept;
  void leave(compute_worker& me) noexcept;
  void stop() noexcept;

  std::vector<std::unique_ptr<compute_worker>> workers_;  // complete before the first thread starts
  std::vector<std::thread> threads_;
  alignas(64) std::atomic<std::uint32_t> sleepers_{0};
  // Written under the mutex; read without it as a hint.
  alignas(64) std::atomic<std::size_t> injected_{0};
  // All below under the mutex, which is held for a few instructions and, by who goes to sleep, a look at each deque.
  mutable std::mutex mutex_;
  std::array<detail::intrusive_list<job, job>, job_priorities> jobs_;
  worker_list idle_;     // can do anything
  worker_list waiting_;  // can help, but no more: a job would keep them from what they wait for
  std::uint64_t picks_ = 0;
  bool stopping_ = false;
};

}  // namespace skerry
