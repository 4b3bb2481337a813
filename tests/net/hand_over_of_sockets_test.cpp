// SPDX-License-Identifier: Apache-2.0
/// Hand-overs between servers of one process: the sockets with whoever waits in them, and what may go wrong.

#include <skerry/net/detail/server_part.hpp>
#include <skerry/net/hand_over.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/server_clients.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace server_tests;

server_options handing_over() {
  server_options options;
  options.hand_over = true;
  return options;
}

/// Server after server takes over from the one before while four clients come again and again; `look` each time when
/// the older one has gone. Ends with the last one.
task<> hand_over_under_load(net::address first, std::function<void()> look) {
  std::optional<net::server> old(co_await start_server(first, echo_handler, handing_over()));
  const net::address at = old->where();
  bool over = false;
  std::size_t asked = 0, lost = 0;
  std::vector<join_handle<>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(spawn([&]() -> task<> {
      while (!over) {
        try {
          raw_peer peer(at);  // throws when it is refused
          if (asked % 3 == 0) co_await turn();
          ++asked;
          const bool served = co_await ask(peer);
          if (!served) ++lost;
        } catch (const std::system_error& refused) {
          ADD_FAILURE() << refused.what();
          ++lost;
        }
      }
    }));
  }
  for (int generation = 0; generation < 6; ++generation) {
    const std::size_t before = asked;
    net::server next = co_await start_server(at, echo_handler, handing_over());
    EXPECT_TRUE(co_await old->handed_over());
    co_await until([&] { return asked > before + 20; });
    const drain_result end = co_await old->drain(60s);
    EXPECT_EQ(end.cancelled + end.unserved, 0u);
    look();
    old.emplace(std::move(next));
    co_await until([&] { return asked > before + 60; });
  }
  over = true;
  for (auto& each : clients) co_await each;
  EXPECT_EQ(lost, 0u);
  EXPECT_GE(asked, 360u);
  co_await old->drain(10s);
}

net::address socket_in(const test_support::scratch_directory& here, const char* name = "socket") {
  return *net::address::unix_socket(here.file(name));
}

/// What is there: the file system's device and the file's number.
std::optional<std::pair<dev_t, ino_t>> file_at(const std::string& path) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) return std::nullopt;
  return std::pair(found.st_dev, found.st_ino);
}

TEST(hand_over, a_successor_gets_the_sockets_and_nobody_is_refused_or_lost) {
  run_shards(2, []() -> task<> { return hand_over_under_load(loopback(), [] {}); });
}

TEST(hand_over, of_a_unix_socket_leaves_the_file_where_it_is_until_the_last_one_ends) {
  const test_support::scratch_directory here;
  std::set<std::optional<std::pair<dev_t, ino_t>>> seen;
  run_shards(2, [&]() -> task<> {
    co_await hand_over_under_load(socket_in(here), [&] { seen.insert(file_at(here.file("socket"))); });
    EXPECT_FALSE(file_at(here.file("socket"))) << "nobody removed it";
  });
  EXPECT_EQ(seen.size(), 1u) << "another file took its place";
  EXPECT_FALSE(seen.contains(std::nullopt)) << "it went with the first one";
}

TEST(hand_over, of_an_abstract_name_refuses_and_loses_nobody) {
  const std::string name = "@skerry-hand-over-test-" + std::to_string(::getpid());
  run_shards(2, [&]() -> task<> { return hand_over_under_load(*net::address::unix_socket(name), [] {}); });
}

TEST(hand_over, of_a_unix_socket_goes_by_the_file_and_not_by_how_its_path_is_written) {
  const test_support::scratch_directory here;
  run_shards(1, [&]() -> task<> {
    EXPECT_EQ(::mkdir(here.file("elsewhere").c_str(), 0700), 0);
    net::server old = co_await start_server(socket_in(here), echo_handler, handing_over());
    net::server other = co_await start_server(socket_in(here, "elsewhere/socket"), echo_handler, handing_over());
    net::server next = co_await start_server(socket_in(here, "elsewhere/../socket"), echo_handler, handing_over());
    EXPECT_TRUE(co_await old.handed_over());
    co_await old.drain(10s);
    raw_peer peer(socket_in(here));
    EXPECT_TRUE(co_await ask(peer));
    EXPECT_EQ((co_await next.stats()).accepted, 1u);
    co_await next.drain(10s);
    EXPECT_FALSE(file_at(here.file("socket"))) << "it is removed by another spelling, too";
    co_await other.drain(10s);
  });
}

TEST(hand_over, of_a_unix_socket_that_the_successor_does_not_serve_leaves_the_file_with_the_old_one) {
  const test_support::scratch_directory here;
  run_shards(1, [&]() -> task<> {
    net::server old = co_await start_server(socket_in(here), echo_handler, handing_over());
    std::optional<net::detail::predecessor> taken = co_await net::detail::take_over(socket_in(here));
    EXPECT_TRUE(taken.has_value());
    taken.reset();
    raw_peer peer(socket_in(here));
    EXPECT_TRUE(co_await ask(peer));
    co_await old.drain(10s);
    EXPECT_FALSE(file_at(here.file("socket")));
    // Nor is one in the way that a process left which was killed.
    const net::unique_fd left = net::make_stream_socket(AF_UNIX);
    const net::address at = socket_in(here);
    EXPECT_EQ(::bind(left.get(), at.data(), at.size()), 0);
    net::server next = co_await start_server(socket_in(here), echo_handler, handing_over());
    raw_peer again(socket_in(here));
    EXPECT_TRUE(co_await ask(again));
    co_await next.drain(10s);
  });
}

