// SPDX-License-Identifier: Apache-2.0
#pragma once

/// option_text: the texts that people type as values, read strictly.
///
/// A function reads the whole text or declines; nothing is skipped, cut or rounded to fit. What the caller does with an
/// empty optional is its own affair: it knows where the text came from.
///
/// Units: `parse_bytes`: k, m, g, t are powers of 1000 and kb, mb, gb, tb (also kib ...) powers of 1024, as in a Redis
///        configuration. `parse_duration`: ns, us, ms, s, m, h, and a bare 0.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skerry::detail {

/// Decimal, or hexadecimal after 0x. No sign.
std::optional<std::uint64_t> parse_unsigned(std::string_view text);
/// Decimal, fraction and exponent allowed; no infinity, no NaN.
std::optional<double> parse_decimal(std::string_view text);
/// true, on, yes, 1 and false, off, no, 0.
std::optional<bool> parse_switch(std::string_view text);
/// `64mb`, `1.5gb`, `4096`.
std::optional<std::uint64_t> parse_bytes(std::string_view text);
/// `10s`, `1.5s`, `500ms`, `2m`. Never negative.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

/// The reverse of parse_duration in its largest whole unit: `10s`, `1500ms`.
std::string format_duration(std::chrono::nanoseconds duration);

/// For messages: control characters become '?', and a text over 80 bytes is cut with "...".
std::string printable(std::string_view text);

/// Without the blanks at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace skerry::detail
