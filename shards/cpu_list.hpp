// SPDX-License-Identifier: Apache-2.0
#pragma once

/// cpu_list: a set of CPUs as Linux writes it, `0-3,8,10-12:2` (the last part: 10 and 12).
///
/// Invariants: (1) ascending, no number twice; (2) `parse_cpu_list(format_cpu_list(x)) == x` unless x is empty.
/// Limits:     numbers up to `cpu_id_max`, so that a typing error cannot ask for gigabytes.
/// Errors:     startup_error for anything that is not such a list; the empty text is none.

#include <skerry/framework/startup_error.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace skerry {

using cpu_list = std::vector<unsigned>;

/// The largest number a CPU can have: Linux is built for 8192 at most.
inline constexpr unsigned cpu_id_max = 8191;

/// Numbers and ranges separated by commas, with blanks around them or not; a range may have a stride after a colon.
cpu_list parse_cpu_list(std::string_view text);

/// The shortest text without strides.
std::string format_cpu_list(const cpu_list& cpus);

/// What to tell who asked for CPUs that the process may not use.
startup_error cpus_unavailable(const cpu_list& wanted, const cpu_list& allowed);

}  // namespace skerry
