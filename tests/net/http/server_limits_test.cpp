// SPDX-License-Identifier: Apache-2.0
/// What a client may cost a server: bodies, time, requests, and what is left when one has gone.

#include <skerry/net/endpoint.hpp>

#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/serving.hpp>

namespace skerry::http_tests {
namespace {

TEST(http_server, a_body_past_the_limit_gets_413) {
  server_options options;
  options.body_bytes_max = 10;
  with_server(options, [](const address& at, manual_clock&) -> task<> {
    const std::string fits = co_await whole_answer(
        at, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789");
    EXPECT_EQ(body_of(fits), "0123456789");
    const std::string sized =
        co_await whole_answer(at, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890");
    EXPECT_EQ(status_line(sized), "HTTP/1.1 413 Content Too Large");
    const std::string chunked = co_await whole_answer(
        at,
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n67890\r\n0\r\n\r\n");
    EXPECT_EQ(status_line(chunked), "HTTP/1.1 413 Content Too Large");
    const std::string raised = co_await whole_answer(
        at, "POST /any-length HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 11\r\n\r\n01234567890");
    EXPECT_EQ(body_of(raised), "11");
  });
}

TEST(http_server, a_large_upload_is_read_in_bounded_memory) {
  with_server([](const address& at) -> task<> {
    constexpr std::size_t blocks = 200;
    const std::string block = numbered_bytes(50'000);
    raw_peer peer(at);
    co_await peer.send(
        "POST /any-length HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (std::size_t i = 0; i < blocks; ++i) {
      co_await peer.send("c350\r\n");
      co_await peer.send(block);
      co_await peer.send("\r\n");
    }
    co_await peer.send("0\r\n\r\n");
    const std::string answer = co_await peer.receive_all();
    EXPECT_EQ(body_of(answer), std::to_string(blocks * block.size()));
  });
}

TEST(http_server, a_body_nobody_reads_is_dropped_or_ends_the_connection) {
  with_server([](const address& at) -> task<> {
    const std::string small = co_await whole_answer(at, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" +
                                                            std::string(1000, 'x') + std::string(last_hello));
    EXPECT_EQ(count(small, "HTTP/1.1 200 OK"), 2u);
    const std::string chunked = co_await whole_answer(
        at, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n" +
                std::string(last_hello));
    EXPECT_EQ(count(chunked, "HTTP/1.1 200 OK"), 2u);
    const std::string large = co_await whole_answer(at, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" +
                                                            std::string(100000, 'x') + std::string(last_hello));
    EXPECT_EQ(count(large, "HTTP/1.1 200 OK"), 1u);
  });
}

TEST(http_server, an_idle_connection_ends_in_silence) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    raw_peer fresh(at), used(at);
    co_await used.send(hello);
    const std::string answer = co_await receive_until(used, "World!");
    time.pass(59s);
    co_await turn();
    co_await used.send(hello);
    const std::string again = co_await receive_until(used, "World!");
    EXPECT_EQ(again.size(), answer.size());
    time.pass(2s);
    const std::string nothing = co_await fresh.receive_all();
    EXPECT_EQ(nothing, "");
    time.pass(57s);
    co_await turn();
    co_await used.send(hello);
    co_await receive_until(used, "World!");
    time.pass(61s);
    const std::string end = co_await used.receive_all();
    EXPECT_EQ(end, "");
  });
}

TEST(http_server, a_head_has_to_arrive_in_time_however_busy_it_looks) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    raw_peer slow(at);
    co_await slow.send("GET / HTTP/1.1\r\nHost: a\r\n");
    for (int second = 0; second < 9; ++second) {
      co_await turn();
      co_await turn();
      time.pass(1s);
      co_await slow.send("X: y\r\n");
    }
    co_await turn();
    time.pass(9s);  // less than the limit since the last byte, more since the first
    const std::string answer = co_await slow.receive_all();
    EXPECT_EQ(status_line(answer), "HTTP/1.1 408 Request Timeout");
  });
}

