// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/shards/mailbox.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <utility>

#include <boost/lockfree/spsc_queue.hpp>

namespace skerry::detail {

namespace {

/// One ordered pair's queue. `starved` is set by the sender that found the queue full and cleared by the receiver that
/// has made room, each with a read-modify-write: if the receiver's comes first, the sender's acquires the room and its
/// second try succeeds; if it comes second, it sees the flag and rings. So a sender with a full queue may sleep.
struct queue {
  explicit queue(std::size_t capacity) : entries(capacity) {}
  boost::lockfree::spsc_queue<std::uintptr_t> entries;
  alignas(64) std::atomic<bool> starved{false};
};

}  // namespace

class queue_matrix {
 public:
  queue_matrix(shard_id shards, std::size_t capacity)
      : shards_(shards),
        capacity_(capacity),
        slots_(std::make_unique<std::atomic<queue*>[]>(std::size_t{shards} * shards)) {}
  ~queue_matrix() {
    for (std::size_t i = 0; i < std::size_t{shards_} * shards_; ++i) delete slots_[i].load(std::memory_order_relaxed);
  }
  queue_matrix(const queue_matrix&) = delete;
  queue_matrix& operator=(const queue_matrix&) = delete;

  /// The sender's view. The release below pairs with the receiver's acquire: a receiver that sees the pointer sees the
  /// queue.
  queue& for_sender(shard_id from, shard_id to) {
    std::atomic<queue*>& slot = slots_[std::size_t{from} * shards_ + to];
    queue* made = slot.load(std::memory_order_relaxed);
    if (made == nullptr) [[unlikely]] {
      made = new queue(capacity_);
      slot.store(made, std::memory_order_release);
    }
    return *made;
  }
  /// The receiver's view; null while the sender has never sent.
  queue* for_receiver(shard_id from, shard_id to) noexcept {
    return slots_[std::size_t{from} * shards_ + to].load(std::memory_order_acquire);
  }

  shard_id shards() const noexcept { return shards_; }
  std::size_t capacity() const noexcept { return capacity_; }

