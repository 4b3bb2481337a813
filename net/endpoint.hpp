// SPDX-License-Identifier: Apache-2.0
#pragma once

/// endpoint: what a stream stands for: descriptor, armed operations, bytes received and not read, bytes written and not
/// sent.
///
/// The rule it enforces: dropping a stream never loses what was written and never frees what the kernel still uses. The
/// handle may go at any time; the endpoint lives in its shard's pool until the closing order below is through.
///
///   in    multishot recv -> received_ -> read()        `buffers_max` unread: recv is cancelled until half are read
///   out   write() -> pending_ -> sending_ -> kernel    one send in flight; what is written meanwhile goes next
///
///     open --handle dropped--> sending the rest --nothing left--> shut down our side
///        --lingering: see below--> cancel --last completions--> close --> freed
///
/// Lingering: a close while the peer still sends is answered with a reset, and a reset may overtake our last bytes. So
/// the endpoint reads and drops what comes until the peer ends its side, or `linger` has passed. A drain does not wait
/// that long for a peer that is merely idle: when the peer's kernel has acknowledged all our bytes and nothing has come
/// for some looks (if nothing was unread, at once), closing loses nothing. Rejected: closing so at any time. Outside a
/// drain nobody waits for the close, and a peer in the middle of an upload that is silent for a round trip would find a
/// reset instead of our answer.
///
/// A drain ends the input: readers get what has arrived, then the end. But a request that is on its way when the drain
/// begins is served. So whoever connected less than `first_bytes_max` ago and has said nothing yet, and whose bytes the
/// kernel has, are waited for that long: the end comes when something has come and nothing more since the last look.
///
/// A large send may leave its memory to the kernel (detail/zero_copy_send.hpp): what the kernel has taken then stays in
/// `held_` pieces until the peer has it. Neither the next send nor a move waits for that, but the close does.
///
/// Bytes written in one turn leave in one send: the first write puts the endpoint on the pool's list, and the pool
/// sends in the flush phase.
///
/// What cannot be sent (the kernel refuses, or the peer does not take it in `send_rest_max`) ends in a reset: an end of
/// stream in its place would tell the peer that it has everything.
///
/// A reset breaks both directions at once, whichever operation hears of it: the reader gets what had arrived and then
/// the error, never an end of stream, and a writer does not wait for a send to find out. So does a send that our own
/// kernel refuses (ENOMEM): no write may hear of it any more, and who reads would wait for the answer to what was lost.
///
/// One that moves to another shard leaves by detail/moving.hpp: receive and send are cancelled, and when both have
/// answered all that is here is packed.
///
/// Affinity:   home shard.
/// Ownership:  the pool; a stream is a handle.
/// Invariants: (1) at most one recv in flight, and one send that is not answered, or close; (2) the descriptor is
///             closed after the last completion, but for those of pieces that a reset gives up; (3) recv is unarmed
///             while paused, starved of buffers, or not wanted any more; (4) one that has left has no descriptor.
/// Limits:     `buffers_max` receive buffers, with what the kernel handed over in the same entry at most
///             `buffers_max - 1 + buffers_per_entry`; `high_water` bytes in pending_, as many in sending_, and in each
///             of zero_copy_send::held_max pieces; `send_rest_max` and then `linger` after the handle is gone, or
///             `held_rest_max` while pieces are held, counted when they run out. 224 bytes.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <span>
#include <vector>

namespace skerry::net {

namespace detail {
struct parcel;
class freed_descriptors;
class zero_copy_send;
struct held_tag;
}  // namespace detail
class endpoint_pool;
class endpoint;
class acceptor;
struct pool_tag;

/// Waits for something of an endpoint; the two directions have one waiter each.
class endpoint_leaf : public skerry::detail::leaf {
 public:
  void progressed() noexcept { wake(); }

