// SPDX-License-Identifier: Apache-2.0
/// How the programs end: exit statuses, signals, the drain and its deadline, and all of it as process 1 of a container.
#include <algorithm>
#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/server_process.hpp>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using skerry::test::blocking_client;
using skerry::test::launch;
using skerry::test::server_process;
using strings = std::vector<std::string>;

strings two_shards(const strings& more = {}) {
  strings arguments{"--shards", "2", "--overprovision"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// A connection that keeps a kv_server from draining: it has asked for 100 MB and reads one byte of them.
class client_that_never_reads {
 public:
  explicit client_that_never_reads(std::uint16_t port) : client_(port) {
    int small = 4096;
    ::setsockopt(client_.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    std::string large(1 << 20, 'x');
    client_.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n" + large + "\r\n");
    EXPECT_EQ(client_.receive_exactly(5), "+OK\r\n");
    std::string gets;
    for (int i = 0; i < 100; ++i) gets += "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    client_.send(gets);
    EXPECT_EQ(client_.receive(1), "$");
  }

 private:
  blocking_client client_;
};

/// The value of a line such as "SigIgn:	0000000000001000".
std::uint64_t hexadecimal_of(pid_t pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string name; status >> name;) {
    if (name == field + ":") {
      std::uint64_t value = 0;
      status >> std::hex >> value;
      return value;
    }
  }
  return 0;
}

/// Everything here holds for an ordinary process and for process 1, for which the kernel ignores signals without
/// handler.
class conduct : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    how.own_pid_namespace = GetParam();
    if (!GetParam()) return;
    if (std::string refusal = skerry::test::pid_namespace_refusal(); !refusal.empty()) {
      GTEST_SKIP() << "this system makes no PID namespace: " << refusal;
    }
  }
  launch how;
};

INSTANTIATE_TEST_SUITE_P(as, conduct, testing::Values(false, true),
                         [](const auto& which) { return which.param ? "process_1" : "a_child"; });

TEST_P(conduct, sigterm_and_sigint_end_both_servers_with_0) {
  for (const char* program : {KV_SERVER, ECHO_SERVER}) {
    for (int number : {SIGTERM, SIGINT}) {
      server_process server(program, two_shards(), how);
      blocking_client client(server.port());
      client.send("PING\r\n");
      ASSERT_FALSE(client.receive(1).empty());
      server.signal(number);
      EXPECT_EQ(server.wait(), 0) << program << ", signal " << number << "\n" << server.log();
    }
  }
}

TEST_P(conduct, what_is_in_flight_at_the_signal_is_answered) {
  server_process server(KV_SERVER, two_shards(), how);
  blocking_client client(server.port());
  std::string large(1 << 20, 'x');
  client.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n" + large + "\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
  ASSERT_EQ(client.receive_exactly(6), "+OK\r\n$");
  server.signal(SIGTERM);
  // Reads only now, so the signal finds most of the reply unsent.
  ASSERT_TRUE(server.wait_for_log("stopping"));
  EXPECT_EQ(client.receive_exactly(7 + 2 + large.size() + 2), "1048576\r\n" + large + "\r\n");
  EXPECT_EQ(client.receive(), "");
  EXPECT_EQ(server.wait(), 0) << server.log();
}

TEST_P(conduct, clients_that_send_without_pause_do_not_hold_up_the_drain) {
  server_process server(KV_SERVER, two_shards(), how);
  std::vector<std::unique_ptr<blocking_client>> clients;
  std::vector<std::thread> load;
  for (int i = 0; i < 4; ++i) {
    blocking_client& client = *clients.emplace_back(std::make_unique<blocking_client>(server.port()));
    load.emplace_back([&client] {
      std::string pipeline;
      for (int n = 0; n < 1000; ++n) pipeline += "PING\r\n";
      try {
        while (true) client.send(pipeline);
      } catch (const std::runtime_error&) {
        // The server has ended.
      }
    });
    load.emplace_back([&client] {
      while (!client.receive().empty()) {
      }
    });
  }
  for (int i = 0; i < 4; ++i) {
    blocking_client probe(server.port());
    probe.send("PING\r\n");
    EXPECT_EQ(probe.receive_exactly(7), "+PONG\r\n");
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.log();
  for (std::thread& thread : load) thread.join();
}

TEST_P(conduct, nobody_is_accepted_after_the_signal) {
  server_process server(KV_SERVER, two_shards({"--drain-timeout", "60s"}), how);
  client_that_never_reads held(server.port());
  server.signal(SIGTERM);
  ASSERT_TRUE(server.wait_for_log("stopping"));
  // The listeners close right after that line; the backlog of one that is not closed yet still takes connections.
  bool refused = false;
  while (!refused) {
    try {
      EXPECT_EQ(blocking_client(server.port()).receive(), "");
    } catch (const std::runtime_error&) {
      refused = true;
    }
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 128 + SIGTERM);
}

TEST_P(conduct, a_drain_that_is_not_done_at_its_deadline_lists_its_tasks_and_ends_with_2) {
  server_process server(KV_SERVER, two_shards({"--drain-timeout", "200ms"}), how);
  client_that_never_reads held(server.port());
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 2);
  EXPECT_NE(server.log().find("drain deadline passed"), std::string::npos) << server.log();
  EXPECT_NE(server.log().find("task \"connection\" waits for write"), std::string::npos) << server.log();
}

