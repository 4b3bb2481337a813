// SPDX-License-Identifier: Apache-2.0
#pragma once

/// timeline: what shards recorded, as a file that Perfetto (ui.perfetto.dev) and Chrome's tracing page open: a row per
/// shard, steps of tasks as boxes, messages between shards as arrows, completions and timers as marks.
///
/// Events of one slice share a stamp, so a box shows order and not length below the clock's interval (10 us): each
/// event is shown a nanosecond after the one before it at least.
///
/// Pure: events in, text out.
///
/// Affinity: none of its own.
/// Units:    microseconds with three decimals, of the shards' clock.
/// Source:   "Trace Event Format", the JSON array form.

#include <skerry/framework/observe/trace.hpp>

#include <cstdint>
#include <span>
#include <string>

namespace skerry::net::admin {

class timeline {
 public:
  explicit timeline(shard_id shard) noexcept : shard_(shard) {}

  /// Appends `events` of this shard, which follow those of the last call; each with a comma behind it.
  void append(std::string& out, std::span<const observe::trace_event> events);
  /// Appends the shard's name; goes first.
  void append_name(std::string& out) const;

 private:
  shard_id shard_;
  std::uint64_t last_ns_ = 0;
  std::uint64_t open_task_ = 0;  // a step that began and has not ended in what was appended
};

}  // namespace skerry::net::admin
