// SPDX-License-Identifier: Apache-2.0
#pragma once

/// mailboxes: one shard's ends of the queues to and from all others.
///
///   shard A                                                 shard B
///   send(m) -> outbox[B] --flush--> queue A->B --poll--> m.run_here() ... reply(m) -> outbox[A]
///   m.come_home() <--poll-- queue B->A <--flush----------------------------------------'
///
/// A single-producer single-consumer queue per ordered pair of shards, made on first use, carries four kinds of entry
/// (two low bits of the pointer): requests, replies, cancels and their acknowledgements. Its capacity is a batch size:
/// what does not fit waits in the outbox, linked through the messages themselves, so sending never blocks, fails or
/// allocates, and mutual calls cannot deadlock.
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
/// Limits:     `capacity` entries per queue (default 128); outboxes are bounded by the frames that wait. A request
///             leaves its outbox with the turn, or while tasks are ready 10 us after the last flush at the latest.

#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/this_shard.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
  shard_id target() const noexcept { return target_; }
  bool handed_over() const noexcept { return handed_over_; }  ///< the sender's question: nothing may be added to it

 protected:
  explicit message(shard_id target) noexcept : target_(static_cast<std::uint16_t>(target)) {
    SKERRY_ASSERT(target < shards_max, "there is no such shard; shard numbers run from 0 to shard_count() - 1");
  }
  ~message() { SKERRY_ASSERT(returns_due_ == 0, "a message lives until it has come home"); }

 private:
  friend class mailboxes;
  // 41 bytes with the pointer to the virtual functions, so that a call with a small argument and result is one cache
  // line and a request costs one line each way.
  message* next_;         // in an outbox
  message* next_cancel_;  // in a list of cancels or acknowledgements
  clock::time_point sent_at_;
  std::uint16_t sender_ = 0;
  std::uint16_t target_;
  std::uint16_t number_ = 0;      // for the trace: of all the sender's messages, modulo 2^16
  std::uint8_t returns_due_ = 0;  // sender's: replies and acknowledgements to come
  bool handed_over_ = false;      // sender's: pushed into the queue
  bool cancel_sent_ = false;      // sender's
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
    SKERRY_ASSERT(m.target_ < core_.count, "there is no such shard; shard numbers run from 0 to shard_count() - 1");
    SKERRY_ASSERT(m.returns_due_ == 0, "a message is sent once at a time");
    m.sender_ = static_cast<std::uint16_t>(core_.id);
    m.returns_due_ = 1;
    m.handed_over_ = false;
    m.cancel_sent_ = false;
    ++outstanding_;
    if (m.target_ == core_.id) return m.run_here();
    m.sent_at_ = core_.now;
    m.number_ = static_cast<std::uint16_t>(++sent_total_);
    observe::trace(observe::trace_kind::message_sent, m.number_, core_.current != nullptr ? core_.current->id() : 0,
                   m.target_);
    put(m.target_, m);
  }
  void hurry(shard_id target) noexcept { flush_one(target); }  ///< what waits for `target` goes now
  /// Sends `m` back to where it came from.
  void reply(message& m) noexcept {
    if (m.sender_ == core_.id) return one_returned(m);
    observe::trace(observe::trace_kind::message_end, m.number_, 0, m.sender_);
    outboxes_[m.sender_].urgent = true;
    put(m.sender_, m);
  }
  /// The sender no longer wants `m`. It will come home, perhaps within this call. Nothing if that is under way already.
  void cancel(message& m) noexcept;

  /// Sent and not home yet.
  std::size_t outstanding() const noexcept { return outstanding_; }
  /// Waits until none is outstanding.
  auto until_home() {
    if (!home_) home_.emplace("messages to come home");
    outstanding_ == 0 ? home_->set() : home_->reset();
    return home_->wait();
  }
  /// To other shards.
  std::uint64_t sent_total() const noexcept { return sent_total_; }
  /// Everything handed to this shard's outboxes is in the queues.
  bool flushed() const noexcept { return dirty_.empty(); }
  const pair_stats& received_from(shard_id sender) const noexcept { return inboxes_[sender].stats; }

  void poll() noexcept override;
  void flush() noexcept override;
  void wake_targets() noexcept override;

 private:
  enum class kind : std::uintptr_t { request = 0, reply = 1, cancel = 2, acknowledge = 3 };
  /// First in, first out, through one of the links of its messages.
  template <message* message::* Next>
  struct chain_of {
    message* first = nullptr;
    message* last = nullptr;
    void push(message& m) noexcept {
      m.*Next = nullptr;
      (first == nullptr ? first : last->*Next) = &m;
      last = &m;
    }
  };
  struct outbox {
    chain_of<&message::next_> messages;        // requests of ours, replies of theirs
    chain_of<&message::next_cancel_> cancels;  // cancels of ours, acknowledgements of theirs
    bool listed = false;                       // in dirty_
    bool urgent = false;                       // holds more than requests
    std::uint32_t put = 0;                     // messages since the last flush
    std::uint64_t pushed_total = 0;            // entries, ever
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

  void put(shard_id target, message& m) noexcept {
    outbox& out = outboxes_[target];
    out.messages.push(m);
    if (!out.listed) mark_dirty(target);
    if (++out.put == batch_max) flush_one(target);
  }
  /// A cancel or its acknowledgement.
  void put_cancel(shard_id target, message& m) noexcept;
  void mark_dirty(shard_id target) noexcept;
  void prefetch_push(shard_id target) noexcept;
  void one_returned(message& m) noexcept {
    SKERRY_ASSERT(m.returns_due_ > 0, "a message comes home once");
    if (--m.returns_due_ != 0) return;
    if (--outstanding_ == 0 && home_) [[unlikely]]
      home_->set();
    if (m.target_ != core_.id) observe::trace(observe::trace_kind::message_reply, m.number_, 0, m.target_);
    m.come_home();
  }
  bool flush_one(shard_id target) noexcept;
  template <message* message::* Next>
  bool push_all(shard_id target, chain_of<Next>& from, kind ours, kind theirs) noexcept;
  void drain(shard_id sender) noexcept;
  void receive(pair_stats& stats, shard_id sender, std::uintptr_t entry) noexcept;
  void ring(shard_id target) noexcept;

  shard_core& core_;
  queue_matrix& queues_;
  std::vector<reactor*> peers_;
  std::vector<outbox> outboxes_;
  std::vector<inbox> inboxes_;
  std::vector<shard_id> dirty_;    // targets whose outbox may have something
  std::vector<shard_id> to_wake_;  // sleeping targets that this shard was the first to ring
  std::size_t outstanding_ = 0;
  std::optional<event> home_;  // once somebody waits for the end of them
  std::uint64_t sent_total_ = 0;
};

/// This shard's mailboxes.
inline mailboxes& this_mailboxes() noexcept {
  shard_core& here = this_shard();
  SKERRY_ASSERT(here.boxes != nullptr, "this needs a shard of an app or of block_on");
  return *here.boxes;
}

}  // namespace detail

}  // namespace skerry
