// SPDX-License-Identifier: Apache-2.0
/// Hot restart of real programs: process after process takes over from the one before while clients connect without
/// pause. None may be refused, and each must have its answer.

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <support/server_process.hpp>
#include <sys/types.h>

namespace skerry {
namespace {

using test::blocking_client;
using test::launch;
using test::server_process;

/// Process after process takes over while four clients come again and again; each calls `ask` with a connection of its
/// own, which gives what is wrong with the answer. Gives the number of answers.
int restart_under_load(const char* program, const std::vector<std::string>& options,
                       const std::function<std::string(blocking_client&)>& ask, std::vector<pid_t>& processes) {
  std::vector<std::string> arguments = options;
  arguments.insert(arguments.end(), {"--shards", "2", "--overprovision"});
  auto serving = std::make_unique<server_process>(program, arguments);
  processes.push_back(serving->pid());
  const std::uint16_t port = serving->port();
  std::atomic<bool> over = false;
  std::atomic<int> answered = 0, failed = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      while (!over) {
        std::string wrong;
        try {
          blocking_client client(port);  // throws if it is refused
          wrong = ask(client);
        } catch (const std::exception& refused) {
          wrong = refused.what();
        }
        EXPECT_EQ(wrong, "");
        if (!wrong.empty()) {
          ++failed;
          return;
        }
        ++answered;
      }
    });
  }
  const auto until_more = [&](int more) {
    for (const int goal = answered + more; answered < goal && failed == 0;) std::this_thread::yield();
  };
  until_more(50);
  launch same_port;
  same_port.any_port = false;
  for (const char* shards : {"2", "3", "1", "2"}) {  // further sockets are opened, and several served by one shard
    arguments = options;
    arguments.insert(arguments.end(), {"--port", std::to_string(port), "--shards", shards, "--overprovision"});
    auto next = std::make_unique<server_process>(program, arguments, same_port);
    EXPECT_EQ(serving->wait(), 0) << "the old one ends by itself\n" << serving->log();
    serving = std::move(next);
    processes.push_back(serving->pid());
    until_more(50);
  }
  over = true;
  for (std::thread& each : clients) each.join();
  EXPECT_EQ(failed, 0);
  serving->signal(SIGTERM);
  EXPECT_EQ(serving->wait(), 0);
  return answered;
}

TEST(hot_restart, no_client_is_refused_and_none_is_without_its_answer) {
  std::mutex lock;
  std::set<std::string> who;
  std::vector<pid_t> processes;
  const auto ask = [&](blocking_client& client) -> std::string {
    client.send("who?\n");
    const std::string answer = client.receive();
    const std::scoped_lock mine(lock);
    who.insert(answer);
    return answer.starts_with("process ") ? "" : "no answer: " + answer;
  };
  restart_under_load(HOT_RESTART, {}, ask, processes);
  std::set<std::string> expected;
  for (const pid_t pid : processes) expected.insert("process " + std::to_string(pid) + "\n");
  EXPECT_EQ(who, expected);
}

TEST(hot_restart, of_the_echo_server) {
  std::vector<pid_t> processes;
  const auto ask = [](blocking_client& client) -> std::string {
    client.send("hello");
    return client.receive_exactly(5) == "hello" ? "" : "no answer";
  };
  EXPECT_GE(restart_under_load(ECHO_SERVER, {"--hand-over", "--max-connections", "1000"}, ask, processes), 250);
}

/// Each client asks once or more on one connection, until the server says that it closes it.
TEST(hot_restart, of_the_http_server_answers_every_request_with_limits_on) {
  std::vector<pid_t> processes;
  const auto ask = [](blocking_client& client) -> std::string {
    for (int i = 0; i < 3; ++i) {
      try {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      } catch (const std::exception&) {
        return i > 0 ? "" : "the first request could not be sent";  // see below
      }
      std::string answer;
      while (!answer.ends_with("Hello, World!")) {
        const std::string more = client.receive();
        // One that was idle when the drain began may be closed without a word: a client asks anew then.
        if (more.empty()) return i > 0 && answer.empty() ? "" : "no answer: " + answer;
        answer += more;
      }
      if (!answer.starts_with("HTTP/1.1 200 ")) return answer;
      if (answer.find("Connection: close") != answer.npos) return "";
    }
    return "";
  };
  EXPECT_GE(restart_under_load(HTTP_SERVER, {"--hand-over", "--max-connections", "1000"}, ask, processes), 250);
}

}  // namespace
}  // namespace skerry
