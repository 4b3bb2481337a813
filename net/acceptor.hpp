// SPDX-License-Identifier: Apache-2.0
#pragma once

/// acceptor: the listening socket behind a listener: one multishot accept, and the connections that nobody has taken
/// yet.
///
///     accepting --connection--> queued --accept()--> stream
///        |  out of descriptors or memory, or the network failed: paused until a shard of this process closes a
///        |  descriptor (detail/freed_descriptors.hpp) or the time is over; counted, never a spin, never the end of
///        |  listening
///        |  `queue_max` untaken: accept is cancelled until half are taken
///        |  `want` fewer than that: one is accepted at a time, until so many are untaken; the rest waits in the
///        |  kernel
///
/// The end loses nobody who had connected before: it comes after the kernel's last word on the accept that was under
/// way, and then takes out who still waits in the kernel's queue, as closing the socket would reset them. If another
/// process has the socket, too, and serves it (`leave_rest`), they are its; and who comes after the last look waits for
/// it, too.
///
/// The kernel wakes one of those who wait at a socket for each connection. An accept that is cancelled before it has
/// run takes that with it, and the connection would lie there, though others wait at the same socket, until the next
/// comes. So after each cancelled accept that is not followed by another, one that it may have been woken for is taken;
/// of a multishot, which the kernel wakes again and again, all.
///
/// Affinity:   home shard.
/// Ownership:  pooled; a listener is a handle. After the handle has gone it frees itself with its last completion.
/// Limits:     `queue_max` accepted connections wait here, beside what the kernel handed over in the same entry or
///             held at the end (at most the backlog); more wait in the kernel. An end for which descriptors are
///             lacking resets the rest.
/// Errors:     only what says that this is no listening socket ends accepting; accept(2) asks to retry after all else.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/net/detail/freed_descriptors.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/socket_file.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace skerry::net {

/// What a drain means to a listener and to the connections that it accepted.
enum class in_drain : std::uint8_t {
  finishes,  ///< no new connections; those that are there are told the end of their input, and waited for
  goes_on,   ///< as before until all else has ended, then at once an end: for what tells about the program itself
};

class acceptor final : public operation,
                       public skerry::detail::pooled,
                       public skerry::detail::list_hook<pool_tag>,
                       private detail::descriptor_waiter,
                       private timers::timer {
 public:
  static constexpr std::size_t queue_max = 64;
  static constexpr std::chrono::milliseconds failure_pause{100};

  acceptor(endpoint_pool& pool, listening_socket socket, in_drain how);

  bool ready() const noexcept { return waiting() != 0 || error_ != 0 || (ended_ && !in_flight()); }
  /// A connection's descriptor; -1 at the end. Throws std::system_error.
  int take();
  void wait(endpoint_leaf* waiter) noexcept;
  /// From now on accepts until `most` are untaken; 0 leaves all to the kernel. Those that are accepted already stay.
  void want(std::size_t most) noexcept;
  /// No more connections: accept() ends after those that had connected.
  void end() noexcept;
  /// Another process serves this socket, too: at the end whoever waits in the kernel is its.
  void leave_rest() noexcept { leaves_rest_ = true; }
  void release() noexcept;
  int fd() const noexcept { return socket_.fd.get(); }
  /// Accepted, and not taken yet.
  std::size_t waiting() const noexcept { return queue_.size() - taken_; }
  bool goes_on_in_drain() const noexcept { return how_ == in_drain::goes_on; }
  /// Whether a drain need not wait for it: all whom it accepted have been taken.
  bool drained() const noexcept { return goes_on_in_drain() || (waiting() == 0 && !in_flight()); }

  void complete(std::int32_t result, std::uint32_t flags) noexcept override;

 private:
  ~acceptor();
  bool paused() const noexcept { return list_hook<detail::descriptor_waiter>::linked(); }
  bool wants_more() const noexcept { return !ended_ && !paused() && error_ == 0 && waiting() < most_; }
  void arm() noexcept;
  /// After an accept that was cancelled.
  void take_whom_it_was_woken_for() noexcept;
  void take_from_kernel(std::size_t most) noexcept;
  /// After the last completion: takes who still waits in the kernel.
  void finish() noexcept;
  detail::descriptor_use use_descriptor() noexcept override;
  void expired() noexcept override;
  void end_pause() noexcept;
  void wake_waiter() noexcept;

  endpoint_pool& pool_;
  listening_socket socket_;
  in_drain how_;
  int error_ = 0;
  bool ended_ = false;
  bool released_ = false;
  bool multishot_ = false;  // what is in flight
  bool leaves_rest_ = false;
  std::vector<int> queue_;
  std::size_t taken_ = 0;  // of the queue, from its front
  std::size_t most_ = queue_max;
  endpoint_leaf* waiter_ = nullptr;
  [[no_unique_address]] home_stamp home_;
};

/// Waits for the next connection, as a bare descriptor; -1 at the end.
class [[nodiscard("co_await it")]] connection_awaiter : public endpoint_leaf {
 public:
  explicit connection_awaiter(acceptor& a) noexcept : acceptor_(a) {}
  bool await_ready() const noexcept { return acceptor_.ready(); }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    acceptor_.wait(this);
    suspend(resume_point);
  }
  unique_fd await_resume() { return unique_fd(acceptor_.take()); }
  void let_go() noexcept override {
    acceptor_.wait(nullptr);
    wake();
  }
  const char* describe() const noexcept override { return "accept"; }

 protected:
  acceptor& acceptor_;
};

}  // namespace skerry::net
