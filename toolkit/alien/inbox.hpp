// SPDX-License-Identifier: Apache-2.0
#pragma once

/// inbox: how a thread that is no shard hands something to a shard. Under `alien`, and under the pools, whose threads
/// bring back what they have run.
///
///     any thread                                   the shard
///     deliver(item): put it on a stack             poll(): take the whole stack, turn it round, arrived() for each
///     it was empty: ring the doorbell (`outside`),
///     and wake the shard if it slept
///
/// Only who finds the stack unattended rings: while a shard has not yet looked, the next item costs one
/// read-modify-write. And a shard with nothing else to do looks once more before it spins or sleeps, and says so:
///
///     unattended --put, ring--> items --take--> attended --put--> items
///          ^                      '---take, tasks are ready---.      |
///          '------------ another look finds none -----------<-'<-----'
///
/// So a thread that posts all the time rings hardly ever. It is unattended while tasks are ready, because only a ring
/// ends the task phase before its budget.
///
/// The word `top_`: the item on top in the low 48 bits (where Linux puts user memory on every CPU it runs on), how many
/// there are above; without items 0 for unattended, 2 for attended, 1 once closed. Written by all, read-modify-writes.
/// A put releases what the item holds, the take acquires it. The word `ringing_`: how many threads may be about to
/// touch the reactor. It is raised before the put that may find the stack empty, and lowered after the ring; the put
/// releases it to the take that closes, which waits until it is zero. So a shard's reactor outlives every ring.
///
/// In simulation there are no other threads: whatever stands for one calls deliver() from an event, and the doorbell
/// and `backend::wake_from_outside()` are the simulator's.
///
/// Affinity:   deliver() any thread; everything else the shard.
/// Ownership:  an item is its sender's until deliver() returns `taken`; from then on it is the shard's.
/// Invariants: (1) each item taken arrives once, or is refused once when the shard ends; (2) items of one thread arrive
///             in the order of delivery.
/// Limits:     `limit` items that the shard has not looked at, given with each; beyond it deliver() says `full`.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/this_shard.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace skerry {

class reactor;

namespace detail {

/// Something that arrives on a shard.
class foreign_item {
 public:
  foreign_item(const foreign_item&) = delete;
  foreign_item& operator=(const foreign_item&) = delete;

  /// On the shard, in its poll phase: be quick. The last touch: it may free itself.
  virtual void arrived() noexcept = 0;
  /// Instead of it, when the shard ends.
  virtual void refused() noexcept { arrived(); }

 protected:
  foreign_item() noexcept = default;
  ~foreign_item() = default;

 private:
  friend class inbox_stack;
  friend class foreign_inbox;
  foreign_item* below_ = nullptr;  // in a stack
};

enum class delivery : std::uint8_t { taken, full, closed };

/// The part that other threads touch. It outlives the shard where they have a share in it.
class inbox_stack {
 public:
  static constexpr std::uint64_t counted_max = 0xffff;  ///< more are there, but not counted

  explicit inbox_stack(reactor& owner) noexcept : owner_(&owner) {}
  ~inbox_stack() { SKERRY_ASSERT(item_of(top_.load()) == nullptr, "an inbox is closed before it goes away"); }

  delivery deliver(foreign_item& item, std::uint64_t limit = counted_max + 1) noexcept;
  /// Fetches what deliver() will write, while the item is made.
  void prepare() const noexcept { __builtin_prefetch(&top_, 1); }

 private:
  friend class foreign_inbox;
  static constexpr unsigned address_bits = 48;
  static constexpr std::uint64_t address_mask = (std::uint64_t{1} << address_bits) - 1;
  static constexpr std::uint64_t unattended = 0, closed = 1, attended = 2, no_item = 3;

  static foreign_item* item_of(std::uint64_t word) noexcept {
    return reinterpret_cast<foreign_item*>(word & address_mask & ~no_item);
  }
  static std::uint64_t word_for(foreign_item& item, std::uint64_t count) noexcept {
    return reinterpret_cast<std::uint64_t>(&item) | count << address_bits;
  }
  void ring() noexcept;
  /// All items, the first delivered first; `left` stays in the word.
  foreign_item* take(std::uint64_t left) noexcept;
  /// From attended to unattended; false when there are items.
  bool leave() noexcept {
    std::uint64_t seen = attended;
    return top_.compare_exchange_strong(seen, unattended, std::memory_order_relaxed);
  }
  void close() noexcept;

  alignas(64) std::atomic<std::uint64_t> top_{0};
  std::atomic<std::uint32_t> ringing_{0};
  reactor* owner_;
};

/// A shard's own; a resource, made when it is first asked for.
class foreign_inbox final : public poller {
 public:
  foreign_inbox();
  ~foreign_inbox();

  static foreign_inbox& here();
  const std::shared_ptr<inbox_stack>& stack() const noexcept { return stack_; }
  /// How many have arrived.
  std::uint64_t arrived_total() const noexcept { return arrived_total_; }

 private:
  void poll() noexcept override;
  void flush() noexcept override;
  /// One more look at once, if this shard has nothing else to do.
  clock::time_point deadline() noexcept override { return attends_ ? clock::now() : clock::time_point::max(); }
  bool has_work() noexcept override;
  void take_all() noexcept;

  std::shared_ptr<inbox_stack> stack_;
  bool attends_ = false;  // the word is attended, or there are items on top of that
  std::uint64_t arrived_total_ = 0;
};

}  // namespace detail

}  // namespace skerry
