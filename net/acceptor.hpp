// SPDX-License-Identifier: Apache-2.0
#pragma once

/// acceptor: the listening socket behind a listener: one multishot accept, and the connections that nobody has taken
/// yet.
///
///     accepting --connection--> queued --accept()--> stream
///        |  out of descriptors or memory, or the network failed: parked until a descriptor is freed or the pause is
///        |  over; counted, never a spin, never the end of listening
///        |  `queue_max` untaken: accept is cancelled until half are taken
///
/// Affinity:   home shard.
/// Ownership:  pooled; a listener is a handle. After the handle has gone it frees itself with its last completion.
/// Limits:     `queue_max` accepted connections wait here, beside what the kernel handed over in the same entry (at
///             most the backlog); more wait in the kernel.
/// Errors:     only what says that this is no listening socket ends accepting; accept(2) asks to retry after all else.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/socket_file.hpp>
#include <skerry/timers/timer.hpp>

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
                       private timers::timer {
 public:
  static constexpr std::size_t queue_max = 64;
  static constexpr std::chrono::milliseconds failure_pause{100};

  acceptor(endpoint_pool& pool, listening_socket socket, in_drain how);

  bool ready() const noexcept { return waiting() != 0 || ended_ || error_ != 0; }
  /// A connection's descriptor; -1 at the end. Throws std::system_error.
  int take();
  void wait(endpoint_leaf* waiter) noexcept;
  /// No more connections: accept() ends after those that are queued.
  void end() noexcept;
  void release() noexcept;
  void descriptor_freed() noexcept;
  int fd() const noexcept { return socket_.fd.get(); }
  bool goes_on_in_drain() const noexcept { return how_ == in_drain::goes_on; }

  void complete(std::int32_t result, std::uint32_t flags) noexcept override;

 private:
  ~acceptor();
  std::size_t waiting() const noexcept { return queue_.size() - taken_; }
  bool wants_more() const noexcept { return !ended_ && !parked_ && error_ == 0 && waiting() < queue_max; }
  void arm() noexcept;
  void expired() noexcept override;
  void wake_waiter() noexcept;

  endpoint_pool& pool_;
  listening_socket socket_;
  in_drain how_;
  int error_ = 0;
  bool ended_ = false;
  bool released_ = false;
  bool parked_ = false;
  std::vector<int> queue_;
  std::size_t taken_ = 0;  // of the queue, from its front
  endpoint_leaf* waiter_ = nullptr;
};

}  // namespace skerry::net
