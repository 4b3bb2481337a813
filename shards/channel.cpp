// SPDX-License-Identifier: Apache-2.0
#include <skerry/shards/channel.hpp>

#include <algorithm>

namespace skerry::detail {

void channel_carrier::run_here() noexcept { feed_.inbox_.arrived(*this); }
void channel_carrier::come_home() noexcept { feed_.came_home(*this); }

channel_feed::channel_feed(channel_inbox& to, shard_id receiver, std::size_t capacity, void* slots) noexcept
    : inbox_(to),
      slots_(slots),
      slot_mask_(std::bit_ceil(capacity) - 1),
      capacity_(capacity),
      per_carrier_((capacity + carriers - 1) / carriers),
      carriers_{{receiver, *this}, {receiver, *this}, {receiver, *this}, {receiver, *this}} {
  for (channel_carrier& c : carriers_) {
    c.next_ = std::exchange(idle_, &c);
    ++idle_count_;
  }
}

void channel_feed::close() noexcept {
  if (std::exchange(closing_, true)) return;
  room().wake_all();
  announce();
}

void channel_feed::drop() noexcept {
  dropped_ = true;
  room();  // a sender that was never used is bound to where it goes
  closing_ ? end_if_done() : close();
}

/// Covers what no carrier covers yet: by the one that is still in the outbox, then by idle ones. What is left waits for
/// one to come home.
void channel_feed::announce() noexcept {
  announcing_ = true;
  while (announced() != put_ || (closing_ && !last_sent_)) {
    const bool fresh = filling_ == nullptr || filling_->with_target() || filling_->count_ == per_carrier_;
    if (fresh) {
      if (idle_ == nullptr) break;
      covered_ = announced();
      filling_ = std::exchange(idle_, idle_->next_);
      --idle_count_;
      filling_->begin_ = covered_;
      filling_->count_ = filling_->taken_ = 0;
    }
    channel_carrier& c = *filling_;
    c.count_ += std::min(put_ - announced(), per_carrier_ - c.count_);
    if (closing_ && announced() == put_) c.last_ = last_sent_ = true;
    // To this shard itself it is there before send() returns, and perhaps back.
    const bool here = c.target() == this_shard_id();
    if (here) covered_ = announced(), filling_ = nullptr;
    if (fresh) this_mailboxes().send(c);
    if (!here && c.count_ == per_carrier_) this_mailboxes().hurry(c.target());  // the receiver starts on it
  }
  announcing_ = false;
  end_if_done();
}

void channel_feed::came_home(channel_carrier& c) noexcept {
  if (filling_ == &c) covered_ = announced(), filling_ = nullptr;
  c.next_ = std::exchange(idle_, &c);
  ++idle_count_;
  if (c.refused_ && !std::exchange(refused_, true)) {
    destroy_items(announced(), put_);
    put_ = announced();
    room_->wake_all();
  } else if (!refused_) {
    room_->give(c.count_);
  }
  if (!announcing_) announce();
}

void channel_feed::end_if_done() noexcept {
  if (dropped_ && last_sent_ && idle_count_ == carriers && !announcing_) delete this;
}

void channel_inbox::arrived(channel_carrier& c) noexcept {
  if (closed_) return discard(c);
  if (c.count_ == 0) return finish(c);
  c.next_ = nullptr;
  (first_ == nullptr ? first_ : last_->next_) = &c;
  last_ = &c;
  items_.give(c.count_);
}

void channel_inbox::drop_front() noexcept {
  channel_carrier& c = *first_;
  if (++c.taken_ != c.count_) return;
  first_ = c.next_;
  const shard_id sender = c.sender();
  finish(c);
  if (sender != this_shard_id()) this_mailboxes().hurry(sender);  // who may be waiting for places
}

/// Nothing of it is left here.
void channel_inbox::finish(channel_carrier& c) noexcept {
  if (c.last_) --senders_;
  this_mailboxes().reply(c);
  if (!held_ && senders_ == 0) {
    delete this;
  } else if (ended()) {
    items_.wake_all();
  }
}

void channel_inbox::discard(channel_carrier& c) noexcept {
  c.feed_.destroy_items(c.begin_ + c.taken_, c.begin_ + c.count_);
  c.refused_ = true;
  finish(c);
}

void channel_inbox::close() noexcept {
  if (std::exchange(closed_, true)) return;
  items_.wake_all();
  for (channel_carrier* c = std::exchange(first_, nullptr); c != nullptr;) discard(*std::exchange(c, c->next_));
}

void channel_inbox::drop() noexcept {
  close();
  held_ = false;
  if (senders_ == 0) delete this;
}

}  // namespace skerry::detail
