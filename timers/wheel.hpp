// SPDX-License-Identifier: Apache-2.0
#pragma once

/// wheel: armed timers, sorted just enough. A timer lies in the one list that its deadline and the present tick name.
///
/// A pure data structure: it reads no clock, knows no reactor and allocates nothing. Somebody tells it the time with
/// advance(), and asks next_deadline() how long he may sleep.
///
///   level   a slot spans      the level spans   holds deadlines that differ from now() first in
///   0       1 tick (1 ms)     256 ms            bits 0..7
///   1       256 ticks         65.5 s            bits 8..15
///   2       65 536 ticks      4.66 h            bits 16..23
///   3       2^24 ticks        49.7 days         bits 24..31
///   -       overflow list     for ever          bits 32..63
///
/// A digit is eight bits of a tick. The highest digit in which deadline and now differ gives the level, the deadline's
/// digit there the slot. A deadline at or before now goes to the list `due`. The life of a node:
///
///              arm            step: its slot begins          step or due          advance
///   not armed -----> overflow, level 3, 2, 1 -----> lower level ... -----> firing -----> not armed, then the callback
///        ^-------------------------- cancel, from any list -----------------------------'
///
/// Invariants:
///  (1) A node lies in the list that list_for(deadline) names for the present now. Hence all timers of one tick lie in
///      one list, whenever they were armed.
///  (2) Within a list, timers of one tick are in arming order. Arming appends. A slot that begins is moved, front to
///      back, into lists below it that hold nothing for its ticks: until now they differed in the slot's own digit, so
///      by (1) all their timers were in this slot. Hence no sequence number: a timer armed late is behind an older one
///      that is still higher up.
///  (3) Every used slot's digit is greater than now's digit of that level. So nothing wraps, and lists numbered level
///      by level are in order of time: the first set bit of the occupancy bitmap is the slot that begins next.
///  (4) now changes only to the begin of the next used slot or, when there is none up to the target, to the target.
///      Both keep (1): in between, no deadline changes the highest digit in which it differs.
///  (5) A slot that holds a timer has its bit set, but cancel() leaves the bit of one that it empties:
///      first_occupied() drops it on the way, before now passes it. So arming and cancelling one timeout again and
///      again writes no bitmap, and cancel() need not know which list it shortens.
///
/// Cancelling writes to both neighbours, two cache lines that are cold among millions of timers; prefetching them made
/// no difference that showed. Rejected: to leave a timer that is put off in its place until its old slot begins, and to
/// sort a tick that has such timers. Whether a timer is put off or brought forward hangs on its line, so that a wrong
/// guess waits for memory (65 ns against 54 to 65 among ten million, 7 against 14 among a thousand), and hot arm and
/// cancel pay 0.7 ns for the sequence number. Who only ever puts off does it better alone: note the new deadline,
/// re-arm when the old one comes. Rejected: an exact bitmap, cleared by cancel(): hot arm and cancel 5.6 ns, not 3.7.
///
/// Affinity:  one shard.
/// Ownership: the caller owns the nodes; the wheel borrows one from arm() until it fires or is cancelled or cleared.
/// Limits:    any number of timers, any deadline. When a slot above level 0 begins, its timers move at once, each at
///            most four times in all. When level 1 wraps, every 65.5 s, those can be most of all: a million take 6 ms
///            in memory order, 150 ms when each is a cache miss (100 000: 2 ms).
/// Units:     a tick, which the layer above makes a millisecond, counted from any origin.
/// Source:    Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7.

#include <skerry/framework/assert.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace skerry::timers {

class wheel;

namespace detail {
struct timer_link {
  timer_link* next = nullptr;
  timer_link* prev = nullptr;
};
}  // namespace detail

/// One timer, inside the object that waits; it stays where it is while armed.
class timer_node : private detail::timer_link {
 public:
  explicit timer_node(std::uint64_t tick = 0) noexcept : deadline_tick_(tick) {}  // kept until arm(), for its caller
  timer_node(const timer_node&) = delete;
  timer_node& operator=(const timer_node&) = delete;
  ~timer_node() { SKERRY_ASSERT(owner_ == nullptr, "an armed timer is destroyed; cancel it first"); }

