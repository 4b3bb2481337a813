// SPDX-License-Identifier: Apache-2.0
#pragma once

/// startup_error: why a program cannot start, for the person who started it. `app` prints it and ends with status 1.
///
///     CPU 9 is not available: allowed are 0-1; use --cpuset 0-1
///
/// Limits: at most three lines that name the cause, the limit's present value and the command or option that fixes it;
///         further line feeds become blanks, so that no value from outside can stretch it.

#include <stdexcept>
#include <string>
#include <string_view>

namespace skerry {

class startup_error : public std::runtime_error {
 public:
  explicit startup_error(const std::string& text) : std::runtime_error(at_most_three_lines(text)) {}

 private:
  static std::string at_most_three_lines(std::string text) {
    int lines = 1;
    for (char& c : text) {
      if (c == '\n' && ++lines > 3) c = ' ';
    }
    return text;
  }
};

namespace detail {

/// A text from outside, for messages: control characters become '?', and what is past 80 bytes "...".
inline std::string printable(std::string_view text) {
  std::string out(text.substr(0, 80));
  for (char& c : out) c = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return text.size() > 80 ? out + "..." : out;
}

}  // namespace detail

}  // namespace skerry