 protected:
  ~endpoint_leaf() = default;
};

// Bases of the endpoint rather than members, so that they need no pointer back: idle connections are many.
struct in_operation : operation {
  void complete(std::int32_t result, std::uint32_t flags) noexcept final;
};
struct out_operation : operation {
  void complete(std::int32_t result, std::uint32_t flags) noexcept final;
};

class endpoint final : public skerry::detail::pooled,
                       public skerry::detail::list_hook<pool_tag>,
                       private buffer_waiter,
                       private in_operation,
                       private out_operation {
 public:
  static constexpr unsigned buffers_max = 8;
  /// What the kernel hands over of one socket in one entry is 32 completions; before 6.8, whatever the socket's own
  /// buffer holds. In bundles `bundle_bytes` come until the next submission, with one or many; each of the 32 may leave
  /// its last buffer nearly empty.
  static constexpr std::uint32_t bundle_bytes = 16 * buffer_pool::buffer_bytes;
  static constexpr unsigned buffers_per_entry = 32 + bundle_bytes / buffer_pool::buffer_bytes;
  static constexpr std::size_t high_water = 64 * 1024;
  static constexpr std::chrono::milliseconds linger{500};
  static constexpr std::chrono::milliseconds drain_look{20};
  static constexpr std::uint8_t quiet_looks = 5;
  static constexpr std::chrono::seconds send_rest_max{5};
  /// As the kernel does for a socket that was closed before its peer had acknowledged all.
  static constexpr std::chrono::seconds held_rest_max{60};
  static constexpr std::chrono::milliseconds first_bytes_max{500};

  endpoint(endpoint_pool& pool, int fd, bool accepted, std::uint16_t server) noexcept;
  ~endpoint();

  // --- in ---
  bool input_ready() const noexcept { return received_ != nullptr || input_ended_ || input_error_ != 0; }
  /// The next bytes; empty at the end. Throws std::system_error. Asserts input_ready().
  buffer take_input();
  void wait_for_input(endpoint_leaf* reader) noexcept;
  /// The next input, before what is there. Throws std::system_error when there is no room, and puts nothing back.
  void put_back(std::span<const std::byte> bytes);

  // --- out ---
  /// Takes as much as fits under the high-water mark and tells how much. Throws when the connection is broken.
  std::size_t give_output(std::span<const std::byte> bytes);
  /// Whether the end that readers get is a drain's, and not the peer's.
  bool ended_by_drain() const noexcept { return input_ended_ && !peer_ended_; }
  /// Whether a drain has cut the input off, whatever the peer has done.
  bool cut_off() const noexcept { return cut_off_; }
  bool output_empty() const noexcept { return pending_.empty() && sending_.empty(); }
  int output_error() const noexcept { return output_error_; }
  void wait_for_output(endpoint_leaf* writer) noexcept;
  void shut_down_output() noexcept;
  /// Drops what is unsent; the close is a reset.
  void reset() noexcept;

  // --- to another shard ---
  /// Receives and sends no more; what is under way is asked to end.
  void begin_leaving() noexcept;
  bool may_leave() const noexcept { return !in().in_flight() && !sends(); }
  /// All there is to move, with the descriptor. Throws std::bad_alloc.
  detail::parcel pack();
  /// It lives on elsewhere.
  void leave() noexcept;
  /// It does not leave: as before, but for its handle.
  void come_back(unique_fd own) noexcept;

  /// The handle is gone.
  void release() noexcept;
  /// In a drain no more input from the peer is wanted: readers get what has arrived, then the end.
  void end_input() noexcept;
  /// The same, once what is on its way has come; `arrived`: with a parcel, and the kernel has not been asked since.
  void begin_drain(bool arrived = false) noexcept;
  int fd() const noexcept { return fd_; }
  void check_home() const noexcept { home_.check("a connection"); }
  /// Whether a drain ends its input and waits for it.
  bool accepted() const noexcept { return accepted_; }
  /// The number on this shard of the server that it belongs to; 0 for none.
  std::uint16_t server() const noexcept { return server_; }

  /// The pool's flush phase.
  void send_pending() noexcept;
  /// The pool's look at endpoints whose handle is gone or whose input is to end.
  void check_deadline(clock::time_point now) noexcept;

 private:
  friend class endpoint_pool;
  friend struct in_operation;
  friend struct out_operation;
  friend class detail::zero_copy_send;

  struct received {
    static void* operator new(std::size_t bytes) { return frame_pool::allocate_frame(bytes); }
    static void operator delete(void* memory, std::size_t bytes) noexcept { frame_pool::release_frame(memory, bytes); }
    buffer bytes;
    received* next;
  };
  enum class closing : std::uint8_t { no, sending_rest, lingering, cancelling, closing_fd };

  /// What has come in a parcel; its descriptor is still there.
  endpoint(endpoint_pool& pool, const detail::parcel& from, std::uint16_t server);

  in_operation& in() noexcept { return *this; }
  const in_operation& in() const noexcept { return *this; }
  const out_operation& out() const noexcept { return *this; }
  out_operation& out() noexcept { return *this; }
  buffer_waiter& starved() noexcept { return *this; }
  void in_done(std::int32_t result, std::uint32_t flags) noexcept;
  void out_done(std::int32_t result) noexcept;
  void sent(std::int32_t result) noexcept;
  void buffer_available() noexcept override;
  bool wants_input() const noexcept;
  void arm_recv() noexcept;
  void resume_recv() noexcept;
  void take_received(std::uint16_t number, std::uint32_t bytes, bool wanted) noexcept;
  void store(buffer bytes) noexcept;
  void drop_received() noexcept;
  bool sends() const noexcept { return out().in_flight() || zero_copy_ != nullptr; }
  void cancel_send() noexcept;
  void go_on_sending() noexcept;
  void let_go_of_piece() noexcept;
  void end_output() noexcept;
  void break_output(int error) noexcept;
  void wake_reader() noexcept;
  void wake_writer() noexcept;
  bool peer_lacks_held() noexcept;
  void linger_from(clock::time_point now) noexcept;
  bool may_close() noexcept;
  void advance_close() noexcept;

  endpoint_pool& pool_;
  endpoint_leaf* reader_ = nullptr;
  endpoint_leaf* writer_ = nullptr;
  received* received_ = nullptr;
  received* received_last_ = nullptr;
  byte_queue pending_;
  byte_queue sending_;
  detail::zero_copy_send* zero_copy_ = nullptr;  // sends sending_ instead of out()
  clock::time_point deadline_;  // for the first bytes in a drain; once it closes, of the step that it is in
  int fd_;
  std::int16_t input_error_ = 0;  // an errno
  std::int16_t output_error_ = 0;
  std::uint16_t received_count_ = 0;
  std::uint16_t server_;
  closing closing_ = closing::no;
  std::uint8_t looks_until_quiet_ : 4 = 0;  // nobody reads any more, and the peer has sent something lately
  std::uint8_t held_ : 4 = 0;               // sends that the kernel has taken and still reads
  bool accepted_ : 1;
  bool input_ended_ : 1 = false;      // readers get the end after what is queued
  bool peer_ended_ : 1 = false;       // the peer's end, or an error, has come
  bool cut_off_ : 1 = false;          // by a drain
  bool paused_ : 1 = false;           // enough is unread: recv stays unarmed
  bool shutdown_wanted_ : 1 = false;  // done as soon as everything written is with the kernel
  bool to_flush_ : 1 = false;         // on the pool's list
  bool heard_ : 1 = false;            // something has come from the peer
  bool heard_lately_ : 1 = false;     // since the last look
  bool ends_soon_ : 1 = false;        // a drain waits for what is on its way
  bool leaving_ : 1 = false;          // to another shard
  bool drain_begun_ : 1 = false;      // meanwhile: the next shard's to deal with
  bool zero_copy_tried_ : 1 = false;  // or thought of
  bool held_elsewhere_ : 1 = false;   // by the kernel, since before it moved here
  bool copied_only_ : 1 = false;      // a send that leaves its memory to the kernel gains nothing here
  [[no_unique_address]] home_stamp home_;
};

/// What one shard's endpoints have come to, since the start where not told otherwise.
struct endpoint_stats {
  using crosses_shards = endpoint_stats;
  std::size_t endpoints = 0;           ///< open now, closing ones included
  std::size_t listeners = 0;           ///< open now, closing ones included
  std::uint64_t accept_failures = 0;   ///< times accepting had to pause, mostly for lack of descriptors
  std::uint64_t rests_dropped = 0;     ///< peers that did not take what was written within send_rest_max
  std::uint64_t lingers_passed = 0;    ///< peers that did not end their side within linger
  std::uint64_t zero_copy_sends = 0;   ///< left to the kernel to read
  std::uint64_t zero_copy_copied = 0;  ///< of these, copied by the kernel after all
};

/// All endpoints and acceptors of one shard.
class endpoint_pool final : public poller, public drainable, private timers::timer {
 public:
  explicit endpoint_pool(shard& home);
  ~endpoint_pool();

