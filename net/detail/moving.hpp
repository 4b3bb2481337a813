// SPDX-License-Identifier: Apache-2.0
#pragma once

/// moving: how a connection gets from one shard to another, behind stream::move_to.
///
///     source                                           target
///     open --begin_leaving(): cancel receive and send
///       leaving --last completions--> packed ----parcel----> arrival: opened, a new endpoint
///                                     |  ^                     counted there, and replied at once
///          cancelled, or refused:     |  '---- reply --------- or, while something drains: the handler's end
///          unpacked, closed in order <'
///                                     '--> opened: freed
///
/// The parcel has the descriptor, the bytes that were received and not read, those that were written and not sent, an
/// end or an error that has come already, and what is wanted of the endpoint (a half-close, a drain). Nothing waits for
/// the peer: a send under way is cancelled, and what it has not sent travels along.
///
/// The endpoint stays at the source, without a descriptor, until the reply. So a drain, which asks every shard for
/// itself, sees the connection on one shard at least. It might have asked the target already; so where a drain is under
/// way the handler runs inside the message, and the source, which waits for the reply, stands for it.
///
/// A server's connection takes its place along: it counts in the target's part, and its task at the source does not
/// any more. Whose stream is no longer with the connection's task, or a branch of that, is no server's any more.
///
/// Affinity:     the departure on the source, the arrival on the target, both while the message is out.
/// Ownership:    the parcel lives in the frame of move_to; the target takes the descriptor out of it, or leaves all.
/// Invariants:   (1) the descriptor is an endpoint's or a parcel's; (2) nothing is armed on it in a parcel; (3) a
///               place is taken along exactly when the target has counted the connection.
/// Cancellation: until the target has opened it, the connection is closed as one whose handle was dropped; then it is
///               the target's, and only in a drain goes with the one who moved it.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/server_options.hpp>
#include <skerry/net/socket.hpp>

#include <coroutine>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace skerry::net {
class stream;
}

namespace skerry::net::detail {

class server_part;
class connection_task;

/// A connection without a shard.
struct parcel {
  using crosses_shards = parcel;
  explicit parcel(unique_fd connection) noexcept : fd(std::move(connection)) {}
  bool opened() const noexcept { return fd.get() < 0; }

  unique_fd fd;
  std::string unread;
  std::string unsent;
  server_id server = 0;           ///< 0 for none
  clock::time_point first_bytes;  ///< until when a drain waits for them
  std::int16_t input_error = 0;   ///< errnos
  std::int16_t output_error = 0;
  bool accepted = false;
  bool heard = false;
  bool input_ended = false;
  bool peer_ended = false;
  bool shutdown_wanted = false;
  bool draining = false;
  bool held = false;       ///< the source's kernel may still read what was sent without copying
  bool has_place = false;  ///< of that server: it counts there, and is to count at the target
  bool counted = false;    ///< set by the target: it does
};

/// On the source: from the first cancel to the reply.
class departure {
 public:
  explicit departure(endpoint& leaving);
  ~departure();
  departure(const departure&) = delete;
  departure& operator=(const departure&) = delete;

  /// Waits until the kernel has let go of the descriptor.
  class [[nodiscard("co_await it")]] let_go_awaiter final : public endpoint_leaf {
   public:
    explicit let_go_awaiter(endpoint& e) noexcept : endpoint_(e) {}
    bool await_ready() const noexcept { return endpoint_.may_leave(); }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      endpoint_.wait_for_input(this);
      suspend(resume_point);
    }
    void await_resume() const noexcept {}
    void let_go() noexcept override {
      endpoint_.wait_for_input(nullptr);
      wake();
    }
    const char* describe() const noexcept override { return "move"; }

   private:
    endpoint& endpoint_;
  };
  /// To be awaited until may_pack().
  let_go_awaiter until_let_go() noexcept { return let_go_awaiter(leaving_); }
  bool may_pack() const noexcept { return leaving_.may_leave(); }
  parcel& pack();

 private:
  endpoint& leaving_;
  connection_task* counted_;  // who counts for it here
  std::optional<parcel> packed_;
};

/// Starts a handler as a task of this shard's root scope; where its connection counts, as one of its server.
class connection_start {
 public:
  /// Throws std::bad_alloc.
  connection_start(server_part* counts_for, int fd);
  ~connection_start();
  connection_start(const connection_start&) = delete;
  connection_start& operator=(const connection_start&) = delete;
  void begin(task<> body);

 private:
  connection_task* node_ = nullptr;
};

/// On the target.
class arrival {
 public:
  /// Throws std::system_error(operation_canceled) when this shard is stopping.
  explicit arrival(parcel& from);
  /// The connection, with all that came along. Throws when memory is lacking, and then takes nothing.
  stream open();
  /// Whether something drains: the sender is to wait for the end.
  bool sender_waits() const noexcept { return sender_waits_; }
  /// Starts its handler, and counts it.
  void begin(task<> body);

 private:
  parcel& from_;
  server_part* part_;
  bool sender_waits_;
  std::optional<connection_start> start_;
};

/// On one shard: `e` is to be another task's. That starts by what this gives.
class change_of_task {
 public:
  explicit change_of_task(endpoint& e);
  /// As for one that comes from elsewhere, whose sender may be waiting for the running task.
  bool sender_waits() const noexcept { return !start_.has_value(); }
  void begin(task<> body);

 private:
  connection_task* counted_;
  std::optional<connection_start> start_;
};

}  // namespace skerry::net::detail