  bool armed() const noexcept { return owner_ != nullptr; }
  /// What the last arm() asked for, also when that was in the past already.
  std::uint64_t deadline_tick() const noexcept { return deadline_tick_; }

 private:
  friend class wheel;
  std::uint64_t deadline_tick_;
  wheel* owner_ = nullptr;  // the wheel it is armed in: the armed state, and the check that no other wheel cancels it
};

class wheel {
 public:
  explicit wheel(std::uint64_t now_tick = 0) noexcept;
  wheel(const wheel&) = delete;
  wheel& operator=(const wheel&) = delete;
  ~wheel();

  /// The node, which is not armed, fires in the advance() that reaches deadline_tick; with a deadline at or before
  /// now(), in the next advance(), whatever its tick.
  void arm(timer_node& node, std::uint64_t deadline_tick) noexcept;
  /// arm() for a node that may be armed: it counts as armed now, also when the deadline stays the same.
  void rearm(timer_node& node, std::uint64_t deadline_tick) noexcept {
    cancel(node);
    arm(node, deadline_tick);
  }
  /// Nothing happens if the node is not armed: it may just have fired.
  void cancel(timer_node& node) noexcept;

  /// Moves now() to now_tick, which is not less, and calls fire(timer_node&) for every timer due by then: by deadline,
  /// in arming order within a tick (a deadline that was past when it was armed counts as the now() of that moment).
  /// Returns how many fired. During a callback now() is the tick being fired and the node is not armed; the callback
  /// may destroy it and arm or cancel any timer, but not call advance() or clear(). A timer cancelled in its own tick
  /// does not fire. What a callback arms for a later tick up to now_tick fires in this call, what it arms for now() or
  /// earlier in the next, so a timer that re-arms itself cannot keep the loop from ending.
  template <class OnExpired>
  std::size_t advance(std::uint64_t now_tick, OnExpired&& fire) noexcept;

  /// For shutdown: calls removed(timer_node&) for each timer, already disarmed, in an order that only the calls so far
  /// decide. What the callback arms stays armed.
  template <class OnRemoved>
  std::size_t clear(OnRemoved&& removed) noexcept;

  /// Until when the caller may sleep; nullopt when nothing is armed. Never later than the earliest deadline, and now()
  /// only if a timer is due already. It is the earliest deadline if that lies in the present block of 256 ticks, or if
  /// at most `exact_scan_max` timers share its slot or overflow list. Otherwise it is the begin of that slot (or the
  /// earliest deadline the overflow list has seen since it was last sorted): the caller wakes, advances, fires nothing,
  /// and the answer is closer then, at most four times for one timer.
  std::optional<std::uint64_t> next_deadline() const noexcept;

  bool empty() const noexcept { return size_ == 0; }
  std::size_t size() const noexcept { return size_; }
  std::uint64_t now() const noexcept { return now_tick_; }

  /// Reading a few nodes costs less than a needless wake-up; a slot with many is about to fire anyway.
  static constexpr std::size_t exact_scan_max = 8;

 private:
  using link = detail::timer_link;
  static constexpr unsigned digit_bits = 8;
  static constexpr unsigned level_count = 4;
  static constexpr std::size_t slots_per_level = std::size_t{1} << digit_bits;
  // Numbers of lists: 256 * level + slot, in order of time, then three lists that are no slots.
  static constexpr std::size_t overflow_list = level_count * slots_per_level;
  static constexpr std::size_t due_list = overflow_list + 1;
  static constexpr std::size_t firing_list = overflow_list + 2;
  static constexpr std::size_t list_count = overflow_list + 3;
  static constexpr std::size_t no_list = list_count;
  static constexpr std::size_t slot_words = overflow_list / 64;

  std::size_t list_for(std::uint64_t deadline_tick) noexcept;
  std::size_t overflow_for(std::uint64_t deadline_tick) noexcept;
  void append(link& node, std::size_t list) noexcept;
  static void unlink(link& node) noexcept {
    link* const next = node.next;
    link* const prev = node.prev;
    next->prev = prev;
    prev->next = next;
  }
  bool list_is_empty(std::size_t list) const noexcept { return lists_[list].next == &lists_[list]; }
  std::size_t first_occupied() const noexcept;
  std::uint64_t begin_of(std::size_t list) const noexcept;

