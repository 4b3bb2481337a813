// SPDX-License-Identifier: Apache-2.0
#pragma once

/// unix_sockets: Unix sockets of a simulated host as nodes, SOCK_STREAM and SOCK_SEQPACKET, with descriptors that pass.
///
///     bind a path --> a file of kind socket on the host's disk, which stays when the socket is gone, also over a crash
///     connect     --> the file --> who listens for it: waits in its queue, connected at once
///                         |          '-- the queue is full: waits for room         '-- nobody: ECONNREFUSED
///                         '-- none: ENOENT
///     send        --> pieces in the peer, at once, each perhaps with descriptors --> receive
///
/// Nothing is under way within a host, so nothing is lost and nothing is late; operations are short, interrupted and
/// late as any (byte_node), accepting and receiving may find no descriptor free (EMFILE; MSG_CTRUNC), and a peer that
/// closes before it has read what came resets.
///
/// A descriptor in a message keeps its node open. It is closed once: by whoever received it, or with the message.
///
/// Affinity:   the simulator's thread.
/// Ownership:  as TCP's sockets; the two ends know each other weakly.
/// Limits:     `socket_buffer_bytes`, or twice SO_SNDBUF, unread in each direction; a longer packet is refused
///             (EMSGSIZE). 253 descriptors in a message, `descriptors_max` under way on one host. No SOCK_DGRAM, no
///             names that the kernel chooses. Two sockets that are closed, each on its way through the other, stay as
///             long as their host runs.

#include <skerry/simulation/detail/file_system.hpp>
#include <skerry/simulation/detail/streams.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace skerry::sim::detail {

/// A descriptor in a message.
class passed_descriptor {
 public:
  passed_descriptor(machine& of, std::shared_ptr<node> what) noexcept;
  passed_descriptor(passed_descriptor&& other) noexcept = default;
  passed_descriptor& operator=(passed_descriptor&&) = delete;
  ~passed_descriptor();

  const std::shared_ptr<node>& what() const noexcept { return what_; }

 private:
  machine* of_;
  std::shared_ptr<node> what_;
};

class unix_socket final : public stream_socket {
 public:
  static constexpr std::size_t passed_max = 253;  // of Linux
  static constexpr std::size_t send_buffer_min = 4608;

  unix_socket(machine& of, int type) noexcept;
  ~unix_socket() override;
  /// As socketpair.
  static void join(unix_socket& one, unix_socket& other);

  int bind(const sockaddr* name, socklen_t bytes) override;
  int connect_now(const sockaddr* name, socklen_t bytes) override;
  int listen(int backlog) override;
  int shut_down(int how) override;
  int local_name(sockaddr* name, socklen_t* bytes) const noexcept override;
  int peer_name(sockaddr* name, socklen_t* bytes) const noexcept override;
  int set_option(int level, int name, const void* value, socklen_t bytes) noexcept override;
  int get_option(int level, int name, void* value, socklen_t* bytes) noexcept override;

  long read_now(msghdr& into, int flags) override;
  long write_now(const msghdr& from, int flags) override;
  int control(unsigned long command, int& value) const noexcept override;
  std::uint32_t events() const noexcept override;
  bool attempt(request& r) noexcept override;
  void closed() noexcept override;
  void vanished() noexcept override;

  /// Whether whoever connects to that name, or to that file, wants this one.
  bool is_bound_to(const std::string& name, const inode_ptr& file) const noexcept;

 private:
  struct piece {
    std::string bytes;
    std::size_t taken = 0;
    std::vector<passed_descriptor> passed;
  };

  bool packets() const noexcept { return type_ == SOCK_SEQPACKET; }
  std::shared_ptr<unix_socket> self() { return std::static_pointer_cast<unix_socket>(shared_from_this()); }
  std::size_t room() const noexcept;

  bool attempt_connect(request& r) noexcept override;
  void somebody_accepted() noexcept override;
  int input_state() const noexcept override;
  int output_state(std::size_t bytes) const noexcept override;
  std::size_t take(void* into, std::size_t most) noexcept override;
  std::size_t give(const char* bytes, std::size_t count) noexcept override;
  void error_told() noexcept override { error_ = 0; }

  std::size_t take_into(msghdr& message, std::size_t most, std::vector<passed_descriptor>& passed);
  long receive(msghdr& message, int flags);
  void hand_over(std::vector<passed_descriptor> passed, msghdr& message);
  long send(const msghdr& message, bool by_operation);
  int collect(const msghdr& message, std::vector<passed_descriptor>& passed);
  void put(std::string bytes, std::vector<passed_descriptor> passed);
  int meet(const sockaddr* name, socklen_t bytes, std::shared_ptr<unix_socket>& door);
  void leave_door() noexcept;
  void drop_all() noexcept;

  const int type_;
  std::string name_;  // as it was bound; an abstract one begins with a zero
  inode_ptr file_;
  std::vector<std::weak_ptr<node>> at_the_door_;  // they connect, and found the queue full
  std::weak_ptr<unix_socket> peer_;
  std::string peer_name_;
  std::deque<piece> incoming_;
  std::size_t unread_ = 0;  // bytes
  std::size_t send_buffer_;
  bool input_shut_ = false, output_shut_ = false;
  bool peer_ended_ = false;  // writes no more
  bool peer_deaf_ = false;   // reads no more
  bool gone_ = false;
  int error_ = 0;
};

}  // namespace skerry::sim::detail
