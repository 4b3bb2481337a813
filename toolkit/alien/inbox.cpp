// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/alien/inbox.hpp>

#include <algorithm>
#include <thread>

namespace skerry::detail {

delivery inbox_stack::deliver(foreign_item& item, std::uint64_t limit) noexcept {
  SKERRY_ASSERT((reinterpret_cast<std::uint64_t>(&item) & ~(address_mask & ~no_item)) == 0,
                "user memory lies below 2^48, and objects at multiples of 4");
  bool may_ring = false;
  delivery outcome = delivery::taken;
  std::uint64_t seen = top_.load(std::memory_order_relaxed);
  for (;;) {
    if (seen == closed || (seen >> address_bits) >= limit) {
      outcome = seen == closed ? delivery::closed : delivery::full;
      break;
    }
    if (seen == unattended && !std::exchange(may_ring, true)) ringing_.fetch_add(1, std::memory_order_relaxed);
    item.below_ = item_of(seen);
    const std::uint64_t count = std::min((seen >> address_bits) + 1, counted_max);
    if (top_.compare_exchange_weak(seen, word_for(item, count), std::memory_order_release, std::memory_order_relaxed)) {
      if (seen == unattended) ring();
      break;
    }
  }
  if (may_ring) ringing_.fetch_sub(1, std::memory_order_release);
  return outcome;
}

void inbox_stack::ring() noexcept {
  if (owner_->bell().ring(doorbell::outside)) owner_->kernel().wake_from_outside();
}

foreign_item* inbox_stack::take(std::uint64_t left) noexcept {
  foreign_item* last = item_of(top_.exchange(left, std::memory_order_acquire));
  foreign_item* first = nullptr;
  while (last != nullptr) last = std::exchange(last->below_, std::exchange(first, last));
  return first;
}

void inbox_stack::close() noexcept {
  foreign_item* next = take(closed);
  while (next != nullptr) std::exchange(next, next->below_)->refused();
  // A thread between its put and its ring is a few instructions away, however long the scheduler makes of them.
  while (ringing_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
}

foreign_inbox::foreign_inbox() : stack_(std::make_shared<inbox_stack>(*this_shard().loop)) {
  this_shard().loop->add(*this);
}

foreign_inbox::~foreign_inbox() {
  stack_->close();
  this_shard().loop->remove(*this);
}

foreign_inbox& foreign_inbox::here() {
  if (auto* found = resources().find<foreign_inbox>()) return *found;
  return resources().emplace<foreign_inbox>();
}

void foreign_inbox::poll() noexcept {
  if (attends_ && stack_->leave()) attends_ = false;
  if (attends_ || (this_shard().loop->rung() & doorbell::outside) != 0) take_all();
}

void foreign_inbox::take_all() noexcept {
  attends_ = true;
  foreign_item* next = stack_->take(inbox_stack::attended);
  while (next != nullptr) {
    ++arrived_total_;
    std::exchange(next, next->below_)->arrived();
  }
}

void foreign_inbox::flush() noexcept {
  if (!attends_ || this_shard().ready->empty()) return;
  attends_ = false;
  // What came meanwhile has not rung: that is made up for, and comes first in the next turn.
  if (!stack_->leave()) static_cast<void>(this_shard().loop->bell().ring(doorbell::outside));
}

bool foreign_inbox::has_work() noexcept {
  if (attends_ && stack_->leave()) attends_ = false;
  return attends_;
}

}  // namespace skerry::detail
