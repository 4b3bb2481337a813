// SPDX-License-Identifier: Apache-2.0
/// Servers: limits and their answers, and drains that lose nobody who had connected.

#include <skerry/framework/random.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/detail/server_part.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/server_clients.hpp>
#include <poll.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace server_tests;

TEST(server, serves_on_all_shards_and_counts) {
  run_shards(3, []() -> task<> {
    net::server s = co_await start_server(loopback(), echo_handler);
    std::vector<raw_peer> peers;
    for (int i = 0; i < 100; ++i) peers.emplace_back(s.where());
    std::string from;
    for (raw_peer& peer : peers) {
      co_await peer.send("?");
      from += co_await peer.receive_exactly(1);
    }
    EXPECT_EQ(from.size(), 100u);
    for (char shard : {'0', '1', '2'}) EXPECT_TRUE(from.contains(shard)) << shard;
    const server_stats open = co_await s.stats();
    EXPECT_EQ(open.connections, 100u);
    EXPECT_EQ(open.accepted, 100u);
    EXPECT_EQ(metric("skerry_server_connections"), static_cast<std::uint64_t>(std::ranges::count(from, '0')));
    const drain_result end = co_await s.drain(10s);
    EXPECT_EQ(end.finished, 100u);
    EXPECT_EQ(end.cancelled, 0u);
    for (raw_peer& peer : peers) EXPECT_EQ(co_await peer.receive_all(), "");
    EXPECT_EQ(metric("skerry_server_accepted_total"), 0u) << "its metrics go with it";
    EXPECT_THROW(raw_peer refused(s.where()), std::system_error);
  });
}

TEST(server, handlers_that_throw_end_their_own_connection_only) {
  run_shards(1, []() -> task<> {
    const auto handler = [](net::stream client) -> task<> {
      const buffer bytes = co_await client.read();
      if (text_of(bytes) == "!") throw std::system_error(ECONNRESET, std::generic_category(), "thrown");
      co_await client.write("y");
    };
    net::server s = co_await start_server(loopback(), handler);
    for (const char* text : {"!", "?", "!", "?"}) {
      raw_peer peer(s.where());
      co_await peer.send(text);
      const std::string answer = co_await peer.receive_all();
      EXPECT_EQ(answer, *text == '!' ? "" : "y");
    }
    EXPECT_EQ((co_await s.stats()).errors, 2u);
    EXPECT_EQ(metric("skerry_server_errors_total"), 2u);
    co_await s.drain(10s);
  });
}

// --- limits ---

TEST(server, at_its_limit_of_connections_others_wait_until_one_ends) {
  for (unsigned shards : {1u, 3u}) {
    run_shards(shards, [shards]() -> task<> {
      server_options limits;
      limits.connections_max = 2;  // fewer than shards: places must be lent
      net::server s = co_await start_server(loopback(), echo_handler, limits);
      constexpr std::size_t crowd = 12;
      std::vector<raw_peer> peers;
      for (std::size_t i = 0; i < crowd; ++i) peers.emplace_back(s.where());
      for (raw_peer& peer : peers) co_await peer.send("?");
      for (std::size_t gone = 0; gone < crowd; ++gone) {
        const std::size_t now = std::min<std::size_t>(2, crowd - gone);
        co_await until([&] { return answered(peers) >= now; });
        co_await settle();
        EXPECT_EQ(answered(peers), now) << shards;
        while ((co_await s.stats()).connections > now) co_await turn();  // it hears of the last one's end in time
        EXPECT_EQ((co_await s.stats()).connections, now);
        std::ranges::find_if(peers, has_answer)->close();
      }
      while ((co_await s.stats()).connections != 0) co_await turn();
      const server_stats all = co_await s.stats();
      EXPECT_EQ(all.accepted, crowd) << "none was lost";
      EXPECT_GE(all.waits_for_place, 1u);
      co_await s.drain(10s);
    });
  }
}