TEST_P(conduct, a_second_signal_ends_it_at_once_with_128_plus_its_number) {
  for (int second : {SIGTERM, SIGINT}) {
    server_process server(KV_SERVER, two_shards({"--drain-timeout", "60s"}), how);
    client_that_never_reads held(server.port());
    server.signal(second == SIGTERM ? SIGINT : SIGTERM);
    ASSERT_TRUE(server.wait_for_log("stopping"));
    server.signal(second);
    EXPECT_EQ(server.wait(), 128 + second) << server.log();
  }
}

TEST_P(conduct, signals_that_the_parent_had_blocked_or_ignored_still_end_it) {
  how.before_exec = [] {
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    sigprocmask(SIG_BLOCK, &both, nullptr);
    ::signal(SIGINT, SIG_IGN);
  };
  for (int number : {SIGTERM, SIGINT}) {
    server_process server(ECHO_SERVER, two_shards(), how);
    server.signal(number);
    EXPECT_EQ(server.wait(), 0) << server.log();
  }
}

TEST_P(conduct, sigpipe_is_ignored_also_where_nobody_reads_standard_error_any_more) {
  server_process server(ECHO_SERVER, two_shards({"--log-level", "debug"}), how);
  EXPECT_NE(hexadecimal_of(server.pid(), "SigIgn") & 1u << (SIGPIPE - 1), 0u);
  server.close_log();
  // Each reset is a line of the log, which finds its pipe closed.
  for (int i = 0; i < 10; ++i) blocking_client(server.port()).reset_after("x");
  blocking_client client(server.port());
  client.send("x");
  EXPECT_EQ(client.receive(), "x");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_unread(), 0);
}

/// More lines than the pipe, the log's batch and the queues of both shards hold together.
void fill_the_log(std::uint16_t port) {
  for (int i = 0; i < 6000; ++i) blocking_client(port).reset_after("x");
}

TEST(log_of_a_server, that_nobody_reads_stops_no_shard_and_drops_what_it_cannot_keep) {
  server_process server(ECHO_SERVER, two_shards({"--log-level", "debug"}));
  fill_the_log(server.port());
  for (int i = 0; i < 100; ++i) {
    blocking_client client(server.port());  // on either shard
    client.send("still here");
    ASSERT_EQ(client.receive_exactly(10), "still here");
  }
  EXPECT_TRUE(server.wait_for_log(" log lines dropped: the log's queue was full")) << server.log().size();
}

TEST(log_of_a_server, that_nobody_reads_does_not_hold_up_its_end) {
  server_process server(ECHO_SERVER, two_shards({"--log-level", "debug"}));
  fill_the_log(server.port());
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait_unread(), 0);
}

TEST(log_of_a_server, names_shard_and_task) {
  server_process server(ECHO_SERVER, two_shards({"--log-level", "debug"}));
  blocking_client(server.port()).reset_after("x");
  EXPECT_TRUE(server.wait_for_log(" \"connection\": 127.0.0.1:")) << server.log();
  EXPECT_NE(server.log().find(" no shard: 2 shards (as asked)"), std::string::npos) << server.log();
  EXPECT_NE(server.log().find(" shard 0 \"main\": listening on "), std::string::npos) << server.log();
}

TEST(standard_descriptors, that_were_closed_at_the_start_never_become_sockets) {
  // Standard error stays, or nobody could tell the port.
  launch how;
  how.before_exec = [] {
    ::close(0);
    ::close(1);
  };
  server_process server(ECHO_SERVER, two_shards(), how);
  blocking_client client(server.port());
  client.send("x");
  ASSERT_EQ(client.receive(), "x");
  for (const char* fd : {"0", "1"}) {
    char target[64] = "";
    std::string link = "/proc/" + std::to_string(server.pid()) + "/fd/" + fd;
    ASSERT_GT(::readlink(link.c_str(), target, sizeof target - 1), 0);
    EXPECT_STREQ(target, "/dev/null");
  }
}

}  // namespace