TEST(http_server, a_body_may_neither_stop_nor_trickle) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    constexpr std::string_view begin = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    raw_peer silent(at), slow(at), steady(at);
    co_await silent.send(begin);
    co_await slow.send(begin);
    co_await steady.send(begin);
    co_await settle();
    for (int step = 0; step < 8; ++step) {
      time.pass(10s);
      if (step < 3) co_await slow.send("x");
      co_await steady.send(std::string(10'000, 'y'));
      co_await settle();
    }
    const std::string silent_answer = co_await silent.receive_all();
    EXPECT_EQ(status_line(silent_answer), "HTTP/1.1 408 Request Timeout");
    const std::string slow_answer = co_await slow.receive_all();
    EXPECT_EQ(status_line(slow_answer), "HTTP/1.1 408 Request Timeout");
    co_await steady.send(std::string(20'000, 'y'));
    const std::string steady_answer = co_await receive_until(steady, "y");
    EXPECT_EQ(status_line(steady_answer), "HTTP/1.1 200 OK");
  });
}

TEST(http_server, a_handler_that_takes_too_long_is_cancelled_and_answered_for) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    world& seen = resource<world>();
    raw_peer peer(at);
    co_await peer.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    co_await seen.handler_waits.wait();
    EXPECT_EQ(seen.cancelled, 0);
    time.pass(61s);
    const std::string answer = co_await peer.receive_all();
    EXPECT_EQ(status_line(answer), "HTTP/1.1 503 Service Unavailable");
    EXPECT_EQ(seen.cancelled, 1);
  });
}

task<> until_nothing_more_fits() {
  std::size_t before = resource<world>().streamed + 1;
  while (before != resource<world>().streamed) {
    before = resource<world>().streamed;
    for (int i = 0; i < 50; ++i) co_await turn();
  }
}

TEST(http_server, a_stream_whose_end_is_the_connections_is_reset_where_a_limit_cuts_it) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    raw_peer deaf(at, 4096);
    co_await deaf.send("GET /endless HTTP/1.0\r\n\r\n");
    co_await until_nothing_more_fits();
    EXPECT_GT(resource<world>().streamed, 0u);
    time.pass(31s);
    while (net::this_endpoints().size() != 0) co_await turn();  // nobody waits for it to take the rest
    int error = 0;
    try {
      (void)co_await deaf.receive_all();
    } catch (const std::system_error& broken) {
      error = broken.code().value();
    }
    EXPECT_EQ(error, ECONNRESET);
  });
}

TEST(http_server, who_does_not_read_is_not_written_to_and_loses_the_connection) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    world& seen = resource<world>();
    raw_peer deaf(at, 4096);
    co_await deaf.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    co_await until_nothing_more_fits();
    EXPECT_LT(seen.streamed, 16u << 20);
    time.pass(31s);
    for (int i = 0; i < 10; ++i) co_await turn();
    EXPECT_EQ(net::this_endpoints().size(), 1u);  // it has lost its handle, and sends what it may
    time.pass(6s);
    while (net::this_endpoints().size() != 0) co_await turn();
    std::string rest;
    try {
      rest = co_await deaf.receive_all();
    } catch (const std::system_error& reset) {
      EXPECT_EQ(reset.code(), std::errc::connection_reset);
    }
    EXPECT_EQ(count(rest, "408"), 0u);
  });
}

TEST(http_server, slow_clients_by_the_hundred_leave_and_others_notice_nothing) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    std::vector<raw_peer> attackers;
    for (int i = 0; i < 500; ++i) {
      attackers.emplace_back(at);
      co_await attackers.back().send("GET / HTTP/1.1\r\n");
    }
    while (net::this_endpoints().size() < attackers.size()) co_await turn();
    co_await settle();
    for (int second = 0; second < 11; ++second) {
      for (int i = 0; i < 3; ++i) co_await turn();
      const std::string answer = co_await whole_answer(at, last_hello);
      EXPECT_EQ(body_of(answer), "Hello, World!");
      time.pass(1s);
    }
    for (raw_peer& each : attackers) {
      const std::string answer = co_await each.receive_all();
      EXPECT_EQ(status_line(answer), "HTTP/1.1 408 Request Timeout");
    }
  });
}

