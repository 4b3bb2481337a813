// SPDX-License-Identifier: Apache-2.0
#pragma once

/// mailboxes: one shard's ends of the queues to and from all others.
///
///   shard A                                                 shard B
///   send(m) -> outbox[B] --flush--> queue A->B --poll--> m.run_here() ... reply(m) -> outbox[A]
///   m.come_home() <--poll-- queue B->A <--flush----------------------------------------'
///
/// There is one single-producer single-consumer queue per ordered pair of shards, made on first use; it carries four
/// kinds of entry, told apart by the two low bits of the pointer: requests, replies, cancels and their
/// acknowledgements. Its capacity is a batch size, not a limit: what does not fit waits in the outbox, linked through
/// the messages themselves, so sending never blocks, never fails and never allocates, and mutual calls cannot deadlock.
///
/// A message lives in the frame of the coroutine that awaits it:
///
///     idle --send--> in the outbox --flush--> with the target --reply--> home
///                        | cancel: taken out, home at once     | cancel: a second entry follows it, and the message
///                        v                                     v is home when both have come back
///
/// Affinity:   home shard; a message belongs to the sender until it is flushed, then to the receiver until it is home.
/// Ownership:  the sender's frame owns the message and keeps it until it is home.
/// Invariants: (1) every message comes home exactly once; (2) requests of a pair run in the order they were sent; (3)
///             an inbox with entries has its doorbell bit set, or its owner is about to look.
/// Limits:     `capacity` entries per queue (default 128); outboxes are bounded by the frames that wait.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/this_shard.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace skerry {

class reactor;
class host;

/// Traffic from one shard to another, as the sender or the receiver has seen it.
struct pair_stats {
  std::uint64_t requests = 0;              ///< messages run at the receiver
  std::uint64_t batches = 0;               ///< times the receiver found the inbox filled
  std::chrono::nanoseconds queue_wait{0};  ///< sum over requests: from send() to the receiver's look
};

}  // namespace skerry

namespace skerry::detail {

struct outbox_tag;
struct cancel_box_tag;

/// One unit of cross-shard work.
class message : public list_hook<outbox_tag>, public list_hook<cancel_box_tag> {
 public:
  /// On the target: do the work, then `mailboxes::reply(*this)`, now or later.
  virtual void run_here() noexcept = 0;
  /// On the target: the sender no longer wants it. It must still be replied to, once.
  virtual void cancel_here() noexcept = 0;
  /// On the sender: the message is back and may go away.
  virtual void come_home() noexcept = 0;

  shard_id sender() const noexcept { return sender_; }
  shard_id target() const noexcept { return target_; }

 protected:
  explicit message(shard_id target) noexcept : target_(target) {}
  ~message() { SKERRY_ASSERT(returns_due_ == 0, "a message lives until it has come home"); }

 private:
  friend class mailboxes;
  shard_id sender_ = 0;
  shard_id target_;
  std::uint8_t returns_due_ = 0;  // sender's: replies and acknowledgements to come
  bool handed_over_ = false;      // sender's: its outbox link belongs to the receiver now
  bool cancel_sent_ = false;      // sender's
  clock::time_point sent_at_{};
};

/// The queues of all ordered pairs of shards of one host. Each slot is written once, by the pair's sender.
class queue_matrix;
struct free_queue_matrix {
  void operator()(queue_matrix* matrix) const noexcept;
};
std::unique_ptr<queue_matrix, free_queue_matrix> make_queue_matrix(shard_id shards, std::size_t capacity);

class mailboxes final : public poller {
 public:
  /// `peers[i]` is shard i's reactor; only its doorbell and backend are touched, and only to ring and wake.
  mailboxes(shard_core& core, queue_matrix& queues, const std::vector<reactor*>& peers);
  ~mailboxes();

  /// Sends `m` to its target, or runs it at once when that is this shard.
  void send(message& m) noexcept;
  /// Sends `m` back to where it came from.
  void reply(message& m) noexcept;
  /// The sender no longer wants `m`. It will come home, perhaps within this call. Nothing if that is under way already.
  void cancel(message& m) noexcept;

  /// Messages of this shard that are not home yet.
  std::size_t outstanding() const noexcept { return outstanding_; }
  /// Everything handed to this shard's outboxes is in the queues.
  bool flushed() const noexcept { return dirty_.empty(); }

  /// Waits until at most `left` messages of this shard are not home yet.
  class home_awaiter final : public leaf {
   public:
    home_awaiter(mailboxes& boxes, std::size_t left) noexcept : boxes_(boxes), left_(left) {}
    bool await_ready() const noexcept { return boxes_.outstanding_ <= left_; }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      boxes_.home_waiter_ = this;
      suspend(resume_point);
    }
    void await_resume() const noexcept {}
    void let_go() noexcept override {
      boxes_.home_waiter_ = nullptr;
      wake();
    }
    const char* describe() const noexcept override { return "messages to come home"; }

   private:
    friend class mailboxes;
    mailboxes& boxes_;
    std::size_t left_;
  };
  home_awaiter until_home(std::size_t left) noexcept { return {*this, left}; }

  /// What has arrived here from `sender`.
  const pair_stats& received_from(shard_id sender) const noexcept { return received_[sender]; }

  void poll() noexcept override;
  void flush() noexcept override;
  void wake_targets() noexcept override;

 private:
  enum class kind : std::uintptr_t { request = 0, reply = 1, cancel = 2, acknowledge = 3 };
  struct outbox {
    intrusive_list<message, outbox_tag> messages;     // requests of ours, replies of theirs
    intrusive_list<message, cancel_box_tag> cancels;  // cancels of ours, acknowledgements of theirs
    bool listed = false;                              // in dirty_
  };
  static constexpr std::size_t batch_max = 64;

  void mark_dirty(shard_id target) noexcept;
  bool flush_one(shard_id target) noexcept;
  void drain(shard_id sender) noexcept;
  void receive(shard_id sender, std::uintptr_t entry) noexcept;
  void one_returned(message& m) noexcept;
  void ring(shard_id target) noexcept;

  shard_core& core_;
  queue_matrix& queues_;
  std::vector<reactor*> peers_;
  std::vector<outbox> outboxes_;
  std::vector<shard_id> dirty_;    // targets whose outbox may have something
  std::vector<shard_id> to_wake_;  // sleeping targets that this shard was the first to ring
  std::vector<pair_stats> received_;
  std::size_t outstanding_ = 0;
  home_awaiter* home_waiter_ = nullptr;
};

}  // namespace skerry::detail