  /// Takes the descriptor over, also when it throws. `draining`: a drain of its server has begun.
  endpoint* adopt(int fd, bool accepted, std::uint16_t server = 0, bool draining = false);
  /// What a parcel has. Throws when memory is lacking, and takes nothing then.
  endpoint* adopt(detail::parcel& from, std::uint16_t server, bool draining);
  /// The drain of one server, by its number.
  void begin_drain_of(std::uint16_t server) noexcept;
  void flush() noexcept override;
  void poll() noexcept override {}
  void begin_drain() noexcept override;
  bool drained() const noexcept override;
  bool empty() const noexcept override;

  /// Open endpoints, closing ones included.
  std::size_t size() const noexcept { return stats_.endpoints; }
  const endpoint_stats& stats() const noexcept { return stats_; }

 private:
  friend class endpoint;
  friend class acceptor;
  friend class detail::zero_copy_send;
  void want_flush(endpoint& e);
  void publish();
  void look_soon() noexcept;
  void freed(endpoint& e) noexcept;
  void gone(endpoint& e) noexcept;
  void expired() noexcept override;

  shard& home_;
  byte_pool& bytes_;
  buffer_pool& buffers_;
  detail::freed_descriptors& freed_descriptors_;
  backend& kernel_;
  skerry::detail::intrusive_list<endpoint, pool_tag> all_;
  skerry::detail::intrusive_list<acceptor, pool_tag> acceptors_;
  skerry::detail::intrusive_list<detail::zero_copy_send, detail::held_tag> held_;
  std::vector<endpoint*> to_flush_;  // keeps its memory; nothing is freed between a write and the flush phase behind it
  std::size_t accepted_ = 0;
  std::size_t closing_ = 0;
  std::size_t ending_soon_ = 0;
  clock::time_point next_look_{};
  endpoint_stats stats_;
  std::vector<observe::registration> published_;
};

/// This shard's pool; made on first use.
endpoint_pool& this_endpoints();

}  // namespace skerry::net