TEST(server, who_waits_for_a_place_waits_in_the_kernel) {
  run_shards(1, []() -> task<> {
    server_options limits;
    limits.connections_max = 1;
    net::server s = co_await start_server(loopback(), echo_handler, limits);
    std::vector<raw_peer> peers;
    peers.emplace_back(s.where());
    EXPECT_TRUE(co_await ask(peers[0]));
    co_await settle();  // the accept under way is cancelled
    const std::ptrdiff_t before = test_support::open_descriptors();
    for (int i = 0; i < 50; ++i) peers.emplace_back(s.where());
    co_await settle();
    EXPECT_EQ(test_support::open_descriptors(), before + 51) << "one on the server's side";
    for (std::size_t i = 0; i + 1 < peers.size(); ++i) {
      peers[i].close();
      EXPECT_TRUE(co_await ask(peers[i + 1]));
    }
    EXPECT_LE(test_support::open_descriptors(), before + 3);
    co_await s.drain(10s);
  });
}

TEST(server, too_many_of_one_address_are_reset_and_counted) {
  run_shards(1, []() -> task<> {
    server_options limits;
    limits.connections_per_address_max = 2;
    net::server s = co_await start_server(loopback(), echo_handler, limits);
    std::vector<raw_peer> peers;
    for (int i = 0; i < 2; ++i) {
      peers.emplace_back(s.where());
      EXPECT_TRUE(co_await ask(peers.back()));
    }
    for (std::uint64_t refused = 1; refused <= 3; ++refused) {
      raw_peer third(s.where());
      int error = 0;
      try {
        (void)co_await third.receive();
      } catch (const std::system_error& reset) {
        error = reset.code().value();
      }
      EXPECT_EQ(error, ECONNRESET) << "no end that could be taken for an answer";
      EXPECT_EQ((co_await s.stats()).refused_address, refused);
    }
    EXPECT_EQ(metric("skerry_server_refused_total", "address"), 3u);
    // Another address has its own count.
    net::unique_fd other = net::make_stream_socket(AF_INET);
    net::bind_to(other.get(), loopback(0, "127.0.0.9"));
    const net::address to = s.where();
    (void)::connect(other.get(), to.data(), to.size());
    co_await writable(other.get());
    EXPECT_EQ(::send(other.get(), "?", 1, 0), 1);
    co_await readable(other.get());
    char answer = 0;
    EXPECT_EQ(::recv(other.get(), &answer, 1, 0), 1);
    // And who has gone makes room.
    peers.front().close();
    while ((co_await s.stats()).connections != 2) co_await turn();
    raw_peer next(s.where());
    EXPECT_TRUE(co_await ask(next));
    co_await s.drain(10s);
  });
}

TEST(address_counts, ipv6_networks_are_one_and_ipv4_is_ipv4_however_written) {
  const auto peer = [](const char* ip) { return net::detail::peer_of(*net::address::parse(ip, 1)); };
  EXPECT_EQ(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff::9"));
  EXPECT_NE(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
  EXPECT_EQ(peer("10.0.0.1"), peer("::ffff:10.0.0.1"));
  EXPECT_NE(peer("10.0.0.1"), peer("10.0.0.2"));
  EXPECT_EQ(net::detail::peer_of(*net::address::parse("unix:@x")), net::detail::nobody);
}

TEST(server, accepts_at_its_rate_and_the_others_wait) {
  if (test_support::simulating()) GTEST_SKIP() << "it moves time itself";
  manual_clock time;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        server_options limits;
        limits.accepts_per_second = 10;
        limits.accepts_at_once = 3;
        net::server s = co_await start_server(loopback(), echo_handler, limits);
        std::vector<raw_peer> peers;
        for (int i = 0; i < 10; ++i) peers.emplace_back(s.where());
        for (raw_peer& peer : peers) co_await peer.send("?");
        for (std::size_t served = 3; served <= 10; ++served) {
          co_await until([&] { return answered(peers) >= served; });
          co_await settle();
          EXPECT_EQ(answered(peers), served) << "time stands still";
          time.pass(101ms);
        }
        EXPECT_GE((co_await s.stats()).waits_for_token, 1u);
        time.pass(10s);  // the bucket is full again, and holds three
        for (int i = 0; i < 5; ++i) peers.emplace_back(s.where());
        for (std::size_t i = 10; i < peers.size(); ++i) co_await peers[i].send("?");
        co_await until([&] { return answered(peers) >= 13; });
        co_await settle();
        EXPECT_EQ(answered(peers), 13u);
        // A drain takes those who had connected at once.
        auto ending = spawn([&]() -> task<drain_result> { co_return co_await s.drain(1h); });
        co_await until([&] { return answered(peers) == 15; });
        for (raw_peer& peer : peers) peer.shut_down_output();
        EXPECT_EQ((co_await ending).finished, 15u);
      },
      time);
}

