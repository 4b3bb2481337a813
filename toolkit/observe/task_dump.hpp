// SPDX-License-Identifier: Apache-2.0
#pragma once

/// tasks_as_text, dump_tasks_on_sigquit: what every task waits for and since when, for a person who wonders why nothing
/// goes on.
///
///     co_await dump_tasks_on_sigquit();          // from here on `kill -QUIT` writes it, and the program goes on
///
///     shard 1: 2 tasks
///     #17 "serve" of group main, 3.4 min old, waits 12.1 s for with_timeout
///           in serve(skerry::net::stream)
///         branch #18 "serve", 12.1 s old, waits 12.1 s for read
///           in skerry::net::buffered_reader<…>::read_line(unsigned long)
///           of serve_request(…)
///
/// The signal comes to a handler on any thread, which rings shard 0; that rings the others, and each writes its own
/// text to standard error at its next poll. No message is needed and no task, so it works in a drain that does not end
/// and tells of all shards but the one that is stuck. Where one does not turn, the stall detector says why.
///
/// Standard error is written in pieces of 4 KiB for which it has room; when nobody reads it, the rest is left out, and
/// no shard waits.
///
/// Affinity:   tasks_as_text: its shard. dump_tasks_on_sigquit: any.
/// Ownership:  ends with the shards' resources; what SIGQUIT did before is put back.
/// Errors:     std::system_error(EBUSY) where another host of this process has asked for it.
/// Limits:     `tasks_told_max` tasks of each shard, `coroutines_told_max` of each. One who streams SIGQUIT
///             (net::signals) and this exclude each other: the last one that asked gets it.
/// Units:      ages in steps of 17 ms.

#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skerry {

inline constexpr std::size_t tasks_told_max = 1000;
inline constexpr std::size_t coroutines_told_max = 64;  ///< of a task

/// This shard's tasks, with the coroutines that await each other in each, innermost first.
std::string tasks_as_text();

/// Whoever sends SIGQUIT gets that of all shards on standard error, instead of a core file.
task<> dump_tasks_on_sigquit();

namespace detail {

/// How long it is since `stamp` (chain).
std::chrono::nanoseconds time_since(std::uint32_t stamp) noexcept;
/// In words: ready, running, waiting, ending, done.
std::string_view name_of(chain_state state) noexcept;
/// The branches of what a task waits for, those that live; at most `tasks_told_max`.
std::vector<chain*> live_branches(const leaf* wait);
/// Where each coroutine of a waiting task goes on: of the one that waits, the one that awaits it, and so on; at most
/// `coroutines_told_max`.
std::vector<const void*> coroutines_of(const chain& task);

}  // namespace detail

}  // namespace skerry
