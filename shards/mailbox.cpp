// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/shards/mailbox.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include <boost/lockfree/spsc_queue.hpp>

namespace skerry::detail {

namespace {

/// Asks for a line that this shard is about to write. Without the instruction's own name the compiler fetches it to be
/// read, and the write then asks the other CPU once more.
void prefetch_for_write(const void* line) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" ::"m"(*static_cast<const std::byte*>(line)));
#else
  __builtin_prefetch(line, 1);
#endif
}

/// Gives the queue memory of ours, so that the receiver knows where the next entry will be.
template <class T>
struct lent_memory {
  using value_type = T;
  explicit lent_memory(T* room) noexcept : room_(room) {}
  T* allocate(std::size_t) noexcept { return room_; }
  void deallocate(T*, std::size_t) noexcept {}
  T* room_;
};

/// One ordered pair's queue. `starved` is set by the sender that found the queue full and cleared by the receiver that
/// has made room, each with a read-modify-write: if the receiver's comes first, the sender's acquires the room and its
/// second try succeeds; if it comes second, it sees the flag and rings. So a sender with a full queue may sleep.
struct queue {
  explicit queue(std::size_t capacity)
      : room(std::make_unique<std::uintptr_t[]>(capacity + 1)), entries(capacity, lent_memory(room.get())) {}

  /// Fetches the lines that the next push will use: both indexes, and the next entry's.
  void prefetch_push(std::uint64_t pushed_total, std::size_t capacity) const noexcept {
    __builtin_prefetch(reinterpret_cast<const std::byte*>(&entries) + 64);
    prefetch_for_write(&entries);
    prefetch_for_write(&room[pushed_total % (capacity + 1)]);
  }
  /// Fetches the lines that the next pop will read: the sender's index, and the next entry.
  void prefetch_pop(std::uint64_t popped_total, std::size_t capacity) const noexcept {
    __builtin_prefetch(&entries);
    __builtin_prefetch(&room[popped_total % (capacity + 1)]);
  }

  std::unique_ptr<std::uintptr_t[]> room;
  alignas(
      64) boost::lockfree::spsc_queue<std::uintptr_t, boost::lockfree::allocator<lent_memory<std::uintptr_t>>> entries;
  alignas(64) std::atomic<bool> starved{false};
};

}  // namespace

class queue_matrix {
 public:
  queue_matrix(shard_id shards, std::size_t capacity)
      : shards_(shards), capacity_(capacity), slots_(std::size_t{shards} * shards) {}
  ~queue_matrix() {
    for (auto& slot : slots_) delete slot.load(std::memory_order_relaxed);
  }

  /// The sender's view. The release pairs with the receiver's acquire: one that sees the pointer sees the queue.
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
  std::vector<std::atomic<queue*>> slots_;
};

std::shared_ptr<queue_matrix> make_queue_matrix(shard_id shards, std::size_t capacity) {
  SKERRY_ASSERT(capacity > 0, "a mailbox holds at least one message");
  return std::make_shared<queue_matrix>(shards, capacity);
}

mailboxes::mailboxes(shard_core& core, queue_matrix& queues, const std::vector<reactor*>& peers)
    : core_(core), queues_(queues), peers_(peers), outboxes_(peers.size()), inboxes_(peers.size()) {
  SKERRY_ASSERT(peers.size() == queues.shards(), "there is a queue for every pair of shards");
  SKERRY_ASSERT(peers.size() <= message::shards_max, "a message names its shards in 16 bits");
  core_.boxes = this;
  dirty_.reserve(peers.size());
  to_wake_.reserve(peers.size());
}

mailboxes::~mailboxes() {
  SKERRY_ASSERT(outstanding() == 0, "a shard ends after its last message has come home");
  core_.boxes = nullptr;
}

void mailboxes::cancel(message& m) noexcept {
  SKERRY_ASSERT(m.its_.sender == core_.id, "only the sender cancels its message");
  if (m.home() || (m.its_.due & message::cancelled) != 0) return;
  m.its_.due |= message::cancelled;
  if (m.its_.target == core_.id) return m.cancel_here();
  outbox& out = outboxes_[m.its_.target];
  const bool ready = m.its_.slot < out.count && out.ready[m.its_.slot] == reinterpret_cast<std::uintptr_t>(&m);
  // The flush looks for one that is still here.
  if (ready || m.its_.slot == message::waits) return static_cast<void>(++out.cancelled);
  ++m.its_.due;
  put(m.its_.target, out, m, kind::cancel);
}

void mailboxes::mark_dirty(shard_id target) noexcept {
  outbox& out = outboxes_[target];
  if (std::exchange(out.listed, true)) return;
  if (out.ready == nullptr) out.ready = std::make_unique_for_overwrite<std::uintptr_t[]>(batch_max);
  dirty_.push_back(target);
  prefetch_push(target);
}

void mailboxes::prefetch_push(shard_id target) noexcept {
  queues_.for_sender(core_.id, target).prefetch_push(outboxes_[target].pushed_total, queues_.capacity());
}

void mailboxes::flush() noexcept {
  std::size_t kept = 0;
  for (shard_id target : dirty_) {
    outbox& out = outboxes_[target];
    bool emptied = (out.urgent || !core_.loop->may_hold_back()) && flush_one(target);
    out.listed = !emptied;
    if (!emptied) dirty_[kept++] = target;
  }
  dirty_.resize(kept);
}