// --- drains ---

TEST(server, a_drain_serves_who_had_connected_and_asks_later) {
  if (test_support::simulating()) GTEST_SKIP() << "its peers outlive their host";
  for (bool of_the_app : {false, true}) {
    std::vector<raw_peer> peers;
    std::size_t served = 0;
    run_shards(2, [&]() -> task<> {
      net::server s = co_await start_server(loopback(), echo_handler);
      for (int i = 0; i < 200; ++i) {
        peers.emplace_back(s.where());
        if (i % 50 == 49) co_await turn();  // of some the process has heard, of others only the kernel
      }
      auto ending = spawn([&, of_the_app]() -> task<> {
        if (of_the_app) co_return app::shutdown();
        const drain_result end = co_await s.drain(60s);
        EXPECT_EQ(end.finished, 200u);
      });
      for (int i = 0; i < 5; ++i) co_await yield();
      for (raw_peer& peer : peers) co_await peer.send("?");
      for (raw_peer& peer : peers) {
        served += (co_await peer.receive_exactly(1)).size();
      }
      co_await ending;
    });
    EXPECT_EQ(served, 200u) << of_the_app;
  }
}

TEST(server, a_drain_serves_who_waits_for_a_place_then) {
  run_shards(1, []() -> task<> {
    server_options limits;
    limits.connections_max = 2;
    net::server s = co_await start_server(loopback(), echo_handler, limits);
    std::vector<raw_peer> peers;
    for (int i = 0; i < 20; ++i) {
      peers.emplace_back(s.where());
      co_await peers.back().send("?");
      if (i < 2) co_await until([&] { return answered(peers) == peers.size(); });
      if (i == 2) co_await settle();  // it is in hand, and the others stay in the kernel
    }
    const drain_result end = co_await s.drain(60s);
    EXPECT_EQ(end.finished, 20u);
    EXPECT_EQ(end.unserved, 0u);
    for (raw_peer& peer : peers) EXPECT_EQ((co_await peer.receive_all()).size(), 1u);
  });
}

TEST(server, past_the_limit_of_a_drain_what_is_left_is_cancelled_and_the_waiting_reset) {
  manual_clock time;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        static int cancelled = 0;
        cancelled = 0;
        const auto forever = [](net::stream client) -> task<> {
          struct counted {
            ~counted() { ++cancelled; }
          } const at_end;
          co_await client.write("!");
          event never;
          co_await never.wait();
        };
        server_options limits;
        limits.connections_max = 3;
        net::server s = co_await start_server(loopback(), forever, limits);
        std::vector<raw_peer> peers;
        for (int i = 0; i < 5; ++i) peers.emplace_back(s.where());
        co_await until([&] { return answered(peers) == 3; });
        auto ending = spawn([&]() -> task<drain_result> { co_return co_await s.drain(5s); });
        co_await settle();
        EXPECT_FALSE(ending.is_finished());
        EXPECT_EQ(cancelled, 0);
        time.pass(6s);
        const drain_result end = co_await ending;
        EXPECT_EQ(end.cancelled, 3u);
        EXPECT_EQ(end.unserved, 2u);
        EXPECT_EQ(end.finished, 0u);
        EXPECT_EQ(cancelled, 3);
      },
      time);
}

