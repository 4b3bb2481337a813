// SPDX-License-Identifier: Apache-2.0
/// What a client may take: connections, time and bytes; and what is left of a request that is cancelled.

#include <skerry/net/endpoint.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/scripted_server.hpp>
#include <net/http/serving.hpp>

namespace skerry::http_tests {
namespace {

TEST(http_client, places_at_a_host_are_given_in_turn) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string&) { return ok("x"); });
    client_options options;
    options.connections_per_host_max = 1;
    client c(options);
    std::vector<join_handle<std::string>> asked;
    for (int i = 0; i < 5; ++i) asked.push_back(spawn(answer_of(c.get(server.url("/" + std::to_string(i))))));
    for (auto& each : asked) {
      const std::string answer = co_await each;
      EXPECT_EQ(answer, "200 x");
    }
    EXPECT_EQ(server.accepted, 1);
    for (std::size_t i = 0; i < 5; ++i) EXPECT_TRUE(server.requests[i].starts_with("GET /" + std::to_string(i) + " "));
  });
}

TEST(http_client, at_the_total_bound_the_longest_idle_makes_room) {
  on_a_shard([](manual_clock& time) -> task<> {
    scripted_server one([](const std::string&) { return ok("1"); });
    scripted_server two([](const std::string&) { return ok("2"); });
    scripted_server three([](const std::string&) { return ok("3"); });
    client_options options;
    options.connections_max = 2;
    client c(options);
    for (const scripted_server* each : {&one, &two, &three}) {
      co_await answer_of(c.get(each->url("/")));
      time.pass(1s);
    }
    while (one.ended == 0) co_await turn();
    EXPECT_EQ(two.ended + three.ended, 0);
    co_await answer_of(c.get(two.url("/")));
    EXPECT_EQ(two.accepted, 1);
  });
}

TEST(http_client, as_many_idle_connections_are_kept_as_allowed_and_as_long) {
  on_a_shard([](manual_clock& time) -> task<> {
    scripted_server server([](const std::string&) { return ok("x"); });
    client_options options;
    options.idle_per_host_max = 2;
    client c(options);
    std::vector<join_handle<std::string>> asked;
    for (int i = 0; i < 4; ++i) asked.push_back(spawn(answer_of(c.get(server.url("/")))));
    for (auto& each : asked) co_await each;
    EXPECT_EQ(server.accepted, 4);
    while (server.ended < 2) co_await turn();
    time.pass(29s);
    co_await turns(5);
    EXPECT_EQ(server.ended, 2);
    co_await answer_of(c.get(server.url("/")));
    time.pass(2s);
    while (server.ended < 3) co_await turn();
    co_await turns(5);
    EXPECT_EQ(server.ended, 3);  // the other was used since
    time.pass(29s);
    while (server.ended < 4) co_await turn();
  });
}

TEST(http_client, a_body_past_the_limit_is_refused) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/sized")) return ok("12345");
      return reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n2\r\n45\r\n0\r\n\r\n");
    });
    client c;
    for (const std::string_view path : {"/sized", "/chunked"}) {
      client_response fits = co_await c.get(server.url(path));
      const std::string body = co_await fits.read_all(5);
      EXPECT_EQ(body, "12345");
      client_response large = co_await c.get(server.url(path));
      const std::error_code refused = co_await failure_of(large.read_all(4));
      EXPECT_EQ(refused, std::errc::message_size);
    }
  });
}

TEST(http_client, each_wait_has_its_limit) {
  on_a_shard([](manual_clock& time) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/silent")) return reply("", false, true);
      if (request.contains("/head")) return reply("HTTP/1.1 200 OK\r\n", false, true);
      return reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", false, true);
    });
    client_options options;
    options.connections_per_host_max = 1;
    client c(options);
    struct row {
      std::string_view path;
      std::chrono::seconds patience;
    };
    for (const row& r : {row{"/silent", 60s}, row{"/head", 10s}, row{"/body", 30s}}) {
      auto asked = spawn(failure_of(answer_of(c.get(server.url(r.path)))));
      co_await settle();
      time.pass(r.patience - 1s);
      co_await turns(5);
      EXPECT_FALSE(asked.is_finished()) << r.path;
      time.pass(2s);
      const std::error_code failed = co_await asked;
      EXPECT_EQ(failed, std::errc::timed_out) << r.path;
    }
    auto holder = spawn(failure_of(c.get(server.url("/silent"))));
    co_await settle();
    auto waiter = spawn(failure_of(c.get(server.url("/silent"))));
    co_await turns(5);
    time.pass(11s);  // no place in time
    const std::error_code no_place = co_await waiter;
    EXPECT_EQ(no_place, std::errc::timed_out);
    EXPECT_FALSE(holder.is_finished());
    holder.abort();
    const std::error_code gone = co_await failure_of([](auto& h) -> task<> { (void)co_await h; }(holder));
    EXPECT_EQ(gone, std::errc::operation_canceled);
  });
}

