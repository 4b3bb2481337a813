// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The simulated network: TCP sockets as nodes, and what is under way between them.
///
///     send --> flight (pieces, in order, each with its time) --> arrived --> recv
///              | the way is cut, the peer's host is off: again after 200 ms, twice as long each time, 15 times
///              v
///              timed out
///
/// A connection is two sockets that know each other; each direction delivers in order and without loss, as TCP does, so
/// loss shows as delay. What may go wrong, each with a probability of its own: pieces of a few bytes, delays, resets,
/// refusals, connections that are reset before they are accepted, transfers that are shorter than they could be.
///
/// Affinity:   the simulator's thread.
/// Ownership:  sockets are their descriptors' and of what is under way to them; two ends know each other weakly.
/// Invariants: what arrives is what was sent, in order, a prefix of it where the connection breaks.
/// Limits:     `socket_buffer_bytes` unacknowledged and as many unread per socket, or twice SO_SNDBUF and SO_RCVBUF; a
///             listener's backlog as it was asked for. A host has one address of each family, 127.0.0.0/8 and ::1.

#include <skerry/simulation/detail/addresses.hpp>
#include <skerry/simulation/detail/streams.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include <sys/socket.h>

namespace skerry::sim::detail {

class world;

struct inode;
class tcp_socket;
class udp_socket;
class unix_socket;

/// All that is bound, of all machines.
class network {
 public:
  /// 0 or -errno. Port 0 becomes a free one.
  int bind(tcp_socket& s, place at);
  void unbind(tcp_socket& s) noexcept { std::erase(bound_, &s); }
  bool taken(const machine& on, std::uint16_t port) const noexcept;
  /// One of those that listen there, drawn; null if nobody does.
  tcp_socket* listener_at(const machine& on, const place& at) noexcept;

  // Datagrams have ports of their own (datagrams.cpp).
  int bind(udp_socket& s, place at);
  void unbind(udp_socket& s) noexcept { std::erase(datagrams_, &s); }
  /// Who gets what comes there from that sender; null: nobody.
  udp_socket* receiver_at(const machine& on, const place& at, const place& from) noexcept;

  // Unix sockets (unix_sockets.cpp): by file, or by abstract name where `file` is null.
  void bind(unix_socket& s) { unix_.push_back(&s); }
  void unbind(unix_socket& s) noexcept;
  unix_socket* unix_at(const machine& on, const std::string& name, const std::shared_ptr<inode>& file) noexcept;

 private:
  std::vector<tcp_socket*> bound_;
  std::vector<udp_socket*> datagrams_;
  std::vector<unix_socket*> unix_;
};

/// Options of a connection that change when packets go, of which there are none: kept to be told.
struct tcp_options {
  int keep_alive = 0, keep_idle = 7200, keep_interval = 75, keep_count = 9, user_timeout = 0, no_delay = 0;

  /// Null where there is no such option; else where it is, and the limits of its value.
  int* find(int level, int name, int& least, int& most) noexcept;
};

class tcp_socket final : public stream_socket, public ip_socket {
 public:
  tcp_socket(machine& of, int family) noexcept;
  ~tcp_socket() override;

  int bind(const sockaddr* name, socklen_t bytes) override;
  int connect_now(const sockaddr* name, socklen_t bytes) override;
  int listen(int backlog) override;
  int shut_down(int how) override;
  int local_name(sockaddr* name, socklen_t* bytes) const noexcept override;
  int peer_name(sockaddr* name, socklen_t* bytes) const noexcept override;
  int set_option(int level, int name, const void* value, socklen_t bytes) noexcept override;
  int get_option(int level, int name, void* value, socklen_t* bytes) noexcept override;
  int control(unsigned long command, int& value) const noexcept override;
  int unacknowledged() const noexcept {
    return static_cast<int>(unacknowledged_ + (end_sent_ && !end_arrived_ ? 1 : 0));
  }
  int unread() const noexcept { return static_cast<int>(arrived_.size() - taken_); }

  std::uint32_t events() const noexcept override;
  void closed() noexcept override;
  void vanished() noexcept override;

  using ip_socket::of;
  bool reset_at_close = false;

 private:
  friend class network;
  struct piece {
    std::string bytes;
    bool end = false;
    bool seen = false;  // has come, but its sender does not know
    std::chrono::nanoseconds due{0};
  };

  bool cut(const machine& from, const machine& to) const noexcept;
  std::shared_ptr<tcp_socket> self() { return std::static_pointer_cast<tcp_socket>(shared_from_this()); }

  bool attempt_connect(request& r) noexcept override;
  int input_state() const noexcept override;
  int output_state(std::size_t bytes) const noexcept override;
  std::size_t take(void* into, std::size_t most) noexcept override;
  std::size_t give(const char* bytes, std::size_t count) noexcept override;
  void error_told() noexcept override { error_ = 0; }

  int begin_to_connect(const sockaddr* name, socklen_t bytes);
  void knock(unsigned tries);
  void answer(bool accepted, const std::shared_ptr<tcp_socket>& other);
  void put_under_way(piece what);
  void send_end();
  void schedule_flight();
  void deliver_first();
  bool full() const noexcept { return arrived_.size() - taken_ >= receive_buffer_; }
  void come(const piece& what);
  void make_room();
  void send_reset();
  void broken(int error);

  // of one that connects
  bool knocking_ = false;
  int connect_result_ = 1;  // 1: none yet
  // of a connection
  std::weak_ptr<tcp_socket> peer_;
  std::deque<piece> flight_;
  bool flight_scheduled_ = false;
  unsigned tries_ = 0;
  std::chrono::nanoseconds last_due_{0};
  std::size_t unacknowledged_ = 0;
  std::size_t send_buffer_, receive_buffer_;
  tcp_options options_;
  bool end_sent_ = false, end_arrived_ = false;  // of ours
  std::string arrived_;                          // and not read, from taken_ on
  std::size_t taken_ = 0;
  std::deque<piece> outside_;  // has come and finds no room
  bool peer_ended_ = false;
  bool input_shut_ = false;
  bool gone_ = false;
  int error_ = 0;
  bool dead_ = false;  // reset or timed out
};

}  // namespace skerry::sim::detail