TEST(server, the_drain_of_one_leaves_others_alone) {
  run_shards(2, []() -> task<> {
    net::server one = co_await start_server(loopback(), echo_handler);
    net::server other = co_await start_server(loopback(), echo_handler);
    raw_peer ours(one.where()), theirs(other.where());
    EXPECT_TRUE(co_await ask(ours));
    EXPECT_TRUE(co_await ask(theirs));
    EXPECT_EQ((co_await one.drain(10s)).finished, 1u);
    EXPECT_EQ(co_await ours.receive_all(), "");
    EXPECT_TRUE(co_await ask(theirs));
    raw_peer another(other.where());
    EXPECT_TRUE(co_await ask(another));
    app::shutdown();  // drains what is left
    EXPECT_EQ(co_await theirs.receive_all(), "");
  });
}

TEST(server, a_drain_that_is_cancelled_has_begun_and_the_app_ends_all_the_same) {
  run_shards(2, []() -> task<> {
    net::server s = co_await start_server(loopback(), echo_handler);
    raw_peer peer(s.where());
    EXPECT_TRUE(co_await ask(peer));
    auto ending = spawn([&]() -> task<> { co_await s.drain(1h); });
    co_await yield();
    ending.abort();
    co_await settle();
    EXPECT_EQ(co_await peer.receive_all(), "");
    app::shutdown();
  });
}

TEST(server, whoever_connects_before_a_drain_is_answered_wherever_it_falls) {
  random_source random(test_support::test_seed());
  for (int round = 0; round < 30; ++round) {
    const auto before = random() % 40, turns = random() % 6, shards = 1 + random() % 3;
    run_shards(static_cast<unsigned>(shards), [&]() -> task<> {
      server_options limits;
      if (random() % 2 == 0) limits.connections_max = 1 + static_cast<std::uint32_t>(random() % 10);
      net::server s = co_await start_server(loopback(), echo_handler, limits);
      std::vector<raw_peer> peers;
      for (std::uint64_t i = 0; i < before; ++i) {
        peers.emplace_back(s.where());
        if (random() % 2 == 0) co_await peers.back().send("?");
        if (random() % 4 == 0) co_await turn();
      }
      for (std::uint64_t i = 0; i < turns; ++i) co_await turn();
      std::size_t wrong = 0;
      std::vector<join_handle<>> asking;
      auto ending = spawn([&]() -> task<drain_result> { co_return co_await s.drain(60s); });
      for (raw_peer& peer : peers) {
        asking.push_back(spawn([&]() -> task<> {
          try {
            co_await peer.send("?");
            if ((co_await peer.receive_exactly(1)).empty()) ++wrong;
          } catch (const std::system_error&) {
            ++wrong;
          }
          peer.shut_down_output();
        }));
      }
      for (auto& each : asking) co_await each;
      const drain_result end = co_await ending;
      EXPECT_EQ(wrong, 0u);
      EXPECT_EQ(end.cancelled + end.unserved, 0u);
    });
  }
}

TEST(server, a_start_that_fails_or_is_cancelled_leaves_nothing) {
  run_shards(2, []() -> task<> {
    net::unique_fd taken = net::make_stream_socket(AF_INET);
    const net::address any = loopback();
    EXPECT_EQ(::bind(taken.get(), any.data(), any.size()), 0);
    EXPECT_EQ(::listen(taken.get(), 1), 0);
    std::string told;
    try {
      co_await start_server(net::local_address(taken.get()), echo_handler);
    } catch (const startup_error& refused) {
      told = refused.what();
    }
    EXPECT_NE(told.find("another process has this port"), std::string::npos) << told;
    for (int turns = 0; turns < 6; ++turns) {
      auto starting = spawn([]() -> task<> { co_await start_server(loopback(), echo_handler); });
      for (int i = 0; i < turns; ++i) co_await turn();
      starting.abort();
      const bool cancelled = co_await test_support::was_cancelled(starting);
      if (!cancelled) break;  // it serves until the end, as nobody kept the handle
      co_await settle();
      EXPECT_EQ(metric("skerry_server_accepted_total"), 0u);
      EXPECT_EQ(net::this_endpoints().stats().listeners, 0u) << turns;
    }
    app::shutdown();
  });
}

