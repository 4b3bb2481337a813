// SPDX-License-Identifier: Apache-2.0
#pragma once

/// configuration_error: what was asked for cannot be had here, and what to ask for instead.
///
/// Thrown while a program starts, by options, topology and limits; `app` prints it and ends with status 1. The reader
/// is a person at a terminal or a log collector, so the text is short by construction: one line for the cause, and the
/// fix on the same line or the next.
///
///     CPU 9 is not available: allowed are 0-1; use --cpuset 0-1
///
/// Limits: `what()` has at most three lines; further line feeds become spaces, so that no value from outside can
///         stretch it.

#include <stdexcept>
#include <string>

namespace skerry {

class configuration_error : public std::runtime_error {
 public:
  explicit configuration_error(const std::string& cause, const std::string& fix = {})
      : std::runtime_error(at_most_three_lines(fix.empty() ? cause : cause + '\n' + fix)) {}

 private:
  static std::string at_most_three_lines(std::string text) {
    int lines = 1;
    for (char& c : text) {
      if (c == '\n' && ++lines > 3) c = ' ';
    }
    return text;
  }
};

}  // namespace skerry
