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
/// Limits:     `socket_buffer_bytes` unacknowledged and as many unread per socket, or less by SO_SNDBUF and SO_RCVBUF;
///             the backlog of a listener as it was asked for. IPv4 only; a host has one address, and 127.0.0.1.

#include <skerry/simulation/detail/simulated_backend.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include <netinet/in.h>

namespace skerry::sim::detail {

class world;

struct place {
  std::uint32_t ip = 0;  // in the host's byte order; 0: any
  std::uint16_t port = 0;
  bool operator==(const place&) const = default;
};

/// -1: no IPv4 address.
int read_name(const sockaddr* name, socklen_t bytes, place& into) noexcept;
void write_name(const place& from, sockaddr* name, socklen_t* bytes) noexcept;

constexpr std::uint32_t loopback = 127u << 24;
inline bool is_loopback(std::uint32_t ip) noexcept { return (ip & 0xff000000) == loopback; }

/// What system calls do with a socket; 0 or more, or -errno.
class socket_node : public node {
 public:
  virtual int bind(place at) = 0;
  virtual int connect_now(place) { return -EOPNOTSUPP; }
  virtual int listen(int) { return -EOPNOTSUPP; }
  virtual int accept_now() { return -EOPNOTSUPP; }
  virtual long receive_now(void*, std::size_t) { return -EOPNOTSUPP; }
  virtual long send_now(const void*, std::size_t) { return -EOPNOTSUPP; }
  virtual int shut_down(int how) = 0;
  virtual int local_name(sockaddr* name, socklen_t* bytes) const noexcept = 0;
  virtual int peer_name(sockaddr* name, socklen_t* bytes) const noexcept = 0;
  virtual int set_option(int level, int name, const void* value, socklen_t bytes) noexcept = 0;
  virtual int get_option(int level, int name, void* value, socklen_t* bytes) noexcept = 0;
  virtual int control(unsigned long command, int& value) const noexcept = 0;
};

class tcp_socket;
class udp_socket;

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

 private:
  std::vector<tcp_socket*> bound_;
  std::vector<udp_socket*> datagrams_;
};

class tcp_socket final : public socket_node {
 public:
  explicit tcp_socket(machine& of) noexcept;
  ~tcp_socket() override;

  int bind(place at) override;
  int connect_now(place to) override;
  int listen(int backlog) override;
  int accept_now() override;
  long receive_now(void* into, std::size_t room) override;
  long send_now(const void* bytes, std::size_t size) override;
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
  bool listens() const noexcept { return role_ == role::listening; }

  std::uint32_t events() const noexcept override;
  bool attempt(request& r) noexcept override;
  void closed() noexcept override;
  void vanished() noexcept override;

  machine& of;
  place local, remote;
  bool reuse_address = false;
  bool reuse_port = false;
  bool reset_at_close = false;
  std::size_t send_buffer = 0, receive_buffer = 0;  ///< as asked for; 0: the network's

 private:
  friend class network;
  enum class role : std::uint8_t { fresh, listening, connecting, connected };
  struct piece {
    std::string bytes;
    bool end = false;
    bool seen = false;  // has come, but its sender does not know
    std::chrono::nanoseconds due{0};
  };

  world& in() const noexcept;
  std::size_t room_of(std::size_t asked_for) const noexcept;
  bool may_send() const noexcept { return unacknowledged_ < room_of(send_buffer); }
  std::shared_ptr<tcp_socket> self() { return std::static_pointer_cast<tcp_socket>(shared_from_this()); }

  bool attempt_accept(request& r) noexcept;
  bool attempt_connect(request& r) noexcept;
  bool attempt_receive(request& r) noexcept;
  bool attempt_send(request& r) noexcept;

  std::size_t take_arrived(void* into, std::size_t room);
  std::size_t send_part(const char* bytes, std::size_t size);
  void knock(unsigned tries);
  std::shared_ptr<tcp_socket> enter(tcp_socket& door);
  void answer(bool accepted, const std::shared_ptr<tcp_socket>& other);
  void put_under_way(piece what);
  void send_end();
  void schedule_flight();
  void deliver_first();
  void come(const piece& what);
  void make_room();
  void send_reset();
  void broken(int error);

  role role_ = role::fresh;
  // of a listener
  std::deque<std::shared_ptr<tcp_socket>> waiting_;
  std::size_t backlog_ = 0;
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
