// SPDX-License-Identifier: Apache-2.0
#include <skerry/timers/wheel.hpp>

namespace skerry::timers {

static_assert(sizeof(timer_node) == 32 && alignof(timer_node) <= 16, "a wait in a coroutine frame pays for every byte");

wheel::wheel(std::uint64_t now_tick) noexcept : now_tick_(now_tick) {
  for (link& head : lists_) head.next = head.prev = &head;
}

wheel::~wheel() {
  SKERRY_ASSERT(size_ == 0, "a wheel is destroyed with timers armed; clear() it first");
  SKERRY_ASSERT(!busy_, "a wheel is destroyed by one of its own callbacks");
}

[[gnu::cold]] std::size_t wheel::overflow_for(std::uint64_t deadline_tick) noexcept {
  if (list_is_empty(overflow_list) || deadline_tick < overflow_earliest_tick_) overflow_earliest_tick_ = deadline_tick;
  return overflow_list;
}

/// The list whose timers come first after now, by invariant (3).
std::size_t wheel::first_occupied() const noexcept {
  constexpr std::uint32_t slots_mask = (std::uint32_t{1} << slot_words) - 1;
  while ((occupied_words_ & slots_mask) != 0) {
    const auto word = static_cast<std::size_t>(std::countr_zero(occupied_words_));
    while (occupied_[word] != 0) {
      const std::size_t list = word * 64 + static_cast<std::size_t>(std::countr_zero(occupied_[word]));
      if (!list_is_empty(list)) return list;  // else it has emptied since: invariant (5)
      occupied_[word] &= occupied_[word] - 1;
    }
    occupied_words_ &= occupied_words_ - 1;
  }
  return list_is_empty(overflow_list) ? no_list : overflow_list;
}

/// The tick at which the timers of a list have to move or fire: now's digits above the level, the slot's at the level,
/// zeros below. For the unsorted overflow list, the begin of the 2^32 ticks (49.7 days) of its least deadline.
std::uint64_t wheel::begin_of(std::size_t list) const noexcept {
  constexpr unsigned block_bits = digit_bits * level_count;
  if (list == overflow_list) return overflow_earliest_tick_ >> block_bits << block_bits;
  const auto shift = static_cast<unsigned>(list / slots_per_level) * digit_bits;
  const std::uint64_t above = now_tick_ >> (shift + digit_bits) << (shift + digit_bits);
  return above | (static_cast<std::uint64_t>(list % slots_per_level) << shift);
}

std::optional<std::uint64_t> wheel::next_deadline() const noexcept {
  if (size_ == 0) return std::nullopt;
  if (!list_is_empty(due_list) || !list_is_empty(firing_list)) return now_tick_;
  const std::size_t list = first_occupied();
  SKERRY_ASSERT(list != no_list, "timers are armed, but no list of the wheel has one");
  const std::uint64_t begin = begin_of(list);
  if (list < slots_per_level) return begin;

  const link* const head = &lists_[list];
  std::uint64_t earliest = UINT64_MAX;
  std::size_t seen = 0;
  for (const link* at = head->next; at != head; at = at->next) {
    if (++seen > exact_scan_max) return list == overflow_list ? overflow_earliest_tick_ : begin;
    const std::uint64_t deadline = static_cast<const timer_node*>(at)->deadline_tick_;
    if (deadline < earliest) earliest = deadline;
  }
  SKERRY_ASSERT(earliest >= begin, "a timer lies in a slot that begins after its deadline");
  return earliest;
}

void wheel::begin() noexcept {
  SKERRY_ASSERT(!busy_, "advance() or clear() from a callback of this wheel");
  busy_ = true;
  if (!list_is_empty(due_list)) splice_to_firing(due_list);
}

/// Moves now to the next occupied slot up to the target and puts what is due there into the firing list. False, with
/// now at the target, when none is left. Its caller fires between steps: invariant (1) holds while foreign code runs.
bool wheel::step(std::uint64_t target_tick) noexcept {
  SKERRY_ASSERT(list_is_empty(firing_list), "a tick of a wheel ends before all its timers have fired");
  const std::size_t list = first_occupied();
  const std::uint64_t begin = list == no_list ? 0 : begin_of(list);
  if (list == no_list || begin > target_tick) {
    now_tick_ = target_tick;
    return false;
  }
  SKERRY_ASSERT(begin > now_tick_, "a slot of the past still holds timers");
  now_tick_ = begin;
  if (list < slots_per_level) {
    splice_to_firing(list);
  } else {
    redistribute(list);
  }
  return true;
}

/// Appends a whole list to the firing list, in its order.
void wheel::splice_to_firing(std::size_t list) noexcept {
  SKERRY_ASSERT(!list_is_empty(list), "only a list with timers is spliced");
  link& from = lists_[list];
  link& to = lists_[firing_list];
  from.next->prev = to.prev;
  to.prev->next = from.next;
  from.prev->next = &to;
  to.prev = from.prev;
  from.next = from.prev = &from;
}

/// Deals a slot that has just begun, or the overflow list, out to lists that are empty or (overflow) this one itself,
/// so front to back keeps the arming order, invariant (2).
void wheel::redistribute(std::size_t list) noexcept {
  link& head = lists_[list];
  link* at = head.next;
  head.prev->next = nullptr;
  head.next = head.prev = &head;
  while (at != nullptr) {
    link* const next = at->next;
    const std::uint64_t deadline = static_cast<timer_node*>(at)->deadline_tick_;
    SKERRY_ASSERT(deadline >= now_tick_, "a timer waits in a slot that begins after its deadline");
    append(*at, deadline == now_tick_ ? firing_list : list_for(deadline));
    at = next;
  }
}

void wheel::begin_clear() noexcept {
  begin();
  for (std::size_t list = first_occupied(); list != no_list; list = first_occupied()) splice_to_firing(list);
}

}  // namespace skerry::timers
