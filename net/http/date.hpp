// SPDX-License-Identifier: Apache-2.0
#pragma once

/// date: times as HTTP writes them, "Sun, 06 Nov 1994 08:49:37 GMT".
///
/// A pure function of what it is given: what time it is now, only clock::wall() knows.
///
/// Affinity: none.
/// Source:   RFC 9110 section 5.6.7.

#include <array>
#include <chrono>
#include <optional>
#include <string_view>

namespace skerry::net::http {

struct date_text {
  std::array<char, 29> text;
  operator std::string_view() const noexcept { return {text.data(), text.size()}; }
};

/// For the years 0 to 9999.
date_text to_date(std::chrono::sys_seconds when) noexcept;

/// The form above, that of RFC 850 ("Sunday, 06-Nov-94 08:49:37 GMT") or that of C's asctime ("Sun Nov  6 08:49:37
/// 1994"); nothing for all else. Two digits of a year are the latest such year that is at most 50 years past `now`. The
/// name of the day is not held against the date.
std::optional<std::chrono::sys_seconds> parse_date(std::string_view text, std::chrono::sys_seconds now) noexcept;

}  // namespace skerry::net::http
