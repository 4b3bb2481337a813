// SPDX-License-Identifier: Apache-2.0
#pragma once

/// mailboxes: one shard's ends of the queues to and from all others.
///
///   shard A                                                 shard B
///   send(m) -> outbox[B] --flush--> queue A->B --poll--> m.run_here() ... reply(m) -> outbox[A]
///   m.come_home() <--poll-- queue B->A <--flush----------------------------------------'
///
/// A single-producer single-consumer queue per ordered pair of shards, made on first use, carries four kinds of entry
/// (two low bits of the pointer): requests, replies, cancels and their acknowledgements. An outbox is an array of
/// entries, flushed in one go. The queue's capacity is a batch size: what does not fit waits in the outbox, linked
/// through the messages themselves, so sending never blocks or fails, allocates only for a pair's first message, and
/// mutual calls cannot deadlock.
///
/// A message lives in the frame of the coroutine that awaits it:
///
///     idle --send--> in the outbox --flush--> with the target --reply--> home
///                        | cancel: home with this turn's       | cancel: a second entry follows it, and the message
///                        v flush, never sent                   v is home when both have come back
///
/// Affinity:   home shard; a message belongs to the sender until it is flushed, then to the receiver until it is home.
/// Ownership:  the sender's frame owns the message and keeps it until it is home.
/// Invariants: (1) every message comes home exactly once; (2) requests of a pair run in the order they were sent;
///             (3) an inbox with entries has its doorbell bit set, or its owner is about to look.
/// Limits:     `capacity` entries per queue (default 128); an outbox has 512 bytes, and the frames that wait link the
///             rest. A request leaves with the turn, or while tasks are ready 10 us after the last flush at the latest.

#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/this_shard.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace skerry {

class reactor;

/// Traffic from one shard to another, as the receiver has seen it.
struct pair_stats {
  using crosses_shards = pair_stats;
  std::uint64_t requests = 0;              ///< messages run
  std::uint64_t batches = 0;               ///< times the inbox was found filled
  std::chrono::nanoseconds queue_wait{0};  ///< sum over requests: from send() to the receiver's look
  std::array<std::uint64_t, 32> waits{};   ///< requests by binary digits of theirs in nanoseconds; the last, 31 or more
  /// Sum over those that were answered, from the look to the reply, by the shard's clock: none for what runs in one go.
  std::chrono::nanoseconds service_time{0};
  std::array<std::uint64_t, 32> services{};  ///< answers by binary digits of theirs
};

namespace detail {

/// One unit of cross-shard work. Its links belong to the shard whose outbox it is in; the fields that decide whose
/// message it is are the sender's and never change while it is away.
class message {
 public:
  static constexpr shard_id shards_max = 65'536;

  /// On the target: do the work, then `mailboxes::reply(*this)`, now or later.
  virtual void run_here() noexcept = 0;
  /// On the target: the sender no longer wants it. It must still be replied to, once.
  virtual void cancel_here() noexcept = 0;
  /// On the sender: the message is back and may go away.
  virtual void come_home() noexcept = 0;

  message(const message&) = delete;
  message& operator=(const message&) = delete;
  shard_id target() const noexcept { return its_.target; }
  bool home() const noexcept { return its_.due == 0; }  ///< the sender's question

 protected:
  explicit message(shard_id target) noexcept : its_(std::bit_cast<journey>(std::uint64_t{target} << 16)) {
    SKERRY_ASSERT(target < shards_max, "there is no such shard; shard numbers run from 0 to shard_count() - 1");
  }
  ~message() { SKERRY_ASSERT(home(), "a message lives until it has come home"); }

 private:
  friend class mailboxes;
  static constexpr std::uint8_t waits = 0xff;
  static constexpr std::uint8_t cancelled = 0x80;
  struct journey {
    std::uint16_t sender;
    std::uint16_t target;
    std::uint16_t number;  // for the trace: of all the sender's messages, modulo 2^16
    std::uint8_t slot;     // sender's: its place in the outbox's array; or `waits`: it is in the list
    std::uint8_t due;      // sender's: replies and acknowledgements to come, and whether it is cancelled
  };
  /// In one store: several narrow ones take as much time each.
  void set_out(std::uint64_t sender, std::uint64_t number, std::uint64_t slot) noexcept {
    static_assert(std::endian::native == std::endian::little);
    its_ = std::bit_cast<journey>(sender | std::uint64_t{its_.target} << 16 | (number & 0xffff) << 32 | slot << 48 |
                                  std::uint64_t{1} << 56);
  }

