// SPDX-License-Identifier: Apache-2.0
#pragma once

/// streams: what simulated connections, Unix sockets and pipes have in common: bytes that are read and written, by
/// operations and by plain calls, and a queue of those who have come to a listener.
///
///     operation --attempt()--> bytes or room? --yes--> take(), give(), perhaps fewer than there are --> completes
///                                  '--no--> waits at the node; one without patience: EAGAIN
///     plain call --read_now(), write_now()--> the same; it blocks: its shard stands still, all others go on
///
/// Affinity:   the simulator's thread.
/// Invariants: bytes keep their order; an error is told once.

#include <skerry/simulation/detail/simulated_backend.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include <sys/socket.h>

namespace skerry::sim::detail {

class world;

class byte_node : public node {
 public:
  explicit byte_node(machine& whose) noexcept : of(whose) {}

  bool attempt(request& r) noexcept override;
  long read_now(msghdr& into, int flags) override;
  long write_now(const msghdr& from, int flags) override;

  machine& of;

 protected:
  /// 1: bytes are there; 0: the end; -EAGAIN: neither yet; or -errno.
  virtual int input_state() const noexcept = 0;
  /// 1: some of so many bytes have room; -EAGAIN: none yet; or -errno.
  virtual int output_state(std::size_t bytes) const noexcept = 0;
  /// Asks for input_state() or output_state() to be 1 before. How many.
  virtual std::size_t take(void* into, std::size_t most) noexcept = 0;
  virtual std::size_t give(const char* bytes, std::size_t count) noexcept = 0;
  /// Whoever asked knows of the error now.
  virtual void error_told() noexcept {}

  world& in() const noexcept;
  /// A number of bytes to move, of so many that could be.
  std::size_t some_of(std::size_t bytes) const noexcept;
  bool attempt_input(request& r) noexcept;
  bool attempt_output(request& r) noexcept;
  bool patient(int flags) const noexcept { return !non_blocking && (flags & MSG_DONTWAIT) == 0; }
};

/// What system calls do with a socket; 0 or more, or -errno.
class socket_calls {
 public:
  virtual int bind(const sockaddr* name, socklen_t bytes) = 0;
  virtual int connect_now(const sockaddr*, socklen_t) { return -EOPNOTSUPP; }
  virtual int listen(int) { return -EOPNOTSUPP; }
  virtual int accept_now() { return -EOPNOTSUPP; }
  virtual int shut_down(int how) = 0;
  virtual int local_name(sockaddr* name, socklen_t* bytes) const noexcept = 0;
  virtual int peer_name(sockaddr* name, socklen_t* bytes) const noexcept = 0;
  virtual int set_option(int level, int name, const void* value, socklen_t bytes) noexcept = 0;
  virtual int get_option(int level, int name, void* value, socklen_t* bytes) noexcept = 0;

 protected:
  ~socket_calls() = default;
};

/// The answer to getsockopt.
int give_number(void* value, socklen_t* bytes, int what) noexcept;
/// Of SO_SNDBUF and SO_RCVBUF: twice what was asked for, which has a limit, and not less than `least`.
std::size_t buffer_size(const void* value, socklen_t bytes, std::size_t least) noexcept;

/// A socket that listens or is connected.
class stream_socket : public byte_node, public socket_calls {
 public:
  using byte_node::byte_node;

  int accept_now() override;
  bool attempt(request& r) noexcept override;
  bool listens() const noexcept { return role_ == role::listening; }

 protected:
  enum class role : std::uint8_t { fresh, listening, connecting, connected };

  virtual bool attempt_connect(request& r) noexcept = 0;
  virtual void somebody_accepted() noexcept {}
  bool has_room() const noexcept { return waiting_.size() < backlog_; }
  void open_door(int backlog) noexcept;

  role role_ = role::fresh;
  std::deque<std::shared_ptr<stream_socket>> waiting_;  // at a listener
  std::size_t backlog_ = 0;

 private:
  bool attempt_accept(request& r) noexcept;
};

}  // namespace skerry::sim::detail
