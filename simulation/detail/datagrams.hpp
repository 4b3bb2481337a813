// SPDX-License-Identifier: Apache-2.0
#pragma once

/// datagrams: UDP sockets of the simulated network as nodes.
///
///     send --> lost, or under way once or twice, each with a time of its own --> queue of the socket --> receive
///                                        | no such port                      '-- full: dropped
///                                        '--> ECONNREFUSED to a connected sender, if the way back is open
///
/// Between hosts nothing holds datagrams in order: each takes its own time, and some much longer. Within a host they
/// come in order, and only a full queue loses any. Of several sockets that share a port one gets all that comes from
/// one sender, as kernels have it.
///
/// It is a kernel without GSO, GRO and SO_MEMINFO: options of SOL_UDP are refused, and who sends segments cuts them.
///
/// Affinity:   the simulator's thread.
/// Limits:     65507 bytes; a queue of `receive_buffer` bytes, SO_RCVBUF, of which each datagram takes `overhead` more
///             than it has.

#include <skerry/simulation/detail/network.hpp>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include <sys/socket.h>

namespace skerry::sim::detail {

class udp_socket final : public node, public socket_calls, public ip_socket {
 public:
  static constexpr std::size_t bytes_max = 65507;
  static constexpr std::size_t overhead = 512;

  udp_socket(machine& of, int family) noexcept;
  ~udp_socket() override;

  int bind(const sockaddr* name, socklen_t bytes) override;
  int connect_now(const sockaddr* name, socklen_t bytes) override;
  int shut_down(int how) override;
  int local_name(sockaddr* name, socklen_t* bytes) const noexcept override;
  int peer_name(sockaddr* name, socklen_t* bytes) const noexcept override;
  int set_option(int level, int name, const void* value, socklen_t bytes) noexcept override;
  int get_option(int level, int name, void* value, socklen_t* bytes) noexcept override;
  int control(unsigned long command, int& value) const noexcept override;

  long read_now(msghdr& into, int flags) override;
  long write_now(const msghdr& from, int flags) override;
  std::uint32_t events() const noexcept override;
  bool attempt(request& r) noexcept override;
  void closed() noexcept override;
  void vanished() noexcept override;

  struct packet {
    place from;
    std::string bytes;
  };
  /// Into its queue, if there is room.
  void come(packet what);
  /// The bytes of the next one; empty: there is none.
  std::string take();

 private:
  friend class network;

  world& in() const noexcept;
  bool connected() const noexcept { return remote.port != 0; }
  int bind_anywhere();
  int send(std::string bytes, place to) noexcept;
  int send(const submission& what) noexcept;
  int send(const msghdr& message) noexcept;
  bool receive(request& r) noexcept;
  std::int32_t receive_into(msghdr& message, std::uint32_t flags) noexcept;
  void under_way(const place& to, packet what, bool inside);
  static void arrive(world& in, machine& from, const place& to, packet what);
  packet next();
  void refused() noexcept;

  bool input_shut_ = false, output_shut_ = false;
  std::deque<packet> queue_;
  std::size_t queued_ = 0;  // bytes, with overhead
  std::size_t receive_buffer_ = 212'992;
  int error_ = 0;
  std::chrono::nanoseconds last_inside_{0};  // when the last one within the host comes
};

}  // namespace skerry::sim::detail
