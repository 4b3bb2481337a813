// SPDX-License-Identifier: Apache-2.0
#pragma once

/// service_group: a subsystem whose calls between shards are limited, each pair of shards by itself.
///
///     inline constexpr service_group indexing("index", 1, 64);      // at namespace scope: name, level, credits
///     inline constexpr service_group storage("storage", 2, 128);
///
///     auto erase = [](std::string which) { return local_store().erase(which); };
///     std::size_t n = co_await submit_to(storage, owner, erase, key);
///
/// At most `credits` calls of the group are in flight from one shard to another; the next caller suspends until one is
/// back, first come first served. So one subsystem's burst does not become everybody's queue.
///
/// A handler may call on, and its caller holds a credit until it returns. Two chains that each hold what the other
/// waits for would wait for ever, and only under load. So groups have levels, and a chain of calls climbs: each group
/// that it enters has a higher level than the one before. Then who holds credits of the highest level that is in use
/// waits for none, returns, and so lets the next lower go on: no load whatever ends in a deadlock. A call that does not
/// climb, and so one that comes back into a group from its own chain, throws at once, and names the chain.
///
///     caller's frame on A              handler's chain on B             handler's chain on A
///     index A -> B            <------- storage B -> A          <------ index again: throws group_reentered
///
/// The chain is a list through the frames and messages that wait, which live until the reply. A call without a group
/// (`submit_to(shard, …)`, call_batch, invoke_on, map_all, what is built of these) belongs to it and is named as "no
/// group"; it holds no credit and need not climb. Who else belongs to it: the handler, its branches, the children of
/// its groups. A task that is spawned begins a chain of its own, since nobody need wait for it; it belongs to another
/// from when a task of that joins it:
///
///     what a spawned task does          as long as nobody joins it      joined by a task of the chain
///     it calls in a group               free                            must climb
///     such a call is under way          free                            must have climbed, or `co_await handle` throws
///     it calls without a group          its handler begins a chain      its handler belongs to the chain
///     such a call is under way          free                            not seen: its handler hears of no join
///     its handler ends before it        free                            its calls keep a copy of where they came from
///
/// A handler knows its chain by the word that names a task's owner, which was null there: messages and tasks are no
/// larger. Other waits (an event, a channel, a semaphore, for what was posted) do not say for whom they wait.
///
/// Rejected: that a spawned task inherits its maker's chain. One that nobody joins (a cache that is filled, a service
/// that is started by the first call) would be refused as long as the handler runs, which is a matter of chance, or for
/// ever.
///
/// Affinity:     any task; resumes on the caller's shard. The object is constant and known by its address,
///               the same on all shards: at namespace scope, in a header `inline constexpr`.
/// Errors:       as submit_to; group_reentered, also from `co_await handle`, which may then be awaited again.
/// Cancellation: waiting for a credit ends at once; a call as submit_to's.
/// Limits:       credits 1 to 2^32 for each pair of shards and group, the own shard included. A call without a group
///               takes a small frame where it belongs to a chain, and begins one where there is no memory for that.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry {

class service_group {
 public:
  constexpr service_group(const char* name, unsigned level, std::uint64_t credits) noexcept
      : name_(name), level_(level), credits_(credits) {}
  service_group(const service_group&) = delete;
  service_group& operator=(const service_group&) = delete;

  const char* name() const noexcept { return name_; }
  unsigned level() const noexcept { return level_; }
  std::uint64_t credits() const noexcept { return credits_; }

 private:
  const char* name_;
  unsigned level_;
  std::uint64_t credits_;
};

/// A call chain does not climb. Where it would, its calls could wait for each other.
class group_reentered : public std::system_error {
 public:
  explicit group_reentered(const std::string& chain)
      : std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur), chain) {}
};

namespace detail {

class group_table;

/// One call of a chain, in the frame that waits for it; read on other shards until the reply.
class call_origin {
 public:
  call_origin(const service_group* of, shard_id target) noexcept : group(of), from(this_shard_id()), to(target) {}

  const service_group* group;  // null: a call without one
  shard_id from, to;
  const call_origin* caller = nullptr;  // null at the chain's begin, which has a group
};

/// The running task's next call, and what led to it.
struct call_path : call_origin {
  call_path(const service_group* group, shard_id target);
  call_path(const call_path&) = delete;
  call_path& operator=(const call_path&) = delete;
  std::vector<call_origin> copied;  // of callers who may go before this call does
};
/// Of a call without a group, as long as there is one.
struct plain_call_path final : call_path, pooled {
  using call_path::call_path;
};

/// A call of the running task from its begin to its end, listed on its shard. Throws unless it climbs.
class call_under_way : public list_hook<call_under_way> {
 public:
  call_under_way(group_table& groups, const service_group& group, shard_id target);
  ~call_under_way();
  call_origin& path() noexcept { return path_; }
  const chain& task() const noexcept { return *task_; }

 private:
  group_table& groups_;
  const chain* task_;
  call_path path_;
};

/// One group's credits on one shard.
struct group_credits {
  group_credits(const service_group& of, shard_id targets);
  semaphore& to(shard_id target) noexcept { return *credits[target]; }
  std::int64_t in_flight() const noexcept;

  const service_group* group;
  std::vector<std::unique_ptr<semaphore>> credits;  // by target
  std::int64_t waiting = 0;
  std::vector<observe::registration> published;
};

/// What a shard knows of groups; a resource, made when it is first asked for.
class group_table final : public call_watch {
 public:
  group_table() noexcept { this_shard().calls = this; }
  ~group_table() { this_shard().calls = nullptr; }
  group_table(const group_table&) = delete;
  group_table& operator=(const group_table&) = delete;

  static group_table& here();
  group_credits& of(const service_group& group);
  void add(call_under_way& begun) noexcept { under_way_.push_back(begun); }
  void remove(call_under_way& ended) noexcept {
    ended.unlink();
    if (sent_ == &ended.path()) sent_ = nullptr;
  }
  /// The running task's next message is that of `call`, and has a handler that may call.
  void sends(call_under_way& call) noexcept { sent_ = &call.path(); }
  /// What is sent to `target` from now on finds a table there, which sees what its handlers call.
  void reach(shard_id target);

 private:
  void before_join(const chain& task) override;
  call_origin* call_begins(shard_id target) noexcept override;
  void call_ended(call_origin& origin) noexcept override;

  std::vector<std::unique_ptr<group_credits>> groups_;  // in the order of first use; programs have a few
  std::vector<bool> reached_;                           // by target
  call_origin* sent_ = nullptr;                         // for the next `call_begins`
  intrusive_list<call_under_way, call_under_way> under_way_;
};

/// Waits for a credit, and is counted meanwhile.
task<units> take_credit(group_credits& from, shard_id target);

template <class Fn, class... Args>
task<call_value_t<Fn, Args...>> submit_in_group(const service_group& group, shard_id target, Args... args) {
  group_table& groups = group_table::here();
  call_under_way call(groups, group, target);
  units credit = co_await take_credit(groups.of(group), target);
  if constexpr (any_task<std::invoke_result_t<Fn&, Args...>>) groups.sends(call);
  co_return co_await skerry::submit_to(target, Fn(), std::move(args)...);
}

}  // namespace detail

/// submit_to, as a call of `group`'s.
template <class Fn, class... Args>
auto submit_to(const service_group& group, shard_id target, Fn, Args&&... args) {
  detail::require_no_captures<Fn>();
  detail::require_call_crosses<Fn, std::decay_t<Args>...>();
  return detail::submit_in_group<Fn, std::decay_t<Args>...>(group, target, std::forward<Args>(args)...);
}

}  // namespace skerry
