// SPDX-License-Identifier: Apache-2.0
#pragma once

/// backend: how one reactor talks to the kernel, or to a simulated one.
///
/// Filling a submission is inline and the same for all backends: they lend the slots to this base class. What is
/// virtual happens once per batch or rarer.
///
///     submit(op) -> slot     filled by prepare::*, nothing happens yet (a full ring submits at once, counted)
///     cancel(op)             remembered in a list inside the operations: cannot fail, needs no slot
///     submit_and_reap()      one kernel entry: everything queued goes, everything done comes back through complete()
///     wait(deadline)         the same, but sleeps until something is done or the deadline has come
///
/// Affinity:   home shard between start() and stop(), except `wake_from_outside` (any thread) and being woken.
/// Ownership:  operations belong to others; the backend knows them only while in flight.
/// Invariants: (1) each completion is handed over once; (2) after the last one of an operation the backend has
///             forgotten it; (3) cancels enter the ring right before the entry that could reap what they name.
/// Limits:     one ring of submissions per kernel entry, any number in flight.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/backend/buffer_ring.hpp>
#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/trace.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace skerry {

/// Since its start.
struct backend_stats {
  std::uint64_t submissions = 0;     ///< operations handed to the kernel
  std::uint64_t completions = 0;     ///< completions handed over
  std::uint64_t kernel_entries = 0;  ///< system calls
  std::uint64_t waits = 0;           ///< of these, sleeps
  std::uint64_t full = 0;            ///< times the submission ring was full and was submitted early
  std::uint64_t overflows = 0;       ///< times the completion ring had overflowed
  std::uint64_t wakes_sent = 0;      ///< sleeping shards woken
};

struct backend_capabilities {
  const char* name = "";
  std::uint32_t kernel_features = 0;  ///< IORING_FEAT_* as the kernel reports them; 0 where there is no ring
  int ring = -1;                      ///< its descriptor
};

class backend {
 public:
  virtual ~backend() = default;

  /// A zeroed slot whose completions go to `op`; the caller fills it with one call of `prepare::*`, at once.
  submission& submit(operation& op) noexcept {
    SKERRY_ASSERT(!op.in_flight_, "an operation is submitted once at a time");
    op.in_flight_ = true;
    ++in_flight_;
    op.number_ = ++operations_;
    submission& s = next_slot();
    s.user_data = reinterpret_cast<std::uint64_t>(&op);
    return s;
  }

  /// Asks the kernel to end `op` soon; the answer is op's last completion. Nothing if none is in flight.
  void cancel(operation& op) noexcept {
    if (op.in_flight_ && !op.linked()) cancels_.push_back(op);
  }

  /// Called on the shard's thread before anything else; nothing the second time. Throws std::system_error.
  virtual void start() = 0;
  /// Called on the shard's thread as the last thing, when no operation of others is in flight.
  virtual void stop() noexcept = 0;
  virtual void submit_and_reap() noexcept = 0;
  /// Like submit_and_reap, but returns only after a completion, at `deadline` (max: never) or when woken.
  virtual void wait(clock::time_point deadline) noexcept = 0;
  /// Called on the sender's shard: makes `target`, which sleeps or is about to, return from wait().
  virtual void wake(backend& target) noexcept = 0;
  /// Any thread, also a signal handler: makes this backend return from wait().
  virtual void wake_from_outside() noexcept = 0;
  virtual backend_capabilities capabilities() const noexcept = 0;
  /// Lets the kernel keep the pages of `memory` at hand for reads and writes that name `slot`; empty memory ends that,
  /// when no operation that names it is in flight. 0, or -errno: then the slot is as it was, or empty.
  virtual int register_buffer(unsigned slot, const iovec& memory) noexcept = 0;
  static constexpr unsigned registered_buffers_max = 64;

  /// The receive buffers that are lent to the kernel; empty until a pool fills it.
  virtual buffer_ring& receive_buffers() noexcept { return receive_buffers_; }
  /// Whether something waits to be submitted.
  bool has_submissions() const noexcept { return tail_ != submitted_ || !cancels_.empty(); }
  /// Whether the kernel wants to be entered: completions wait to be run.
  bool wants_entry() const noexcept { return (*kernel_flags_ & entry_flags_) != 0; }
  /// No word in memory tells of events: whoever stays busy has to look for them, by submit_and_reap(), now and then.
  bool polled() const noexcept { return polled_; }
  /// Operations whose last completion has not come.
  std::uint64_t in_flight() const noexcept { return in_flight_; }
  const backend_stats& stats() const noexcept { return stats_; }
  /// Whether one receive may fill several buffers: only where somebody has seen it work.
  bool bundles = false;
  /// From so many bytes on a send leaves its memory to the kernel; 0: none does. Only where somebody has seen it work.
  std::uint32_t zero_copy_from = 0;
  bool zero_copy_anywhere = false;  ///< also where that gains nothing, as on loopback: for tests and measurements

 protected:
  explicit backend(std::uint32_t receive_buffers) : receive_buffers_(receive_buffers) {}

  submission& next_slot() noexcept {
    if (tail_ == full_at_) [[unlikely]]
      make_room();
    submission& s = slots_[tail_++ & mask_];
    std::memset(&s, 0, sizeof s);
    return s;
  }

  /// Hands one completion over. Knows nothing of `op` afterwards if it was the last.
  void deliver(operation& op, std::int32_t result, std::uint32_t flags) noexcept {
    SKERRY_ASSERT(op.in_flight_, "a completion belongs to an operation in flight");
    ++stats_.completions;
    if (on_shard()) {
      observe::trace(observe::trace_kind::completion, op.number_, static_cast<std::uint64_t>(result), op.opcode_);
    }
    if (!completion::more(flags)) {
      op.in_flight_ = false;
      --in_flight_;
      if (op.linked()) op.unlink();
    }
    op.complete(result, flags);
  }

  /// Submits what is queued so that at least one slot is free; must not reap.
  virtual void make_room() noexcept = 0;

  buffer_ring receive_buffers_;
  submission* slots_ = nullptr;
  std::uint32_t mask_ = 0;
  std::uint32_t tail_ = 0;       // next slot to fill
  std::uint32_t submitted_ = 0;  // first slot not yet handed over
  std::uint32_t full_at_ = 0;    // tail_ value at which no slot is free
  const volatile std::uint32_t* kernel_flags_ = nullptr;
  std::uint32_t entry_flags_ = 0;
  bool polled_ = false;
  std::uint64_t in_flight_ = 0;
  std::uint32_t operations_ = 0;
  detail::intrusive_list<operation, cancel_tag> cancels_;
  backend_stats stats_;
};

/// An io_uring backend for each of `shards`, all of one size: `entries` submissions (a power of two), halved down to 64
/// while RLIMIT_MEMLOCK refuses, and 4 to 16 times as many completions. All are made at once, before any shard runs, so
/// that a refusal is found before the first listener opens. The first is started, under whatever sandbox is in force,
/// so the caller's thread must be its shard's. With `sqpoll_idle` each has a thread of the kernel's that submits, and
/// sleeps after so long without work. Throws startup_error, whose text names the limit or the setting.
std::vector<std::unique_ptr<backend>> make_io_uring_backends(std::size_t shards, unsigned entries,
                                                             std::chrono::milliseconds sqpoll_idle = {});

}  // namespace skerry
