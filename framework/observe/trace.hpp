// SPDX-License-Identifier: Apache-2.0
#pragma once

/// trace: what a shard did and when, as events of one fixed size in a ring that keeps the latest.
///
/// The buffer also keeps a hash of everything it was ever given. The simulator compares it between two runs of one
/// seed, so **an event holds only values that are the same in every run**: numbers that the program gave out (tasks,
/// messages, shards, results), never addresses, descriptors, thread ids or wall time.
///
///     observe::trace(observe::trace_kind::task_begin, task_number);
///
/// While tracing is off (`this_shard().trace` is null) that is a predicted branch. While it is on it stores 32 bytes
/// with the shard's latest clock reading: events of one slice share a stamp, and their order is their place in the
/// buffer. Reading the clock for each would cost twice what all the rest does.
///
/// Affinity: the shard's own.
/// Limits:   a fixed power of two of 32-byte events (32768, 1 MiB, by default); the oldest makes room for the newest,
///           and `total()` tells how many there were.
/// Units:    nanoseconds of the shard's clock.
/// Source:   multilinear hashing: Lemire and Kaser, "Strongly universal string hashing is fast", 2014.

#include <skerry/framework/this_shard.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace skerry::observe {

/// What happened, and what `a`, `b` and `arg` then hold. Values are part of recorded traces: append, never renumber.
enum class trace_kind : std::uint32_t {
  task_begin = 1,      ///< a task starts to run:            a = task
  task_end = 2,        ///< it suspends or ends:             a = task
  message_sent = 3,    ///< to another shard:                a = message, b = task, arg = to shard
  message_begin = 4,   ///< another shard's runs here:       a = message, arg = from shard
  message_end = 5,     ///< its reply is queued:             a = message, arg = from shard
  message_reply = 6,   ///< one of ours is home:             a = message, arg = from shard
  completion = 7,      ///< an operation had one:            a = operation, b = result, arg = opcode
  timer = 8,           ///< a timer expired:                 b = its deadline, in ticks of the wheel
  first_custom = 256,  ///< from here on: programs' own
};

struct alignas(32) trace_event {
  std::uint64_t time_ns;
  trace_kind kind;
  std::uint32_t arg;
  std::uint64_t a;
  std::uint64_t b;
  bool operator==(const trace_event&) const = default;
};
static_assert(sizeof(trace_event) == 32, "half a cache line, so that no event straddles two");

/// The latest events of one shard, and the hash of all of them.
class trace_buffer {
 public:
  static constexpr std::size_t default_capacity = 32768;

  /// `capacity` is a power of two. Throws bad_alloc.
  explicit trace_buffer(std::size_t capacity = default_capacity)
      : mask_(capacity - 1), events_(std::make_unique_for_overwrite<trace_event[]>(capacity)) {
    SKERRY_ASSERT(std::has_single_bit(capacity), "a trace buffer's capacity is a power of two");
  }
  trace_buffer(const trace_buffer&) = delete;
  trace_buffer& operator=(const trace_buffer&) = delete;

  void record(const trace_event& event) noexcept {
    events_[total_ & mask_] = event;
    ++total_;
    const std::uint64_t what = std::uint64_t{static_cast<std::uint32_t>(event.kind)} << 32 | event.arg;
    // Four products that do not wait for each other or for the last event; only the fifth is a chain.
    hash_ = std::rotl(hash_, 23) * 0x9e3779b97f4a7c15 + event.time_ns * 0x8ebc6af09c88c6e3 + what * 0x589965cc75374cc3 +
            event.a * 0xa0761d6478bd642f + event.b * 0xe7037ed1a0b428db;
  }

  /// The events that are still there, oldest first.
  std::vector<trace_event> events() const {
    std::vector<trace_event> result;
    for (std::uint64_t i = total_ > mask_ ? total_ - mask_ - 1 : 0; i != total_; ++i) {
      result.push_back(events_[i & mask_]);
    }
    return result;
  }
  /// Depends on every event ever recorded and on their order, not on the capacity.
  std::uint64_t hash() const noexcept { return hash_ ^ hash_ >> 32; }
  /// How many events were ever recorded.
  std::uint64_t total() const noexcept { return total_; }

 private:
  std::uint64_t total_ = 0;  // the next event's place is this modulo the capacity
  std::uint64_t hash_ = 1;   // not 0, which an event of zeros would leave
  std::size_t mask_;
  std::unique_ptr<trace_event[]> events_;  // pages are touched as they fill
};

/// Records an event if this shard is being traced.
inline void trace(trace_kind kind, std::uint64_t a, std::uint64_t b = 0, std::uint32_t arg = 0) noexcept {
  const shard_core& shard = this_shard();
  if (shard.trace == nullptr) [[likely]]
    return;
  shard.trace->record({static_cast<std::uint64_t>(shard.now.time_since_epoch().count()), kind, arg, a, b});
}

}  // namespace skerry::observe