  // 32 bytes with the pointer to the virtual functions, so that a call with a small argument and result is one cache
  // line and a request costs one line each way.
  std::uintptr_t next_;  // the entry after that of the request, its cancel or its acknowledgement, in an outbox's list
  union {
    clock::time_point sent_at_;  // until the target has looked; then when it looked
    std::uintptr_t next_reply_;  // the entry after that of the reply
  };
  journey its_;
};

/// The queues of all ordered pairs of shards of one host. Each slot is written once, by the pair's sender.
class queue_matrix;
std::shared_ptr<queue_matrix> make_queue_matrix(shard_id shards, std::size_t capacity);

class mailboxes final : public poller {
 public:
  /// `peers[i]` is shard i's reactor; only its doorbell and backend are touched, and only to ring and wake.
  mailboxes(shard_core& core, queue_matrix& queues, const std::vector<reactor*>& peers);
  ~mailboxes();

  /// Sends `m` to its target, or runs it at once when that is this shard.
  void send(message& m) noexcept {
    SKERRY_ASSERT(m.its_.target < core_.count, "there is no such shard; shard numbers run from 0 to shard_count() - 1");
    SKERRY_ASSERT(m.home(), "a message is sent once at a time");
    if (m.its_.target == core_.id) {
      m.set_out(core_.id, 0, 0);
      ++ran_here_total_;
      return m.run_here();
    }
    outbox& out = outboxes_[m.its_.target];
    m.sent_at_ = core_.now;
    m.set_out(core_.id, ++sent_total_, out.count);
    if (core_.trace != nullptr) [[unlikely]]
      observe::trace(observe::trace_kind::message_sent, m.its_.number,
                     core_.current != nullptr ? core_.current->id() : 0, m.its_.target);
    put(m.its_.target, out, m, kind::request);
  }
  void hurry(shard_id target) noexcept { flush_one(target); }  ///< what waits for `target` goes now
  /// Sends `m` back to where it came from.
  void reply(message& m) noexcept {
    if (m.its_.sender == core_.id) return one_returned(m);
    observe::trace(observe::trace_kind::message_end, m.its_.number, 0, m.its_.sender);
    [[maybe_unused]] pair_stats& stats = inboxes_[m.its_.sender].stats;
    const clock::duration served = core_.now - m.sent_at_;
    stats.service_time += served;
    ++stats.services[digits_of(served)];
    put(m.its_.sender, outboxes_[m.its_.sender], m, kind::reply);
  }
  /// The sender no longer wants `m`. It will come home, perhaps within this call. Nothing if that is under way already.
  void cancel(message& m) noexcept;

  /// Sent and not home yet.
  std::size_t outstanding() const noexcept { return sent_total_ + ran_here_total_ - home_total_; }
  /// Waits until none is outstanding.
  auto until_home() {
    if (!home_) home_.emplace("messages to come home");
    outstanding() == 0 ? home_->set() : home_->reset();
    return home_->wait();
  }
  /// To other shards.
  std::uint64_t sent_total() const noexcept { return sent_total_; }
  /// Entries pushed for `target`, ever. While that stays the same, a message to it that was sent is not handed over.
  const std::uint64_t& pushed_total(shard_id target) const noexcept { return outboxes_[target].pushed_total; }
  /// Everything handed to this shard's outboxes is in the queues.
  bool flushed() const noexcept { return dirty_.empty(); }
  const pair_stats& received_from(shard_id sender) const noexcept { return inboxes_[sender].stats; }

  void poll() noexcept override;
  void flush() noexcept override;
  void wake_targets() noexcept override;