// --- out of descriptors ---

/// In a process of its own: 200 connections, which end one by one. Says how many were never answered.
int crowd_of_200(const net::address& to, int told_fd) {
  std::vector<int> all;
  for (int i = 0; i < 200; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(fd, to.data(), to.size()) != 0 || ::send(fd, "?", 1, MSG_NOSIGNAL) != 1) return 1;
    all.push_back(fd);
  }
  const auto next_answered = [&all]() -> int {
    std::vector<pollfd> polled;
    for (int fd : all) polled.push_back({fd, POLLIN, 0});
    if (::poll(polled.data(), polled.size(), 60'000) <= 0) return -1;
    for (const pollfd& each : polled) {
      if (each.revents != 0) return each.fd;
    }
    return -1;
  };
  while (!all.empty()) {
    const int fd = next_answered();
    char answer = 0;
    if (fd < 0 || ::recv(fd, &answer, 1, 0) != 1) return 2;
    std::erase(all, fd);
    ::close(fd);
    (void)!::write(told_fd, "x", 1);
  }
  return 0;
}

TEST(server, with_128_descriptors_and_200_clients_all_are_served_as_places_become_free) {
  if (test_support::simulating()) GTEST_SKIP() << "children are not simulated";
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan looks at objects through a pipe, and there are no descriptors for one";
#endif
  int port_pipe[2], told_pipe[2];
  ASSERT_EQ(::pipe(port_pipe), 0);
  ASSERT_EQ(::pipe(told_pipe), 0);
  const pid_t crowd = ::fork();
  if (crowd == 0) {
    std::uint16_t port = 0;
    if (::read(port_pipe[0], &port, sizeof port) != sizeof port) ::_exit(3);
    ::_exit(crowd_of_200(loopback(port), told_pipe[1]));
  }
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit lower = before;
  lower.rlim_cur = 128;
  ::setrlimit(RLIMIT_NOFILE, &lower);
  run_shards(1, [&]() -> task<> {
    net::server s = co_await start_server(loopback(), echo_handler);
    const std::uint16_t port = s.where().port();
    EXPECT_EQ(::write(port_pipe[1], &port, sizeof port), static_cast<ssize_t>(sizeof port));
    const clock::time_point begin = clock::now();
    for (std::size_t ended = 0; ended < 200;) {
      co_await readable(told_pipe[0]);
      char bytes[200];
      const ssize_t got = ::read(told_pipe[0], bytes, sizeof bytes);
      EXPECT_GT(got, 0);
      if (got <= 0) break;
      ended += static_cast<std::size_t>(got);
    }
    // One try for each that ended and one for each pause: what spins has thousands.
    const auto pauses = static_cast<std::uint64_t>((clock::now() - begin) / net::acceptor::failure_pause);
    EXPECT_GE(net::this_endpoints().stats().accept_failures, 1u);
    EXPECT_LE(net::this_endpoints().stats().accept_failures, 200 + pauses + 1);
    EXPECT_EQ((co_await s.stats()).accepted, 200u);
    co_await s.drain(10s);
  });
  ::setrlimit(RLIMIT_NOFILE, &before);
  int status = 0;
  EXPECT_EQ(::waitpid(crowd, &status, 0), crowd);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  for (int fd : {port_pipe[0], port_pipe[1], told_pipe[0], told_pipe[1]}) ::close(fd);
}

}  // namespace
}  // namespace skerry
