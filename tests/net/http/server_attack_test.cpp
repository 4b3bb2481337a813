// SPDX-License-Identifier: Apache-2.0
/// Many clients that mean harm at once, of every kind, beside some that do not.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/shards/shard.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/serving.hpp>

namespace skerry::http_tests {
namespace {

std::uint64_t counted(std::string_view name) {
  for (const observe::sample& each : this_shard().metrics->take_snapshot()) {
    if (each.info.name != name) continue;
    if (const auto* total = std::get_if<std::uint64_t>(&each.value)) return *total;
    return static_cast<std::uint64_t>(std::get<std::int64_t>(each.value));
  }
  ADD_FAILURE() << "no metric " << name;
  return 0;
}

task<> some_turns(int n) {
  for (int i = 0; i < n; ++i) co_await turn();
}

TEST(http_server, five_hundred_attackers_of_all_kinds_are_ended_and_others_notice_nothing) {
  constexpr std::size_t attackers_max = 500;
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    raw_peer honest(at);  // from before the attack to its end
    std::vector<raw_peer> slow_heads, slow_bodies, deaf;
    while (slow_heads.size() + slow_bodies.size() + deaf.size() < attackers_max) {
      slow_heads.emplace_back(at);
      co_await slow_heads.back().send("GET / HTTP/1.1\r\n");
      slow_bodies.emplace_back(at);
      co_await slow_bodies.back().send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx");
      deaf.emplace_back(at, 4096);
      co_await deaf.back().send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    std::size_t before = 1;  // until nothing more fits into any of the deaf ones
    while (before != resource<world>().streamed) {
      before = resource<world>().streamed;
      co_await some_turns(50);
    }
    std::size_t buffers_most = 0;
    for (int second = 0; second < 40; ++second) {
      // Nobody's time passes in here, so an honest answer cannot have waited for an attacker's limit.
      co_await honest.send(hello);
      const std::string kept = co_await receive_until(honest, "World!");
      EXPECT_EQ(status_line(kept), "HTTP/1.1 200 OK");
      const std::string fresh = co_await whole_answer(at, last_hello);
      EXPECT_EQ(body_of(fresh), "Hello, World!");
      // They go on with what looks like work: a line of a head, a byte of a body.
      for (raw_peer& each : slow_heads) {
        if (second < 8) co_await each.send("X: y\r\n");
      }
      for (raw_peer& each : slow_bodies) {
        if (second < 25) co_await each.send("x");
      }
      co_await some_turns(3);
      buffers_most = std::max<std::size_t>(buffers_most, stats().buffers.taken);
      time.pass(1s);
      co_await some_turns(2);
    }
    const std::uint64_t ended = counted("skerry_http_timeouts_total");
    EXPECT_EQ(ended, slow_heads.size() + slow_bodies.size() + deaf.size());
    if (testing::Test::HasFailure()) co_return;  // who was not ended would be waited for in vain
    EXPECT_EQ(counted("skerry_http_handling"), 0u);
    for (std::vector<raw_peer>* each : {&slow_heads, &slow_bodies}) {
      for (raw_peer& peer : *each) {
        const std::string answer = co_await peer.receive_all();
        EXPECT_EQ(status_line(answer), "HTTP/1.1 408 Request Timeout");
      }
    }
    EXPECT_EQ(counted("skerry_http_connections"), 1u) << "the honest one";
    EXPECT_LE(buffers_most, 2 * attackers_max) << "a head or body that crawls holds a buffer or two";
    slow_heads.clear();
    slow_bodies.clear();
    time.pass(10s);  // what the deaf have not taken is given up
    while (net::this_endpoints().size() > 1) co_await turn();
    EXPECT_EQ(stats().buffers.taken, 0u);
  });
}

TEST(http_server, a_client_that_vanishes_in_the_middle_of_a_body_ends_its_handler) {
  with_server([](const address& at) -> task<> {
    for (const std::string_view begun :
         {"POST /any-length HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
          "POST /any-length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
          "POST /any-length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
          "POST /any-length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: "}) {
      for (const bool by_reset : {false, true}) {
        raw_peer peer(at);
        co_await peer.send(begun);
        while (counted("skerry_http_handling") == 0) co_await turn();
        by_reset ? peer.reset() : peer.close();
        while (net::this_endpoints().size() != 0) co_await turn();
        EXPECT_EQ(counted("skerry_http_handling"), 0u) << begun;
        EXPECT_EQ(stats().buffers.taken, 0u) << begun;
      }
    }
    const std::string answer = co_await whole_answer(at, last_hello);
    EXPECT_EQ(body_of(answer), "Hello, World!");
  });
}

TEST(http_server, half_a_body_and_the_end_is_answered_with_400_and_closed) {
  with_server([](const address& at) -> task<> {
    raw_peer peer(at);
    co_await peer.send("POST /any-length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    peer.shut_down_output();
    const std::string answer = co_await peer.receive_all();
    EXPECT_EQ(status_line(answer), "HTTP/1.1 400 Bad Request");
    EXPECT_EQ(count(answer, "Connection: close\r\n"), 1u);
  });
}

}  // namespace
}  // namespace skerry::http_tests