 private:
  shard_id shards_;
  std::size_t capacity_;
  std::unique_ptr<std::atomic<queue*>[]> slots_;
};

void free_queue_matrix::operator()(queue_matrix* matrix) const noexcept { delete matrix; }

std::unique_ptr<queue_matrix, free_queue_matrix> make_queue_matrix(shard_id shards, std::size_t capacity) {
  SKERRY_ASSERT(capacity > 0, "a mailbox holds at least one message");
  return std::unique_ptr<queue_matrix, free_queue_matrix>(new queue_matrix(shards, capacity));
}

mailboxes::mailboxes(shard_core& core, queue_matrix& queues, const std::vector<reactor*>& peers)
    : core_(core), queues_(queues), peers_(peers), outboxes_(peers.size()), received_(peers.size()) {
  SKERRY_ASSERT(peers.size() == queues.shards(), "there is a queue for every pair of shards");
  dirty_.reserve(peers.size());
  to_wake_.reserve(peers.size());
}

mailboxes::~mailboxes() { SKERRY_ASSERT(outstanding_ == 0, "a shard ends after its last message has come home"); }

void mailboxes::send(message& m) noexcept {
  SKERRY_ASSERT(m.target_ < peers_.size(), "there is no such shard; shard numbers run from 0 to shard_count() - 1");
  SKERRY_ASSERT(m.returns_due_ == 0, "a message is sent once at a time");
  m.sender_ = core_.id;
  m.returns_due_ = 1;
  m.handed_over_ = false;
  m.cancel_sent_ = false;
  ++outstanding_;
  if (m.target_ == core_.id) return m.run_here();
  m.sent_at_ = core_.now;
  outboxes_[m.target_].messages.push_back(m);
  mark_dirty(m.target_);
}

void mailboxes::reply(message& m) noexcept {
  if (m.sender_ == core_.id) return one_returned(m);
  outboxes_[m.sender_].messages.push_back(m);
  mark_dirty(m.sender_);
}

void mailboxes::cancel(message& m) noexcept {
  SKERRY_ASSERT(m.sender_ == core_.id, "only the sender cancels its message");
  if (m.returns_due_ == 0 || m.cancel_sent_) return;
  m.cancel_sent_ = true;
  if (m.target_ == core_.id) return m.cancel_here();
  if (!m.handed_over_) {
    // Nobody else knows it yet. The link itself must not be asked: once pushed it is the receiver's.
    static_cast<list_hook<outbox_tag>&>(m).unlink();
    return one_returned(m);
  }
  ++m.returns_due_;
  outboxes_[m.target_].cancels.push_back(m);
  mark_dirty(m.target_);
}

void mailboxes::one_returned(message& m) noexcept {
  SKERRY_ASSERT(m.returns_due_ > 0, "a message comes home once");
  if (--m.returns_due_ != 0) return;
  --outstanding_;
  m.come_home();
  if (home_waiter_ != nullptr && outstanding_ <= home_waiter_->left_) std::exchange(home_waiter_, nullptr)->wake();
}

void mailboxes::mark_dirty(shard_id target) noexcept {
  if (outboxes_[target].listed) return;
  outboxes_[target].listed = true;
  dirty_.push_back(target);
}

void mailboxes::flush() noexcept {
  std::size_t kept = 0;
  for (shard_id target : dirty_) {
    bool emptied = flush_one(target);
    outboxes_[target].listed = !emptied;
    if (!emptied) dirty_[kept++] = target;
  }
  dirty_.resize(kept);
}

/// Moves what fits; true when the outbox is empty now. What stays is tried again when the receiver has rung back.
bool mailboxes::flush_one(shard_id target) noexcept {
  outbox& out = outboxes_[target];
  queue& to = queues_.for_sender(core_.id, target);
  bool pushed = false;
  auto push = [&](const message& m, kind ours, kind theirs) {
    std::uintptr_t entry =
        reinterpret_cast<std::uintptr_t>(&m) | static_cast<std::uintptr_t>(m.sender_ == core_.id ? ours : theirs);
    bool room = to.entries.push(entry);
    if (!room) {
      to.starved.exchange(true, std::memory_order_seq_cst);
      room = to.entries.push(entry);
    }
    pushed |= room;
    return room;
  };
  bool room = true;
  // A message belongs to the receiver from the push on, so it leaves its list before.
  while (room && !out.messages.empty()) {
    message& m = out.messages.pop_front();
    bool ours = m.sender_ == core_.id;
    if (ours) m.handed_over_ = true;
    room = push(m, kind::request, kind::reply);
    if (room) continue;
    if (ours) m.handed_over_ = false;
    out.messages.push_front(m);
  }
  while (room && !out.cancels.empty()) {
    message& m = out.cancels.pop_front();
    room = push(m, kind::cancel, kind::acknowledge);
    if (!room) out.cancels.push_front(m);
  }
  if (pushed) ring(target);
  return room;
}

void mailboxes::ring(shard_id target) noexcept {
  if (peers_[target]->bell().ring(doorbell::inbox_bit(core_.id))) to_wake_.push_back(target);
}

void mailboxes::wake_targets() noexcept {
  for (shard_id target : to_wake_) core_.loop->kernel().wake(peers_[target]->kernel());
  to_wake_.clear();
}

void mailboxes::poll() noexcept {
  std::uint64_t bits = core_.loop->rung() & ~doorbell::outside;
  auto shards = static_cast<shard_id>(peers_.size());
  for (; bits != 0; bits &= bits - 1) {
    for (auto sender = static_cast<shard_id>(std::countr_zero(bits)); sender < shards; sender += doorbell::inbox_bits) {
      drain(sender);
    }
  }
}

void mailboxes::drain(shard_id sender) noexcept {
  queue* from = queues_.for_receiver(sender, core_.id);
  if (from == nullptr) return;
  std::array<std::uintptr_t, batch_max> batch;
  std::size_t total = 0;
  // A full batch may be followed by more; what arrives after the last look has rung again.
  std::size_t count;
  do {
    count = from->entries.pop(batch.data(), batch.size());
    total += count;
    for (std::size_t i = 0; i < count; ++i) {
      if (i + 2 < count) __builtin_prefetch(reinterpret_cast<const void*>(batch[i + 2] & ~std::uintptr_t{3}), 1);
      receive(sender, batch[i]);
    }
  } while (count == batch.size());
  if (total != 0) ++received_[sender].batches;
  // A sender that found the queue full rang before or will find the flag taken; a full queue means a look this long.
  if (total >= queues_.capacity() && from->starved.exchange(false, std::memory_order_seq_cst)) ring(sender);
}

void mailboxes::receive(shard_id sender, std::uintptr_t entry) noexcept {
  message& m = *reinterpret_cast<message*>(entry & ~std::uintptr_t{3});
  switch (static_cast<kind>(entry & 3)) {
    case kind::request: {
      pair_stats& stats = received_[sender];
      ++stats.requests;
      // The two shards read their clocks at different moments; a message cannot have waited less than nothing.
      stats.queue_wait += std::max(core_.now - m.sent_at_, clock::duration::zero());
      m.run_here();
      break;
    }
    case kind::cancel:
      m.cancel_here();
      outboxes_[sender].cancels.push_back(m);
      mark_dirty(sender);
      break;
    case kind::reply:
    case kind::acknowledge: one_returned(m); break;
  }
}

}  // namespace skerry::detail
