// SPDX-License-Identifier: Apache-2.0
#pragma once

/// endpoint: what a stream stands for: descriptor, armed operations, bytes received and not read, bytes written and not
/// sent.
///
/// The rule it enforces: dropping a stream never loses what was written and never frees what the kernel still uses. The
/// handle may go at any time; the endpoint lives in its shard's pool until the closing order below is through.
///
///   in    multishot recv -> received_ -> read()        recv is cancelled while more than `buffers_max` are unread
///   out   write() -> pending_ -> sending_ -> kernel    one send in flight; what is written meanwhile goes next
///
///   open --handle dropped--> sending the rest --nothing left--> shut down our side
///        --peer's end, or linger passed--> cancel --last completions--> close --> freed
///
/// Bytes written in one turn leave in one send: the first write puts the endpoint on the pool's list, and the pool
/// sends in the flush phase.
///
/// Affinity:   home shard.
/// Ownership:  the pool; a stream is a handle.
/// Invariants: (1) at most one send and one recv in flight; (2) the descriptor is closed after the last completion.
/// Limits:     `buffers_max` receive buffers; `high_water` bytes in pending_ and as many in sending_; `linger`
///             after the handle is gone.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/io/byte_pool.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/timers/timer.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <span>

namespace skerry::net {

class endpoint_pool;
class endpoint;
class acceptor;
struct pool_tag;
struct flush_tag;

/// Waits for something of an endpoint; the two directions have one waiter each.
class endpoint_leaf : public detail::leaf {
 public:
  void progressed() noexcept { wake(); }

 protected:
  ~endpoint_leaf() = default;
};

class endpoint final : public skerry::detail::pooled,
                       public skerry::detail::list_hook<pool_tag>,
                       public skerry::detail::list_hook<flush_tag>,
                       private buffer_waiter {
 public:
  static constexpr unsigned buffers_max = 8;
  static constexpr std::size_t high_water = 64 * 1024;
  static constexpr std::chrono::milliseconds linger{500};
  static constexpr std::chrono::seconds send_rest_max{5};

  endpoint(endpoint_pool& pool, int fd, bool accepted) noexcept;
  ~endpoint();

  // --- in ---
  bool input_ready() const noexcept { return received_ != nullptr || input_ended_ || input_error_ != 0; }
  /// The next bytes; empty at the end. Throws std::system_error. Asserts input_ready().
  buffer take_input();
  void wait_for_input(endpoint_leaf* reader) noexcept;

  // --- out ---
  /// Takes as much as fits under the high-water mark and tells how much. Throws when the connection is broken.
  std::size_t give_output(std::span<const std::byte> bytes);
  bool output_empty() const noexcept { return pending_.empty() && sending_.empty(); }
  int output_error() const noexcept { return output_error_; }
  void wait_for_output(endpoint_leaf* writer) noexcept;
  void shut_down_output() noexcept;

  /// The handle is gone.
  void release() noexcept;
  /// No more input from the peer is wanted: readers get what has arrived, then the end.
  void end_input() noexcept;
  bool is_closing() const noexcept { return closing_ != closing::no; }
  int fd() const noexcept { return fd_; }
  bool accepted() const noexcept { return accepted_; }

  /// The pool's flush phase.
  void send_pending() noexcept;
  /// The pool's look at endpoints whose handle is gone; true when its time is up.
  void check_deadline(clock::time_point now) noexcept;

 private:
  struct received {
    static void* operator new(std::size_t bytes) { return frame_pool::allocate_frame(bytes); }
    static void operator delete(void* memory, std::size_t bytes) noexcept { frame_pool::release_frame(memory, bytes); }
    buffer bytes;
    received* next;
  };
  template <void (endpoint::*Done)(std::int32_t, std::uint32_t) noexcept>
  struct own_operation final : operation {
    explicit own_operation(endpoint& e) noexcept : owner(e) {}
    void complete(std::int32_t result, std::uint32_t flags) noexcept override { (owner.*Done)(result, flags); }
    endpoint& owner;
  };

  void recv_done(std::int32_t result, std::uint32_t flags) noexcept;
  void send_done(std::int32_t result, std::uint32_t flags) noexcept;
  void control_done(std::int32_t result, std::uint32_t flags) noexcept;
  void buffer_available() noexcept override;
  void arm_recv() noexcept;
  void store(buffer bytes) noexcept;
  void wake_reader() noexcept;
  void wake_writer() noexcept;
  void submit_shutdown() noexcept;
  void advance_close() noexcept;

  enum class closing : std::uint8_t { no, sending_rest, lingering, cancelling, closing_fd };

  endpoint_pool& pool_;
  int fd_;
  int input_error_ = 0;
  int output_error_ = 0;
  unsigned received_count_ = 0;
  closing closing_ = closing::no;
  bool accepted_;
  bool input_ended_ = false;  // readers get the end after what is queued
  bool peer_ended_ = false;   // the peer's end, or an error, has come
  bool paused_ = false;       // enough is unread: recv stays unarmed
  bool shutdown_wanted_ = false;
  bool shutdown_done_ = false;
  endpoint_leaf* reader_ = nullptr;
  endpoint_leaf* writer_ = nullptr;
  received* received_ = nullptr;
  received* received_last_ = nullptr;
  byte_queue pending_;
  byte_queue sending_;
  clock::time_point deadline_{};
  own_operation<&endpoint::recv_done> recv_{*this};
  own_operation<&endpoint::send_done> send_{*this};
  own_operation<&endpoint::control_done> control_{*this};
};

/// All endpoints and acceptors of one shard.
class endpoint_pool final : public poller, public drainable, private timers::timer {
 public:
  explicit endpoint_pool(shard& home);
  ~endpoint_pool();

  endpoint* adopt(int fd, bool accepted);
  void flush() noexcept override;
  void poll() noexcept override {}
  void begin_drain() noexcept override;
  bool drained() const noexcept override;
  bool empty() const noexcept override;

  /// Open endpoints, closing ones included.
  std::size_t size() const noexcept { return size_; }
  std::uint64_t accept_failures() const noexcept { return accept_failures_; }

 private:
  friend class endpoint;
  friend class acceptor;
  void want_flush(endpoint& e) noexcept;
  void handle_gone() noexcept;
  void freed(endpoint& e) noexcept;
  void expired() noexcept override;

  shard& home_;
  byte_pool& bytes_;
  buffer_pool& buffers_;
  backend& kernel_;
  skerry::detail::intrusive_list<endpoint, pool_tag> all_;
  skerry::detail::intrusive_list<endpoint, flush_tag> to_flush_;
  skerry::detail::intrusive_list<acceptor, pool_tag> acceptors_;
  std::size_t size_ = 0;
  std::size_t accepted_ = 0;
  std::uint64_t accept_failures_ = 0;
};

/// This shard's pool; made on first use.
endpoint_pool& this_endpoints();

}  // namespace skerry::net
