// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log_record: one line before it has a shape, and the two shapes it can take.
///
///     2026-11-21T01:02:03.004Z info  shard 3 "connection": accepted 127.0.0.1:4711
///     {"time":"2026-11-21T01:02:03.004Z","level":"info","shard":3,"task":"connection","message":"accepted ..."}
///
/// **One record is one line, whatever is in it.** Messages quote peers, whose bytes must not forge a second line, drive
/// the reader's terminal or end a JSON string. Text shows control characters as `\n` or `\x1b`, JSON escapes them; both
/// replace what is no UTF-8 by U+FFFD. Text leaves quotes and backslashes alone: JSON is for parsing back.
///
/// Affinity: pure.
/// Limits:   `log_message_max`, `log_task_max`, `log_line_max`; what was cut is said at the end of the line.
/// Source:   JSON strings: RFC 8259, section 7.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skerry {

/// How much a line matters. `off` is a threshold only: no line has it.
enum class log_level : std::uint8_t { debug, info, warning, error, off };

/// Lines for people, or one JSON object per line.
enum class log_format : std::uint8_t { text, json };

/// How much a host logs, and in which shape.
struct log_settings {
  log_level level = log_level::info;  ///< lines below it are not even formatted
  log_format format = log_format::text;
  std::size_t channel_bytes = 64 * 1024;  ///< lines of one shard that wait for the writer; a power of two
};

/// Of "debug", "info", "warning", "error", "off", and of "text" and "json"; nothing for any other name.
std::optional<log_level> parse_log_level(std::string_view name) noexcept;
std::optional<log_format> parse_log_format(std::string_view name) noexcept;

inline constexpr std::size_t log_message_max = 4096;
inline constexpr std::size_t log_task_max = 64;
/// A byte becomes at most six (`\u001b`), and 256 bytes hold everything around message and task.
inline constexpr std::size_t log_line_max = 6 * (log_message_max + log_task_max) + 256;

struct log_record {
  std::chrono::nanoseconds wall{};  ///< since 1970-01-01 UTC
  log_level level = log_level::info;
  std::optional<std::uint32_t> shard{};  ///< nothing: a thread that runs no shard
  std::string_view task{};               ///< empty: no task was running
  std::string_view message{};
  std::uint64_t cut = 0;      ///< bytes of the message that did not fit
  std::uint64_t dropped = 0;  ///< lines that its shard had dropped before it
};

/// Appends the record as one line, its line feed included.
void append_line(std::string& out, const log_record& record, log_format format);

}  // namespace skerry
