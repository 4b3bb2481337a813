// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log_settings: how much a host logs, and in which shape.
///
/// Affinity: plain values.

#include <cstdint>
#include <optional>
#include <string_view>

namespace skerry {

/// How much a line matters. `off` is a threshold only: no line has it.
enum class log_level : std::uint8_t { debug, info, warning, error, off };

/// Lines for people, or one JSON object per line.
enum class log_format : std::uint8_t { text, json };

struct log_settings {
  log_level level = log_level::info;  ///< lines below it are not even formatted
  log_format format = log_format::text;
};

/// "debug", "info", "warning", "error", "off".
std::string_view name_of(log_level level) noexcept;
/// "text", "json".
std::string_view name_of(log_format format) noexcept;

/// The level or format of that name; nothing if there is none.
std::optional<log_level> parse_log_level(std::string_view name) noexcept;
std::optional<log_format> parse_log_format(std::string_view name) noexcept;

}  // namespace skerry
