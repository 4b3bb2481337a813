// SPDX-License-Identifier: Apache-2.0
#pragma once

/// examine: looks at the machine as a Skerry program would before it starts, and at what decides how fast it will be.
///
/// What Skerry itself asks (allowed CPUs, layout, quota, memory, io_uring) is asked by the same code as at a start, so
/// the answer is what a program with these options would do: io_uring is tried by making the rings and closing them.
/// The rest (kernel, mitigations, limits, neighbours) is read from /proc and /sys; what is missing there is left out.
///
/// Affinity: the thread that starts the process.
/// Errors:   startup_error for options that no machine could satisfy. What keeps a program from starting here is a
///           problem in the report.
/// Limits:   at most `neighbours_max` neighbours are named, all are counted.

#include <skerry/shards/app_options.hpp>
#include <skerry/shards/topology.hpp>

#include <cstddef>

#include <skerry_doctor/report.hpp>

namespace skerry_doctor {

inline constexpr std::size_t neighbours_max = 10;

/// `from` is for tests, as for `discover`.
report examine(const skerry::app_options& options, const skerry::discovery_source& from = {});

}  // namespace skerry_doctor
