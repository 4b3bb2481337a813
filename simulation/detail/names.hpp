// SPDX-License-Identifier: Apache-2.0
#pragma once

/// names: c-ares as the resolver of a simulated host knows it. The names of hosts lead to their addresses.
///
///     ask() --a socket, which the asker polls--> answer under way, or lost --> in the socket --process()--> answered
///                                                 '-- nothing comes in time: asked again, twice as long --> timed out
///
/// c-ares has sockets, a clock and random numbers of its own, so the calls of it that net makes are replaced
/// (names.cpp, and --wrap in the project's CMakeLists.txt), and everything above them is the shipped code: polls,
/// timer, cache, shared questions. There are no packets: what a name server would say is drawn.
///
/// "a", "A" and "a." are the host `sim::host("a")`, whether or not it runs. It has an IPv6 and an IPv4 address, in this
/// order, as RFC 6724 has it. Servers and search domains of `resolver_options` are not asked: there is one answer. The
/// hosts file and the services file are not there (system_calls.cpp).
///
/// Affinity:   the shard whose resolver it is.
/// Ownership:  c-ares' rules: made by ares_init_options, gone with ares_destroy.
/// Invariants: each question is answered once, in a call of process(), cancel_all() or ask().

#include <skerry/simulation/detail/datagrams.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include <ares.h>

namespace skerry::sim::detail {

class name_client {
 public:
  name_client(machine& of, const ares_options& given, int which) noexcept;
  ~name_client();
  name_client(const name_client&) = delete;
  name_client& operator=(const name_client&) = delete;

  void use(const ares_socket_functions& calls, void* data) noexcept;
  void ask(const char* name, int family, ares_addrinfo_callback callback, void* data);
  void process(int fd);
  void cancel_all(int status);
  /// When the next question is to be asked again; false: there is none.
  bool next_deadline(std::chrono::nanoseconds& left) const noexcept;

 private:
  struct question {
    std::string name;
    int family;
    ares_addrinfo_callback callback;
    void* data;
    int fd;
    std::weak_ptr<udp_socket> socket;
    int tries = 0;
    std::chrono::nanoseconds deadline{0};
  };
  using questions = std::map<std::uint64_t, question>;

  world& in() const noexcept;
  void send(question& which);
  void end(questions::iterator which, int status, int timeouts);
  ares_addrinfo* addresses_of(const question& which, int& status) const;

  machine& of_;
  const ares_sock_state_cb wants_;
  void* const wants_data_;
  const std::chrono::milliseconds timeout_;
  const int tries_;
  const ares_socket_functions* calls_ = nullptr;
  void* calls_data_ = nullptr;
  questions questions_;
  std::uint64_t asked_ = 0;
};

}  // namespace skerry::sim::detail
