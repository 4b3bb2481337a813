// SPDX-License-Identifier: Apache-2.0
/// Hot restart of a real program: process after process takes over from the one before while clients connect without
/// pause. None may be refused, and each must have its answer.

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <support/server_process.hpp>

namespace skerry {
namespace {

using test::blocking_client;
using test::launch;
using test::server_process;

TEST(hot_restart, no_client_is_refused_and_none_is_without_its_answer) {
  auto serving =
      std::make_unique<server_process>(HOT_RESTART, std::vector<std::string>{"--shards", "2", "--overprovision"});
  const std::uint16_t port = serving->port();
  std::atomic<bool> over = false;
  std::atomic<int> answered = 0, failed = 0;
  std::mutex lock;
  std::set<std::string> who;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      while (!over) {
        try {
          blocking_client client(port);  // throws if it is refused
          client.send("who?\n");
          const std::string answer = client.receive();
          if (!answer.starts_with("process ")) ++failed;
          const std::scoped_lock mine(lock);
          who.insert(answer);
          ++answered;
        } catch (const std::exception& refused) {
          ADD_FAILURE() << refused.what();
          ++failed;
          return;
        }
      }
    });
  }
  const auto until_more = [&](int more) {
    for (const int goal = answered + more; answered < goal && failed == 0;) std::this_thread::yield();
  };
  until_more(50);
  launch same_port;
  same_port.any_port = false;
  std::set<std::string> expected{"process " + std::to_string(serving->pid()) + "\n"};
  for (const char* shards : {"2", "3", "1", "2"}) {  // further sockets are opened, and several served by one shard
    auto next = std::make_unique<server_process>(
        HOT_RESTART, std::vector<std::string>{"--port", std::to_string(port), "--shards", shards, "--overprovision"},
        same_port);
    EXPECT_EQ(serving->wait(), 0) << "the old one ends by itself\n" << serving->log();
    serving = std::move(next);
    expected.insert("process " + std::to_string(serving->pid()) + "\n");
    until_more(50);
  }
  over = true;
  for (std::thread& each : clients) each.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(who, expected);
  serving->signal(SIGTERM);
  EXPECT_EQ(serving->wait(), 0);
}

}  // namespace
}  // namespace skerry
