// SPDX-License-Identifier: Apache-2.0
#pragma once

/// startup_error: why a program cannot start, for the person who started it: at most three lines that name the cause,
/// the limit's present value and the command or option that fixes it. `app` prints it and exits with status 1.

#include <stdexcept>

namespace skerry {

class startup_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace skerry