TEST(hand_over, whoever_waits_in_the_sockets_is_the_successors) {
  run_shards(1, []() -> task<> {
    server_options full = handing_over();
    full.connections_max = 1;
    net::server old = co_await start_server(loopback(), echo_handler, full);
    raw_peer first(old.where());
    EXPECT_TRUE(co_await ask(first));
    co_await settle();
    std::vector<raw_peer> waiting;
    for (int i = 0; i < 30; ++i) waiting.emplace_back(old.where());
    net::server next = co_await start_server(old.where(), echo_handler, handing_over());
    EXPECT_TRUE(co_await old.handed_over());
    std::size_t served = 0;
    std::vector<join_handle<>> asking;
    for (raw_peer& peer : waiting) {
      asking.push_back(spawn([&]() -> task<> {
        const bool answered_it = co_await ask(peer);
        if (answered_it) ++served;
      }));
    }
    co_await until([&] { return served >= 29; });  // while the old one is full, and has one in hand
    EXPECT_GE((co_await next.stats()).accepted, 29u);
    const drain_result end = co_await old.drain(60s);
    EXPECT_EQ(end.unserved, 0u);
    for (auto& each : asking) co_await each;
    EXPECT_EQ(served, 30u);
    co_await next.drain(10s);
  });
}

TEST(hand_over, a_successor_that_ends_before_it_serves_has_taken_nothing) {
  run_shards(1, []() -> task<> {
    net::server old = co_await start_server(loopback(), echo_handler, handing_over());
    for (int i = 0; i < 3; ++i) {
      std::optional<net::detail::predecessor> taken = co_await net::detail::take_over(old.where());
      EXPECT_TRUE(taken.has_value());
      EXPECT_EQ(taken ? taken->listening.size() : 0, 1u);
    }
    raw_peer peer(old.where());
    EXPECT_TRUE(co_await ask(peer));
    net::server next = co_await start_server(old.where(), echo_handler, handing_over());
    EXPECT_TRUE(co_await old.handed_over());
    co_await old.drain(10s);
    co_await next.drain(10s);
  });
}

TEST(hand_over, shuts_the_app_down_when_it_is_asked_to) {
  if (test_support::simulating()) GTEST_SKIP() << "its peer outlives the host";
  std::optional<raw_peer> peer;
  run_shards(2, [&]() -> task<> {  // which would not end by itself
    net::server old = co_await start_server(loopback(), echo_handler, handing_over());
    net::shut_down_when_handed_over(old);
    peer.emplace(old.where());
    EXPECT_TRUE(co_await ask(*peer));
    co_await start_server(old.where(), echo_handler, handing_over());
  });
  char byte = 0;
  EXPECT_EQ(::recv(peer->fd(), &byte, 1, 0), 0) << "a drain, not a reset";
}

TEST(hand_over, a_drain_without_a_successor_says_so) {
  run_shards(1, []() -> task<> {
    net::server s = co_await start_server(loopback(), echo_handler, handing_over());
    const net::address at = s.where();
    auto over = spawn([&]() -> task<bool> { co_return co_await s.handed_over(); });
    co_await turn();
    co_await s.drain(10s);
    EXPECT_FALSE(co_await over);
    // Nobody is there any more, so the next one opens the port itself.
    net::server next = co_await start_server(at, echo_handler, handing_over());
    raw_peer peer(at);
    EXPECT_TRUE(co_await ask(peer));
    co_await next.drain(10s);
  });
}

TEST(hand_over, strange_answers_are_refused_by_name) {
  run_shards(1, []() -> task<> {
    const net::address at = loopback(9);
    net::message_listener name(*net::detail::hand_over_name(at), net::message_kind::packets,
                               net::detail::hand_over_line());
    for (const char* answer :
         {"hello", "skerry 1 sockets 0", "skerry 1 sockets 99999", "skerry 1 sockets 2", "skerry 1 sockets 2x"}) {
      auto asking = spawn([&]() -> task<> { (void)co_await net::detail::take_over(at); });
      std::optional<net::message_socket> asked = co_await name.accept();
      const int wrong[] = {0};
      try {
        if (asked) co_await asked->send(answer, wrong);
        if (asked) co_await asked->send(answer);
      } catch (const std::system_error& gone) {
        EXPECT_EQ(gone.code(), std::errc::broken_pipe) << "it has gone after the first";
      }
      std::string told;
      try {
        co_await asking;
      } catch (const startup_error& refused) {
        told = refused.what();
      }
      EXPECT_NE(told.find("stop that process first"), std::string::npos) << answer << ": " << told;
    }
  });
}

}  // namespace
}  // namespace skerry
