// SPDX-License-Identifier: Apache-2.0
#pragma once

/// this_shard: the one thread-local pointer of the project, and what hangs off it.
///
/// Null on a thread that runs no shard. A simulator runs many shards in one thread by switching it between steps, which
/// is why nothing else may be thread-local or global.
///
/// Affinity:   the fields belong to the shard's own thread; nobody reads another shard's `shard_core`.
/// Ownership:  `shards/shard` owns the parts and fills the pointers; they live as long as the shard's loop.
/// Invariants: (1) `current` names the task that runs, and is null between tasks; (2) `now` never goes back.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/clock.hpp>

#include <cstdint>

namespace skerry {

class host;
class shard;
class random_source;
class reactor;
class run_queue;
class scope;
class frame_pool;
class resource_table;
class log_channel;
namespace observe {
class registry;
class trace_buffer;
}  // namespace observe
namespace timers {
class timer_service;
}
namespace detail {
class call_origin;
struct call_watch;
class chain;
class leaf;
class mailboxes;
}  // namespace detail

/// Names a shard: 0 to shard_count() - 1.
using shard_id = std::uint32_t;

/// The parts of the shard that runs on this thread.
struct shard_core {
  detail::chain* current = nullptr;        ///< the running task
  run_queue* ready = nullptr;              ///< where a task that became ready waits
  frame_pool* frames = nullptr;            ///< where coroutine frames come from
  scope* root = nullptr;                   ///< holds every spawned task
  clock::time_point now{};                 ///< the latest reading of `time`
  observe::trace_buffer* trace = nullptr;  ///< where events go; null when tracing is off
  skerry::reactor* loop = nullptr;
  clock_source* time = nullptr;
  random_source* random = nullptr;
  observe::registry* metrics = nullptr;
  log_channel* log = nullptr;
  resource_table* resources = nullptr;
  detail::call_watch* calls = nullptr;  ///< null without service groups
  timers::timer_service* timers = nullptr;
  detail::mailboxes* boxes = nullptr;
  shard* assembled = nullptr;    ///< this shard as its assembler sees it
  skerry::host* host = nullptr;  ///< what all shards of one (possibly simulated) machine share
  shard_id id = 0;
  shard_id count = 1;
};

namespace detail {
/// Defined here, so that a program reads it with one instruction.
inline constinit thread_local shard_core* current_shard = nullptr;

/// Whose an object is, in debug builds (SKERRY_HOME_STAMPS). The toolkit's home_stamp names the task that made it, too.
struct home_mark {
#ifdef SKERRY_HOME_STAMPS
  void check(const char* rule) const noexcept { SKERRY_ASSERT(home == current_shard, rule); }
  const shard_core* home = current_shard;
#else
  void check(const char*) const noexcept {}
#endif
};
}  // namespace detail

inline bool on_shard() noexcept { return detail::current_shard != nullptr; }

/// The shard of this thread. Asserts that there is one.
inline shard_core& this_shard() noexcept {
  SKERRY_ASSERT(detail::current_shard != nullptr, "only code that runs on a shard may do this");
  return *detail::current_shard;
}

inline shard_id this_shard_id() noexcept { return this_shard().id; }

/// How many shards this machine runs.
inline shard_id shard_count() noexcept { return this_shard().count; }

inline clock::time_point clock::now() noexcept { return on_shard() ? detail::current_shard->now : clock::read(); }

}  // namespace skerry