/// True when the outbox is empty now. What stays is tried again when the receiver has rung back.
bool mailboxes::flush_one(shard_id target) noexcept {
  outbox& out = outboxes_[target];
  list unwanted;
  bool room = true;
  out.urgent = false;
  // Behind those that wait, of which the first take its place.
  for (std::size_t i = 0; out.waiting.first != 0 && i < out.count; ++i) out.waiting.push_back(out.ready[i]);
  if (out.waiting.first != 0) out.count = 0;
  do {
    while (out.waiting.first != 0 && out.count < batch_max) out.ready[out.count++] = out.waiting.pop();
    if (out.cancelled != 0) [[unlikely]] {
      const auto is_unwanted = [&](std::uintptr_t entry) {
        const bool so = kind_of(entry) == kind::request && (of(entry).its_.due & message::cancelled) != 0;
        if (so) --out.cancelled, unwanted.push_back(entry);
        return so;
      };
      const std::uintptr_t* end = std::remove_if(&out.ready[0], &out.ready[out.count], is_unwanted);
      out.count = static_cast<std::uint32_t>(end - &out.ready[0]);
    }
    const std::size_t pushed = out.count != 0 ? push(target, out.ready.get(), out.count) : 0;
    room = pushed == out.count;
    // Put back what did not fit, last one first.
    while (out.count > pushed) out.waiting.push_front(out.ready[--out.count]);
    out.count = 0;
  } while (room && out.waiting.first != 0);
  while (unwanted.first != 0) one_returned(of(unwanted.pop()));
  return room && out.count == 0;
}

/// Gives how many have found room; unless that is all, the receiver rings back when it has made some.
std::size_t mailboxes::push(shard_id target, const std::uintptr_t* entries, std::size_t count) noexcept {
  queue& to = queues_.for_sender(core_.id, target);
  std::size_t pushed = to.entries.push(entries, count);
  if (pushed < count) [[unlikely]] {
    to.starved.exchange(true, std::memory_order_seq_cst);
    pushed += to.entries.push(entries + pushed, count - pushed);
  }
  outboxes_[target].pushed_total += pushed;
  if (pushed != 0) ring(target);
  return pushed;
}

void mailboxes::ring(shard_id target) noexcept {
  if (peers_[target]->bell().ring(doorbell::inbox_bit(core_.id))) to_wake_.push_back(target);
}

void mailboxes::wake_targets() noexcept {
  for (shard_id target : to_wake_) core_.loop->kernel().wake(peers_[target]->kernel());
  to_wake_.clear();
}

void mailboxes::poll() noexcept {
  auto each_inbox = [shards = static_cast<shard_id>(peers_.size())](std::uint64_t bits, auto&& visit) {
    for (bits >>= doorbell::first_inbox; bits != 0; bits &= bits - 1) {
      for (auto from = static_cast<shard_id>(std::countr_zero(bits)); from < shards; from += doorbell::inbox_bits) {
        visit(from);
      }
    }
  };
  // Taking the bits waits for their line; what will be read next travels meanwhile.
  each_inbox(core_.loop->bell().peek(), [this](shard_id from) {
    const inbox& in = inboxes_[from];
    const queue* q = queues_.for_receiver(from, core_.id);
    if (q != nullptr) q->prefetch_pop(in.popped_total, queues_.capacity());
    if (in.likely_next != nullptr) prefetch_for_write(in.likely_next);
  });
  each_inbox(core_.loop->rung(), [this](shard_id from) { drain(from); });
}

void mailboxes::drain(shard_id sender) noexcept {
  queue* from = queues_.for_receiver(sender, core_.id);
  if (from == nullptr) return;
  std::array<std::uintptr_t, batch_max> batch;
  inbox& in = inboxes_[sender];
  std::size_t total = 0, count = 0;
  do {  // a full batch may be followed by more; what arrives after the last look has rung again
    count = from->entries.pop(batch.data(), batch.size());
    total += count;
    for (std::size_t i = 0; i < count; ++i) prefetch_for_write(&of(batch[i]));
    // What the replies will need travels while the requests do.
    if (count != 0 && kind_of(batch[0]) == kind::request) prefetch_push(sender);
    for (std::size_t i = 0; i < count; ++i) receive(in.stats, sender, batch[i]);
  } while (count == batch.size());
  if (total != 0) ++in.stats.batches;
  // Who calls in a loop has his message in the same place each time. Only the address is used, whatever is there.
  in.likely_next = total == 1 ? &of(batch[0]) : nullptr;
  // A sender that found the queue full left `capacity` entries in it, however many looks it takes to empty it: so one
  // look at the flag for every `capacity` entries finds it.
  std::uint64_t before = std::exchange(in.popped_total, in.popped_total + total);
  if (before / queues_.capacity() == in.popped_total / queues_.capacity()) return;
  if (from->starved.exchange(false, std::memory_order_seq_cst)) ring(sender);
}

void mailboxes::receive(pair_stats& stats, shard_id sender, std::uintptr_t entry) noexcept {
  message& m = of(entry);
  switch (kind_of(entry)) {
    case kind::request: {
      ++stats.requests;
      // The two shards read their clocks at different moments; a message cannot have waited less than nothing.
      const clock::duration waited = std::max(core_.now - m.sent_at_, clock::duration::zero());
      stats.queue_wait += waited;
      ++stats.waits[digits_of(waited)];
      m.sent_at_ = core_.now;
      observe::trace(observe::trace_kind::message_begin, m.its_.number, 0, sender);
      m.run_here();
      break;
    }
    case kind::cancel:
      m.cancel_here();
      put(sender, outboxes_[sender], m, kind::acknowledge);
      break;
    case kind::reply:
    case kind::acknowledge: one_returned(m); break;
  }
}

}  // namespace skerry::detail
