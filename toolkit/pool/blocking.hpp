// SPDX-License-Identifier: Apache-2.0
#pragma once

/// blocking: makes a call that blocks (a library's query, getaddrinfo, flock) on a thread that may.
///
///     std::size_t words = co_await blocking([](std::string name) { return count_with_a_library(name); }, file);
///
/// Each shard has threads of its own for this, started when a call finds none idle, and kept until the shard ends.
/// Rejected: one pool for all shards, whose queue all of them would share.
///
/// The rules of submit_to hold: the function has no captures, its arguments and result are transferable
/// (transferable.hpp); `unchecked(fn)` is the escape. It runs beside this shard's tasks: what it touches, they may not.
///
/// Affinity:     any task; resumes on the caller's shard. The threads may use the CPUs of all shards, and take no
///               signals.
/// Lifetime:     the function and its arguments live in the caller's frame until the call has returned.
/// Errors:       what the function throws is rethrown; std::system_error(resource_unavailable_try_again) where not even
///               one thread can be started.
/// Cancellation: a call that no thread has begun is withdrawn and never made. One under way is waited for: nobody can
///               take a thread out of a call. A call that never returns holds up the stop until the drain deadline.
/// Limits:       `threads_max` threads and `calls_max` calls per shard, waiting or under way; the next caller suspends
///               until one has returned.

#include <skerry/framework/task/task.hpp>
#include <skerry/toolkit/pool/executor.hpp>

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace skerry {

struct blocking_options {
  blocking_options() noexcept {}  // no aggregate: g++ 12 destroys an aggregate temporary in a co_await operand twice

  unsigned threads_max = 4;       ///< 1 to 1024
  std::uint64_t calls_max = 256;  ///< 1 to 65536
};

/// This shard's calls that block; a resource, made by the first call.
class blocking_calls {
 public:
  explicit blocking_calls(const blocking_options& options = {});
  /// For a simulation: `does` makes the calls.
  blocking_calls(std::shared_ptr<executor> does, std::uint64_t calls_max)
      : slots_("blocking", std::move(does), calls_max) {}

  static blocking_calls& here();
  detail::job_slots& slots() noexcept { return slots_; }

 private:
  detail::job_slots slots_;
};

/// `fn(args...)`, on a thread that may block.
template <class Fn, class... Args>
auto blocking(Fn fn, Args&&... args) {
  detail::require_job_crosses<Fn, std::decay_t<Args>...>();
  static_assert(!detail::job_result<Fn, std::decay_t<Args>...>::takes_worker,
                "a function that takes a compute_worker belongs to compute(fn)");
  return detail::do_job<Fn, std::decay_t<Args>...>("blocking call", blocking_calls::here().slots(),
                                                   job_priority::normal, std::move(fn), std::forward<Args>(args)...);
}

/// Other limits than the default ones for this shard's calls, before the first of them (asserted).
void limit_blocking(const blocking_options& options);

}  // namespace skerry
