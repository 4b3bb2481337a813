// SPDX-License-Identifier: Apache-2.0
/// A program that is started with its sockets open, as systemd does it, and exchanged for its next version.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <support/server_process.hpp>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace skerry::test;

/// What holds the socket while servers come and go.
class holder {
 public:
  holder() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&at), size), 0);
    EXPECT_EQ(::listen(fd_, 100), 0);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    port_ = ntohs(at.sin_port);
  }
  ~holder() { ::close(fd_); }
  holder(const holder&) = delete;
  holder& operator=(const holder&) = delete;

  std::uint16_t port() const { return port_; }
  /// Starts a server with the socket as descriptor 3.
  launch with_socket(const char* count = "1", bool for_another = false) const {
    launch how;
    how.before_exec = [fd = fd_, count, for_another] {
      if (fd == 3) ::fcntl(3, F_SETFD, 0);
      if (fd != 3) ::dup2(fd, 3);
      ::setenv("LISTEN_FDS", count, 1);
      ::setenv("LISTEN_PID", std::to_string(for_another ? ::getppid() : ::getpid()).c_str(), 1);
    };
    return how;
  }

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

const std::vector<std::string> three_shards{"--shards", "3", "--overprovision", "--admin", "off"};

std::string echoed(blocking_client& client, const std::string& text) {
  client.send(text);
  return client.receive_exactly(text.size());
}

TEST(activation, serves_the_socket_it_was_started_with_and_whoever_connected_before) {
  holder socket;
  blocking_client early(socket.port());
  server_process server(ECHO_SERVER, three_shards, socket.with_socket());
  EXPECT_EQ(server.port(), socket.port());
  EXPECT_EQ(echoed(early, "early"), "early");
  blocking_client late(socket.port());
  EXPECT_EQ(echoed(late, "late"), "late");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(activation, refuses_nobody_while_the_program_is_exchanged) {
  holder socket;
  std::optional<server_process> server;
  server.emplace(ECHO_SERVER, three_shards, socket.with_socket());
  for (int round = 0; round < 3; ++round) {
    blocking_client before(socket.port());
    EXPECT_EQ(echoed(before, "before"), "before");
    server->signal(SIGTERM);
    EXPECT_EQ(server->wait(), 0);
    blocking_client between(socket.port());
    between.send("between");
    server.emplace(ECHO_SERVER, three_shards, socket.with_socket());
    EXPECT_EQ(between.receive_exactly(7), "between");
  }
}

TEST(activation, leaves_the_sockets_of_another_process_alone) {
  holder socket;
  server_process server(ECHO_SERVER, three_shards, socket.with_socket("1", true));
  EXPECT_NE(server.port(), socket.port());
}

TEST(activation, that_does_not_hold_is_explained) {
  holder socket;
  const auto told = [&](const char* count) {
    finished_program run = run_program(ECHO_SERVER, {"--port", "0", "--log-level", "error"}, socket.with_socket(count));
    EXPECT_EQ(run.status, 1) << run.output;
    return run.output;
  };
  EXPECT_NE(told("many").find("LISTEN_FDS is no number: many"), std::string::npos);
  EXPECT_NE(told("257").find("at most 256"), std::string::npos);
  EXPECT_NE(told("200").find("unset LISTEN_FDS"), std::string::npos);
}

}  // namespace