 private:
  enum class kind : std::uintptr_t { request = 0, reply = 1, cancel = 2, acknowledge = 3 };
  static message& of(std::uintptr_t entry) noexcept { return *reinterpret_cast<message*>(entry & ~std::uintptr_t{3}); }
  static kind kind_of(std::uintptr_t entry) noexcept { return static_cast<kind>(entry & 3); }
  /// Entries, linked through their messages; a request's slot says that it is here.
  struct list {
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    static std::uintptr_t& link(std::uintptr_t e, std::uint8_t slot = message::waits) noexcept {
      if (kind_of(e) == kind::request) of(e).its_.slot = slot;
      return kind_of(e) == kind::reply ? of(e).next_reply_ : of(e).next_;
    }
    void push_back(std::uintptr_t e) noexcept { link(e) = 0, (first == 0 ? first : link(last)) = e, last = e; }
    void push_front(std::uintptr_t e) noexcept { link(e) = first, last = first == 0 ? e : last, first = e; }
    std::uintptr_t pop() noexcept { return std::exchange(first, link(first, 0)); }
  };
  struct outbox {
    std::unique_ptr<std::uintptr_t[]> ready;  // `batch_max` entries, on first use
    std::uint32_t count = 0;                  // of them
    std::uint32_t cancelled = 0;              // requests, there or in `waiting`
    list waiting;                             // what found the queue full, before the ready ones
    std::uint64_t pushed_total = 0;           // entries, ever
    bool listed = false;                      // in dirty_
    bool urgent = false;                      // holds more than requests
  };
  struct inbox {
    std::uint64_t popped_total = 0;     // entries, ever
    const void* likely_next = nullptr;  // where the next entry may point to, to fetch it early
    pair_stats stats;
  };
  // Requests wait for company while tasks are ready that may send more, or a window of requests would shrink to single
  // messages, as each reply ends the task phase. This many go at once, so that the target works on them while the next
  // are made. Replies never wait.
  static constexpr std::size_t batch_max = 64;

  void put(shard_id target, outbox& out, message& m, kind what) noexcept {
    if (out.count == 0) mark_dirty(target);
    out.ready[out.count] = reinterpret_cast<std::uintptr_t>(&m) | static_cast<std::uintptr_t>(what);
    if (what != kind::request) out.urgent = true;
    if (++out.count == batch_max) flush_one(target);
  }
  static std::size_t digits_of(clock::duration d) noexcept {
    return std::min<std::size_t>(std::bit_width(static_cast<std::uint64_t>(d.count())), 31);
  }
  void mark_dirty(shard_id target) noexcept;
  void prefetch_push(shard_id target) noexcept;
  void one_returned(message& m) noexcept {
    SKERRY_ASSERT(!m.home(), "a message comes home once");
    if (m.its_.due != 1 && (--m.its_.due & ~message::cancelled) != 0) [[unlikely]]
      return;
    m.its_.due = 0;
    ++home_total_;
    if (home_ && outstanding() == 0) [[unlikely]]
      home_->set();
    if (m.its_.target != core_.id) observe::trace(observe::trace_kind::message_reply, m.its_.number, 0, m.its_.target);
    m.come_home();
  }
  bool flush_one(shard_id target) noexcept;
  std::size_t push(shard_id target, const std::uintptr_t* entries, std::size_t count) noexcept;
  void drain(shard_id sender) noexcept;
  void receive(pair_stats& stats, shard_id sender, std::uintptr_t entry) noexcept;
  void ring(shard_id target) noexcept;

  shard_core& core_;
  queue_matrix& queues_;
  std::vector<reactor*> peers_;
  std::vector<outbox> outboxes_;
  std::vector<inbox> inboxes_;
  std::vector<shard_id> dirty_;       // targets whose outbox may have something
  std::vector<shard_id> to_wake_;     // sleeping targets that this shard was the first to ring
  std::optional<event> home_;         // once somebody waits for the end of them
  std::uint64_t sent_total_ = 0;      // to other shards
  std::uint64_t ran_here_total_ = 0;  // to this one
  std::uint64_t home_total_ = 0;      // of both
};

/// This shard's mailboxes.
inline mailboxes& this_mailboxes() noexcept {
  shard_core& here = this_shard();
  SKERRY_ASSERT(here.boxes != nullptr, "this needs a shard of an app or of block_on");
  return *here.boxes;
}

}  // namespace detail

}  // namespace skerry