TEST(http_server, more_requests_than_allowed_get_503) {
  server_options options;
  options.requests_max = 1;
  with_server(options, [](const address& at, manual_clock&) -> task<> {
    world& seen = resource<world>();
    raw_peer first(at);
    co_await first.send("GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    co_await seen.handler_waits.wait();
    const std::string second = co_await whole_answer(at, last_hello);
    EXPECT_EQ(status_line(second), "HTTP/1.1 503 Service Unavailable");
    EXPECT_EQ(count(second, "Retry-After: 1\r\n"), 1u);
    seen.let_go.set();
    const std::string answer = co_await first.receive_all();
    EXPECT_EQ(body_of(answer), "waited");
    const std::string third = co_await whole_answer(at, last_hello);
    EXPECT_EQ(status_line(third), "HTTP/1.1 200 OK");
  });
}

TEST(http_server, a_connection_ends_after_its_share_of_requests) {
  server_options options;
  options.requests_per_connection_max = 2;
  with_server(options, [](const address& at, manual_clock&) -> task<> {
    const std::string answer = co_await whole_answer(at, std::string(hello) + std::string(hello) + std::string(hello));
    EXPECT_EQ(count(answer, "HTTP/1.1 200 OK"), 2u);
    EXPECT_EQ(count(answer, "Connection: close\r\n"), 1u);
  });
}

TEST(http_server, a_drain_finishes_what_was_asked_and_ends_the_idle) {
  manual_clock time;
  app_options quiet = quiet_options(1);
  quiet.log_level = "off";
  run_shards(
      quiet,
      []() -> task<> {
        world& seen = resources().emplace<world>();
        const address at = co_await net::http::serve(loopback(), [] { return net::http::handler(by_path); });
        raw_peer idle(at), asking(at);
        co_await idle.send(hello);
        co_await receive_until(idle, "World!");
        co_await asking.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
        co_await seen.handler_waits.wait();
        app::shutdown();
        const std::string end = co_await idle.receive_all();
        EXPECT_EQ(end, "");
        seen.let_go.set();
        const std::string answer = co_await asking.receive_all();
        EXPECT_EQ(count(answer, "Connection: close\r\n"), 1u);
        EXPECT_EQ(body_of(answer), "waited");
      },
      time);
}

TEST(http_server, a_body_that_a_drain_cuts_is_not_the_clients_fault) {
  manual_clock time;
  app_options quiet = quiet_options(1);
  quiet.log_level = "off";
  const auto body = []() -> task<> {
    resources().emplace<world>();
    const address at = co_await net::http::serve(loopback(), [] { return net::http::handler(by_path); });
    raw_peer sized(at), chunked(at), left(at);
    co_await sized.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    co_await chunked.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    co_await left.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    co_await settle();
    left.shut_down_output();
    co_await settle();
    app::shutdown();
    for (raw_peer* each : {&sized, &chunked}) {
      const std::string answer = co_await each->receive_all();
      EXPECT_EQ(status_line(answer), "HTTP/1.1 503 Service Unavailable");
      EXPECT_EQ(count(answer, "Connection: close\r\n"), 1u);
    }
    const std::string answer = co_await left.receive_all();
    EXPECT_EQ(status_line(answer), "HTTP/1.1 400 Bad Request");
  };
  run_shards(quiet, body, time);
}

TEST(http_server, clients_that_vanish_leave_nothing) {
  with_server([](const address& at) -> task<> {
    for (const std::string_view begun :
         {"", "GET / HT", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
          "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n", "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"}) {
      for (const bool by_reset : {false, true}) {
        raw_peer peer(at);
        co_await peer.send(begun);
        for (int i = 0; i < 5; ++i) co_await turn();
        by_reset ? peer.reset() : peer.close();
      }
    }
    const std::string answer = co_await whole_answer(at, last_hello);
    EXPECT_EQ(body_of(answer), "Hello, World!");
  });
}

}  // namespace
}  // namespace skerry::http_tests
