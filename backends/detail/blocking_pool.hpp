// SPDX-License-Identifier: Apache-2.0
#pragma once

/// blocking_pool: a few threads for the calls on files that the kernel has in no form that does not block.
///
///     shard: post(job) -> waiting -> a thread: perform() -> done, eventfd -> shard: take_done()
///
/// Affinity:     one shard's thread, whose CPU its threads share.
/// Ownership:    jobs belong to the backend; the pool links those it was given.
/// Invariants:   a job is in one of the two queues or with one thread.
/// Limits:       `threads_max` threads, started when a job finds none idle; they sleep when idle. Waiting are at most
///               the operations in flight.
/// Errors:       -EAGAIN as a job's result where not even one thread could be started.
/// Cancellation: what no thread has begun can be withdrawn; what one has begun ends by itself, as a disk's part of an
///               operation does in a ring. The destructor runs what waits, and joins.

#include <skerry/backends/detail/job.hpp>

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace skerry::detail {

class blocking_pool {
 public:
  static constexpr std::size_t threads_max = 4;

  /// `event_fd` is written to when there is something to take.
  explicit blocking_pool(int event_fd) : event_fd_(event_fd) { threads_.reserve(threads_max); }
  ~blocking_pool();
  blocking_pool(const blocking_pool&) = delete;
  blocking_pool& operator=(const blocking_pool&) = delete;

  void post(job& j) noexcept;
  /// False if it is too late: a thread has begun it.
  bool withdraw(const job& j) noexcept;
  /// A list of what is done, in the order of the ends.
  job* take_done() noexcept;

 private:
  struct queue {
    job* first = nullptr;
    job** end = &first;
    void push(job& j) noexcept {
      j.next = nullptr;
      *end = &j;
      end = &j.next;
    }
    job* take_all() noexcept {
      end = &first;
      return std::exchange(first, nullptr);
    }
  };

  void start_thread() noexcept;
  void work() noexcept;
  void end(job& j) noexcept;

  // All below is shared by the shard and the threads, under the mutex, but `threads_`, which is the shard's.
  std::mutex mutex_;
  std::condition_variable wake_;
  queue waiting_, done_;
  std::size_t waiting_count_ = 0;
  std::size_t idle_ = 0;
  bool stopping_ = false;
  const int event_fd_;
  std::vector<std::thread> threads_;
};

}  // namespace skerry::detail
