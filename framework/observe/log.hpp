// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log: says what happens, without ever making a reactor wait.
///
///     skerry::log::info("listening on port {}", 6379);
///     skerry::log::warning("{} of {} connections refused", 3, 100);
///
/// On a shard the line is formatted here and queued for the host's `log_writer`; a full queue drops it and counts. On
/// any other thread it is written before the call returns. A line below the host's level costs a comparison, though its
/// arguments have been evaluated. Each line says when (by the shard's clock), how bad, on which shard and in which
/// task.
///
/// Affinity: any thread.
/// Limits:   4096 bytes per message; the rest is cut and the line says how much.
/// Errors:   none, and no throw: an argument that cannot be formatted makes a line that says so.

#include <skerry/framework/observe/log_channel.hpp>
#include <skerry/framework/this_shard.hpp>

#include <atomic>
#include <string_view>

#include <fmt/core.h>

namespace skerry {

namespace detail {

/// Names the running task for log lines ("" when none runs). Set once, by whoever defines tasks; this layer's lower
/// parts must not know them.
using task_name_hook = std::string_view (*)() noexcept;
extern constinit task_name_hook current_task_name;

/// The log of threads that run no shard; null: descriptor 2. Such a thread has no host to ask, so this is one per
/// process. Written by serve_other_threads() and ~log_writer(), read by those threads; seq_cst, it is not on any hot
/// path.
extern constinit std::atomic<log_writer*> other_threads_log;

bool other_thread_log_enabled(log_level level) noexcept;
void log_line(log_level level, fmt::string_view format, fmt::format_args args) noexcept;

inline bool log_enabled(log_level level) noexcept {
  const shard_core* shard = current_shard;
  if (shard != nullptr && shard->log != nullptr) [[likely]]
    return shard->log->enabled(level);
  return other_thread_log_enabled(level);
}

/// The lines of one level: `log::info("{} keys", count)`.
template <log_level Level>
struct log_at {
  template <typename... Args>
  void operator()(fmt::format_string<Args...> format, Args&&... args) const noexcept {
    if (log_enabled(Level)) log_line(Level, format, fmt::make_format_args(args...));
  }
};

}  // namespace detail

namespace log {

/// For whoever looks for a fault.
inline constexpr detail::log_at<log_level::debug> debug{};
/// What an operator wants to read back later.
inline constexpr detail::log_at<log_level::info> info{};
/// Something went wrong and was dealt with.
inline constexpr detail::log_at<log_level::warning> warning{};
/// Something went wrong and somebody lost by it.
inline constexpr detail::log_at<log_level::error> error{};

}  // namespace log

}  // namespace skerry