  void begin() noexcept;
  bool step(std::uint64_t target_tick) noexcept;
  void splice_to_firing(std::size_t list) noexcept;
  void redistribute(std::size_t list) noexcept;
  void begin_clear() noexcept;
  template <class Callback>
  std::size_t fire_all(Callback& callback) noexcept;

  std::uint64_t now_tick_;
  std::size_t size_ = 0;
  /// The least deadline put into the overflow list since it was last empty or sorted. A cancel leaves it too early,
  /// which costs one needless look at the list and saves a search per cancel.
  std::uint64_t overflow_earliest_tick_ = 0;
  /// Bit w: occupied_[w] may be other than zero. Two levels make first_occupied() two bit scans. Both are mutable
  /// because looking for the next timer drops stale bits, invariant (5).
  mutable std::uint32_t occupied_words_ = 0;
  bool busy_ = false;  // inside advance() or clear()
  /// Bit list % 64 of word list / 64: the list may hold timers. The last word, of the lists that are no slots, spares
  /// append() a special case; nothing reads it.
  mutable std::array<std::uint64_t, slot_words + 1> occupied_{};
  /// Heads of circular lists. 16 KiB, of which a busy program touches what it uses.
  std::array<link, list_count> lists_;
};

inline void wheel::arm(timer_node& node, std::uint64_t deadline_tick) noexcept {
  SKERRY_ASSERT(node.owner_ == nullptr, "arm() of a timer that is armed; rearm() moves it");
  node.owner_ = this;
  node.deadline_tick_ = deadline_tick;
  ++size_;
  append(node, list_for(deadline_tick));
}

inline void wheel::cancel(timer_node& node) noexcept {
  if (node.owner_ == nullptr) return;
  SKERRY_ASSERT(node.owner_ == this, "a timer is cancelled in another wheel than it was armed in");
  node.owner_ = nullptr;
  --size_;
  unlink(node);
}

template <class OnExpired>
std::size_t wheel::advance(std::uint64_t now_tick, OnExpired&& fire) noexcept {
  static_assert(std::is_invocable_v<OnExpired&, timer_node&>, "advance() calls fire(timer_node&)");
  SKERRY_ASSERT(now_tick >= now_tick_, "the clock that drives a wheel went backwards");
  begin();
  std::size_t fired = 0;
  do {
    fired += fire_all(fire);
  } while (step(now_tick));
  busy_ = false;
  return fired;
}

template <class OnRemoved>
std::size_t wheel::clear(OnRemoved&& removed) noexcept {
  static_assert(std::is_invocable_v<OnRemoved&, timer_node&>, "clear() calls removed(timer_node&)");
  begin_clear();
  const std::size_t count = fire_all(removed);
  busy_ = false;
  return count;
}

/// Takes from the front, one by one, because a callback may cancel whatever comes next.
template <class Callback>
std::size_t wheel::fire_all(Callback& callback) noexcept {
  std::size_t fired = 0;
  while (!list_is_empty(firing_list)) {
    timer_node& node = static_cast<timer_node&>(*lists_[firing_list].next);
    cancel(node);
    callback(node);
    ++fired;
  }
  return fired;
}

inline std::size_t wheel::list_for(std::uint64_t deadline_tick) noexcept {
  if (deadline_tick <= now_tick_) return due_list;
  const unsigned level = (static_cast<unsigned>(std::bit_width(deadline_tick ^ now_tick_)) - 1) / digit_bits;
  if (level >= level_count) [[unlikely]]
    return overflow_for(deadline_tick);
  const std::size_t slot = (deadline_tick >> (digit_bits * level)) % slots_per_level;
  return level * slots_per_level + slot;
}

inline void wheel::append(link& node, std::size_t list) noexcept {
  link& head = lists_[list];
  link* const last = head.prev;
  // In this order: were the two stores to the node neighbours, g++ would merge them into one of 16 bytes, and a cancel
  // soon after would wait for the halves.
  node.next = &head;
  last->next = &node;
  node.prev = last;
  head.prev = &node;
  std::uint64_t& word = occupied_[list / 64];
  if ((word >> (list % 64) & 1) == 0) {  // with a mask, re-arming among millions takes 1.14 x
    word |= std::uint64_t{1} << (list % 64);
    occupied_words_ |= std::uint32_t{1} << (list / 64);
  }
}

}  // namespace skerry::timers
