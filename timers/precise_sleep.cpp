// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/timers/precise_sleep.hpp>

#include <algorithm>
#include <utility>

namespace skerry::timers {

void precise_heap::add(precise_timer& t, clock::time_point deadline) noexcept {
  SKERRY_ASSERT(!t.armed_, "a timer is armed once at a time");
  t.deadline_ = deadline;
  t.number_ = ++added_;
  t.armed_ = true;
  t.child_ = t.sibling_ = t.before_ = nullptr;
  root_ = merge(root_, &t);
}

void precise_heap::remove(precise_timer& t) noexcept {
  if (!t.armed_) return;
  t.armed_ = false;
  precise_timer* children = merge_siblings(std::exchange(t.child_, nullptr));
  if (&t == root_) {
    root_ = children;
    return;
  }
  (t.before_->child_ == &t ? t.before_->child_ : t.before_->sibling_) = t.sibling_;
  if (t.sibling_ != nullptr) t.sibling_->before_ = t.before_;
  root_ = merge(root_, children);
}

/// The later of two roots becomes the first child of the earlier.
precise_timer* precise_heap::merge(precise_timer* a, precise_timer* b) noexcept {
  if (a == nullptr) return b;
  if (b == nullptr) return a;
  if (before(*b, *a)) std::swap(a, b);
  b->before_ = a;
  b->sibling_ = a->child_;
  if (a->child_ != nullptr) a->child_->before_ = b;
  a->child_ = b;
  a->sibling_ = a->before_ = nullptr;
  return a;
}

/// Front to back in pairs, then the pairs from the back: this is what makes it O(log n).
precise_timer* precise_heap::merge_siblings(precise_timer* first) noexcept {
  precise_timer* pairs = nullptr;  // linked through sibling_, the last pair first
  while (first != nullptr) {
    precise_timer* second = first->sibling_;
    precise_timer* rest = second != nullptr ? second->sibling_ : nullptr;
    first->sibling_ = nullptr;
    if (second != nullptr) second->sibling_ = nullptr;
    precise_timer* pair = merge(first, second);
    pair->sibling_ = pairs;
    pairs = pair;
    first = rest;
  }
  precise_timer* all = nullptr;
  while (pairs != nullptr) {
    precise_timer* next = std::exchange(pairs->sibling_, nullptr);
    all = merge(all, pairs);
    pairs = next;
  }
  if (all != nullptr) all->before_ = nullptr;
  return all;
}

precise_timer_service::precise_timer_service() { this_shard().loop->add(*this); }

precise_timer_service::~precise_timer_service() {
  SKERRY_ASSERT(heap_.empty(), "a shard ends after its last sleeper");
  this_shard().loop->remove(*this);
}

void precise_timer_service::poll() noexcept {
  if (clock::now() >= asked_for_) learn_from_wake_up();
  while (precise_timer* first = heap_.first()) {
    if (precise_heap::deadline_of(*first) > clock::now()) return;
    heap_.remove(*first);
    first->expired();
  }
}

/// Moves the margin to where three of four wake-ups are no later: up by three steps for one beyond it, else down by
/// one. What comes later than any margin was a busy shard, and says nothing.
void precise_timer_service::learn_from_wake_up() noexcept {
  constexpr std::chrono::nanoseconds step{500};
  const clock::duration late = clock::now() - std::exchange(asked_for_, clock::time_point::max());
  if (late > margin_max) return;
  margin_ = std::clamp<clock::duration>(margin_ + (late > margin_ ? 3 * step : -step), clock::duration(0), margin_max);
}

clock::time_point precise_timer_service::deadline() noexcept {
  asked_for_ = clock::time_point::max();
  if (heap_.empty()) return clock::time_point::max();
  const clock::time_point wake_at = precise_heap::deadline_of(*heap_.first()) - margin_;
  if (wake_at > clock::now()) asked_for_ = wake_at;
  return wake_at;
}

precise_heap& this_precise_timers() {
  resource_table& all = resources();
  auto* service = all.find<precise_timer_service>();
  if (service == nullptr) service = &all.emplace<precise_timer_service>();
  return service->heap();
}

}  // namespace skerry::timers