TEST(http_client, a_whole_request_can_have_a_limit) {
  on_a_shard([](manual_clock& time) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/first"))
        return reply("HTTP/1.1 302 Found\r\nLocation: /then\r\nContent-Length: 0\r\n\r\n");
      return reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", false, true);
    });
    client_options options;
    options.request_timeout = 3s;
    client c(options);
    client_response answer = co_await c.get(server.url("/first"));
    std::string begin;
    while (begin.size() < 2) {
      const buffer piece = co_await answer.read();
      begin += text_of(piece);
    }
    EXPECT_EQ(begin, "ab");
    auto rest = spawn(failure_of(answer.read()));
    co_await turns(3);
    time.pass(4s);
    const std::error_code failed = co_await rest;
    EXPECT_EQ(failed, std::errc::timed_out);
  });
}

// Cancelled after any number of turns, so at every wait: for the connection, for the head, in the body, for a place.
TEST(http_client, cancelled_anywhere_it_leaves_nothing_and_its_place_to_others) {
  on_a_shard([](manual_clock& time) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/ok")) return ok("x");
      return reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", false, request.contains("/hang"));
    });
    scripted_server silent([](const std::string&) { return reply("", false, true); });
    client_options options;
    options.connections_per_host_max = 1;
    client c(options);
    for (int wait = 0; wait < 16; ++wait) {
      for (const scripted_server* each : {&server, &silent}) {
        auto holder = spawn(answer_of(c.get(each->url("/hang"))));
        co_await turns(wait / 2);
        auto waiter = spawn(answer_of(c.get(each->url("/hang"))));
        co_await turns(wait);
        waiter.abort();
        holder.abort();
        while (!holder.is_finished() || !waiter.is_finished()) co_await turn();
        const std::error_code ended = co_await failure_of([](auto& h) -> task<> { (void)co_await h; }(holder));
        EXPECT_EQ(ended, std::errc::operation_canceled);
        time.pass(1s);  // past the linger of an endpoint
      }
      const std::string answer = co_await answer_of(c.get(server.url("/ok")));
      EXPECT_EQ(answer, "200 x");
    }
  });
}

// The server's receive window fills, so a wait in the middle of a body is cancelled.
TEST(http_client, cancelled_while_sending_it_closes_the_connection) {
  on_a_shard([](manual_clock& time) -> task<> {
    net::listener listening(loopback());
    client c;
    std::size_t written = 0;
    outgoing request(method::post, url_of(listening.where(), "/"));
    request.stream("a/b", [&](net::http::body_writer& out) -> task<> {
      const std::string block(64 * 1024, 'x');
      for (;; written += block.size()) co_await out.write(block);
    });
    auto asked = spawn(failure_of(c.send(std::move(request))));
    std::size_t before = 1;
    // On a busy machine a connect takes more turns than those after which a full window is believed.
    for (int still = 0; still < 20; still = written != 0 && before == written ? still + 1 : 0) {
      before = written;
      co_await turn();
    }
    asked.abort();
    while (!asked.is_finished()) co_await turn();
    std::optional<net::stream> peer = co_await listening.accept();
    while (net::this_endpoints().size() > 1) {
      time.pass(6s);  // past what an endpoint waits for its last bytes to go; it begins to when a send has come back
      co_await turn();
    }
  });
}

TEST(http_client, a_server_that_takes_nothing_times_out) {
  on_a_shard([](manual_clock& time) -> task<> {
    net::listener listening(loopback());
    client c;
    outgoing request(method::post, url_of(listening.where(), "/"));
    request.body("a/b", std::string(50'000'000, 'x'));
    auto asked = spawn(failure_of(c.send(std::move(request))));
    while (!asked.is_finished()) {  // each part of the body has its limit, and the kernel takes many before it is full
      co_await turns(100);
      time.pass(31s);
    }
    const std::error_code failed = co_await asked;
    EXPECT_EQ(failed, std::errc::timed_out);
    while (net::this_endpoints().size() != 0) {
      time.pass(6s);
      co_await turn();
    }
  });
}

}  // namespace
}  // namespace skerry::http_tests
