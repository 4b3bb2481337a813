// SPDX-License-Identifier: Apache-2.0
/// Servers that tell whom they do not serve.

#include <skerry/net/endpoint.hpp>
#include <skerry/net/server.hpp>

#include <cerrno>
#include <deque>
#include <string>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>
#include <net/server_clients.hpp>

namespace skerry {
namespace {

using namespace server_tests;

/// What a client hears that says `words` after it has connected, up to the end; "reset" if that is how it ends.
task<std::string> hears(raw_peer& peer, std::string words) {
  try {
    if (!words.empty()) co_await peer.send(words);
    co_return co_await peer.receive_all();
  } catch (const std::system_error& broken) {
    co_return broken.code().value() == ECONNRESET ? "reset" : broken.what();
  }
}

/// Whether it is served; not by a first byte alone, which a refusal has, too.
task<bool> is_served(raw_peer& peer) {
  try {
    co_await peer.send("?");
    const std::string answer = co_await peer.receive_exactly(1);
    co_return answer >= "0" && answer <= "9";  // the number of a shard
  } catch (const std::system_error&) {
    co_return false;
  }
}

TEST(server, with_a_refusal_whoever_is_too_many_is_told_and_nobody_waits) {
  for (unsigned shards : {1u, 3u}) {
    run_shards(shards, [shards]() -> task<> {
      server_options limits;
      limits.connections_max = 2;  // fewer than shards: places are lent here, too
      limits.refusal = "full\n";
      net::server s = co_await start_server(loopback(), echo_handler, limits);
      std::deque<raw_peer> served;
      for (std::uint64_t round = 0; round < 12; ++round) {
        while (served.size() < 2) {
          served.emplace_back(s.where());
          EXPECT_TRUE(co_await ask(served.back())) << shards << ", round " << round;
        }
        raw_peer silent(s.where()), talking(s.where());
        EXPECT_EQ(co_await hears(silent, ""), "full\n");
        EXPECT_EQ(co_await hears(talking, std::string(300'000, 'x')), "full\n") << "what it sent does not reset it";
        silent.close();
        talking.close();
        EXPECT_EQ((co_await s.stats()).refused_connections, 2 * (round + 1));
        EXPECT_EQ((co_await s.stats()).connections, 2u);
        EXPECT_TRUE(co_await ask(served[0]));
        served.pop_front();
        while ((co_await s.stats()).connections != 1) co_await turn();
      }
      EXPECT_EQ((co_await s.stats()).waits_for_place, 0u);
      EXPECT_EQ((co_await s.stats()).accepted, 13u);
      const drain_result end = co_await s.drain(10s);
      EXPECT_EQ(end.finished, 1u) << "who was refused is not among them";
    });
  }
}

TEST(server, that_hands_connections_to_other_shards_tells_whom_it_refuses_and_takes_the_next) {
  for (const net::accept_policy how : {net::accept_policy::round_robin, net::accept_policy::least_loaded}) {
    run_shards(3, [how]() -> task<> {
      server_options limits;
      limits.accept = how;
      limits.connections_max = 4;
      limits.refusal = "full\n";
      net::server s = co_await start_server(loopback(), echo_handler, limits);
      std::deque<raw_peer> served;
      for (std::uint64_t refused = 0, round = 0; round < 20; ++round) {
        while (served.size() < 4) {
          raw_peer next(s.where());
          const bool let_in = co_await is_served(next);
          // The place of one that has left is with the accepting shard a message later.
          if (let_in) served.push_back(std::move(next));
          refused += let_in ? 0 : 1;
        }
        raw_peer too_many(s.where());
        EXPECT_EQ(co_await hears(too_many, "?"), "full\n");
        EXPECT_EQ((co_await s.stats()).refused_connections, ++refused);
        for (raw_peer& each : served) EXPECT_TRUE(co_await is_served(each));
        served.pop_front();
      }
      const drain_result end = co_await s.drain(10s);
      EXPECT_EQ(end.unserved + end.cancelled, 0u);
    });
  }
}

TEST(server, with_a_refusal_too_many_of_one_address_are_told_and_counted) {
  run_shards(1, []() -> task<> {
    server_options limits;
    limits.connections_per_address_max = 1;
    limits.refusal = "enough of you\n";
    net::server s = co_await start_server(loopback(), echo_handler, limits);
    raw_peer first(s.where());
    EXPECT_TRUE(co_await ask(first));
    for (int i = 0; i < 3; ++i) {
      raw_peer second(s.where());
      EXPECT_EQ(co_await hears(second, "?"), "enough of you\n");
    }
    EXPECT_EQ((co_await s.stats()).refused_address, 3u);
    EXPECT_EQ(metric("skerry_server_refused_total", "address"), 3u);
    EXPECT_EQ(metric("skerry_server_refused_total", "connections"), 0u);
    EXPECT_EQ(net::stats_of_this_shards_servers().refused_address, 3u);
    first.close();
    while ((co_await s.stats()).connections != 0) co_await turn();
    raw_peer next(s.where());
    EXPECT_TRUE(co_await ask(next));
    co_await s.drain(10s);
  });
}

TEST(server, a_refusal_after_the_question_waits_for_it_but_not_for_ever) {
  manual_clock time;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        server_options limits;
        limits.connections_max = 1;
        limits.refusal = "no\n";
        limits.refusal_after_question = true;
        net::server s = co_await start_server(loopback(), echo_handler, limits);
        raw_peer served(s.where());
        EXPECT_TRUE(co_await ask(served));
        raw_peer silent(s.where()), asking(s.where());
        while ((co_await s.stats()).refused_connections != 2) co_await turn();
        EXPECT_EQ(co_await hears(asking, "?"), "no\n");
        co_await settle();
        EXPECT_FALSE(has_answer(silent)) << "nobody answers before the question";
        time.pass(net::refusal_max + 1ms);
        EXPECT_EQ(co_await hears(silent, ""), "no\n");
        // Neither ends its side; the time for that is over as well, and the rest is the closing order's.
        while (net::this_endpoints().size() != 1) {
          time.pass(100ms);
          co_await turn();
        }
        EXPECT_TRUE(co_await ask(served));
        co_await s.drain(10s);
      },
      time);
}

TEST(server, past_refusals_at_once_whoever_is_too_many_is_reset) {
  if (test_support::simulating()) GTEST_SKIP() << "there a reset overtakes bytes that are on their way";
  manual_clock time;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        server_options limits;
        limits.connections_max = 1;
        limits.refusal = "no\n";
        net::server s = co_await start_server(loopback(), echo_handler, limits);
        raw_peer served(s.where());
        EXPECT_TRUE(co_await ask(served));
        std::vector<raw_peer> told;  // none ends its side, and time stands still
        for (std::uint64_t i = 1; i <= net::refusals_at_once; ++i) {
          told.emplace_back(s.where());
          while ((co_await s.stats()).refused_connections != i) co_await turn();
        }
        for (int i = 0; i < 3; ++i) {
          raw_peer more(s.where());
          EXPECT_EQ(co_await hears(more, ""), "reset");
        }
        for (raw_peer& each : told) EXPECT_EQ(co_await hears(each, ""), "no\n");
        EXPECT_TRUE(co_await ask(served));
        // A drain does not wait for those longer than for anybody who has just connected.
        auto ending = spawn([&]() -> task<drain_result> { co_return co_await s.drain(1h); });
        co_await settle();
        EXPECT_FALSE(ending.is_finished());
        time.pass(net::endpoint::first_bytes_max + 1ms);
        EXPECT_EQ((co_await ending).finished, 1u);
      },
      time);
}

}  // namespace
}  // namespace skerry
