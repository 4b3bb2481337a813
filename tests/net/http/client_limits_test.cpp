// SPDX-License-Identifier: Apache-2.0
/// What a client may take: connections, time and bytes; and what is left of a request that is cancelled.

#include <skerry/framework/clock.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/http/date.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
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

// ---- asking again ----

/// A server that answers `status` so many times, and 200 then.
class busy_server {
 public:
  busy_server(int times, std::string status)
      : server_([this, times, status = std::move(status)](const std::string&) mutable {
          asked_.push_back(clock::now());
          if (times-- == 0) return ok("at last");
          return reply("HTTP/1.1 " + status + "\r\nContent-Length: 4\r\n\r\nbusy");
        }) {}

  std::string url() const { return server_.url("/"); }
  int accepted() const { return server_.accepted; }
  std::size_t requests() const { return asked_.size(); }
  /// Between one request and the next.
  std::vector<clock::duration> pauses() const {
    std::vector<clock::duration> all;
    for (std::size_t i = 1; i < asked_.size(); ++i) all.push_back(asked_[i] - asked_[i - 1]);
    return all;
  }

 private:
  std::vector<clock::time_point> asked_;
  scripted_server server_;
};

/// Lets time pass until `asked` has ended.
template <class T>
task<> let_end(const join_handle<T>& asked, manual_clock& time) {
  while (true) {
    co_await settle();
    if (asked.is_finished()) co_return;
    time.pass(100ms);
  }
}

client_options patient(std::uint32_t retries) {
  client_options options;
  options.retries_max = retries;
  options.retry_delay = 1s;
  options.retry_delay_max = 4s;
  return options;
}

TEST(http_client_retries, pause_twice_as_long_each_time_and_a_random_part_less) {
  for (const std::string_view status : {"429 Too Many Requests", "502 Bad Gateway", "503 Unavailable", "504 Late"}) {
    on_a_shard([status](manual_clock& time) -> task<> {
      busy_server server(5, std::string(status));
      client c(patient(5));
      auto asked = spawn(answer_of(c.get(server.url())));
      co_await let_end(asked, time);
      const auto pauses = server.pauses();
      EXPECT_EQ(co_await asked, "200 at last");
      EXPECT_EQ(pauses.size(), 5u);
      for (std::size_t i = 0; i < pauses.size(); ++i) {
        const std::chrono::milliseconds most = std::min(1s * (1 << i), 4s);
        EXPECT_GE(pauses[i], most / 2) << i;
        EXPECT_LE(pauses[i], most + 500ms) << i;
      }
      EXPECT_EQ(server.accepted(), 1) << "an answer that is not wanted leaves its connection";
    });
  }
}

TEST(http_client_retries, end_with_the_answer_that_came_last) {
  on_a_shard([](manual_clock& time) -> task<> {
    busy_server server(100, "503 Unavailable");
    client c(patient(2));
    auto asked = spawn(answer_of(c.get(server.url())));
    co_await let_end(asked, time);
    EXPECT_EQ(co_await asked, "503 busy");
    EXPECT_EQ(server.requests(), 3u);
  });
}

TEST(http_client_retries, are_for_what_may_be_asked_twice_and_may_end_otherwise) {
  on_a_shard([](manual_clock& time) -> task<> {
    const auto asked_times = [&time](client_options options, method how, std::string status) -> task<std::size_t> {
      busy_server server(1, status);
      client c(options);
      outgoing there(how, server.url());
      if (how == method::post) there.body("a/b", "x");
      auto asked = spawn(answer_of(c.send(std::move(there))));
      co_await let_end(asked, time);
      co_await asked;
      co_return server.requests();
    };
    using enum method;
    EXPECT_EQ(co_await asked_times(patient(3), get, "503 Unavailable"), 2u);
    EXPECT_EQ(co_await asked_times(patient(3), put, "503 Unavailable"), 2u);
    EXPECT_EQ(co_await asked_times(patient(3), post, "503 Unavailable"), 1u);
    EXPECT_EQ(co_await asked_times(patient(3), get, "500 Broken"), 1u);
    EXPECT_EQ(co_await asked_times(patient(3), get, "404 Not Found"), 1u);
    EXPECT_EQ(co_await asked_times(client_options(), get, "503 Unavailable"), 1u);
  });
}

TEST(http_client_retries, follow_a_connection_that_broke_or_could_not_be_had) {
  on_a_shard([](manual_clock& time) -> task<> {
    int broken = 2;
    scripted_server server([&broken](const std::string&) { return broken-- > 0 ? reply("", true) : ok("at last"); });
    client c(patient(3));
    auto asked = spawn(answer_of(c.get(server.url("/"))));
    co_await let_end(asked, time);
    EXPECT_EQ(co_await asked, "200 at last");
    EXPECT_EQ(server.requests.size(), 3u);

    broken = 1;
    outgoing once(method::post, server.url("/"));
    once.body("a/b", "x");
    const std::error_code lost = co_await failure_of(answer_of(c.send(std::move(once))));
    EXPECT_EQ(lost, std::errc::connection_reset) << "it may have been done";

    // Nobody listens there yet, so nothing was sent, and even a POST is asked again.
    const address at = [] { return net::listener(loopback()).where(); }();
    co_await settle();  // until it is closed
    outgoing patient_one(method::post, url_of(at, "/"));
    patient_one.body("a/b", "x");
    auto refused = spawn(failure_of(answer_of(c.send(std::move(patient_one)))));
    const clock::time_point begin = clock::now();
    co_await let_end(refused, time);
    EXPECT_GE(clock::now() - begin, 3500ms) << "half of 1 s, 2 s and 4 s";
    EXPECT_EQ(co_await refused, std::errc::connection_refused);
  });
}

TEST(http_client_retries, wait_as_long_as_the_server_asks_but_not_too_long) {
  on_a_shard([](manual_clock& time) -> task<> {
    struct row {
      std::string_view wanted;
      std::size_t requests;
      std::chrono::milliseconds pause;
    };
    for (const row& r : {row{"3", 2, 3s}, row{"5", 1, 0s}, row{"soon", 2, 500ms}, row{"-1", 2, 500ms}}) {
      busy_server server(1, "503 Unavailable\r\nRetry-After: " + std::string(r.wanted));
      client c(patient(1));
      auto asked = spawn(answer_of(c.get(server.url())));
      co_await let_end(asked, time);
      const auto pauses = server.pauses();
      const std::string answer = co_await asked;
      EXPECT_EQ(answer, r.requests == 2 ? "200 at last" : "503 busy") << r.wanted;
      EXPECT_EQ(server.requests(), r.requests) << r.wanted;
      EXPECT_GE(pauses.empty() ? clock::duration(r.pause) : pauses[0], r.pause) << r.wanted;
    }
    const auto in_two_seconds = net::http::to_date(
        std::chrono::sys_seconds(std::chrono::duration_cast<std::chrono::seconds>(clock::wall()) + 3s));
    busy_server server(1, "503 Unavailable\r\nRetry-After: " + std::string(in_two_seconds));
    client c(patient(1));
    auto asked = spawn(answer_of(c.get(server.url())));
    co_await let_end(asked, time);
    const auto pauses = server.pauses();
    EXPECT_EQ(co_await asked, "200 at last");
    EXPECT_GE(pauses.at(0), 2s);
  });
}

TEST(http_client_retries, stay_within_the_limit_of_the_request_and_end_with_it) {
  on_a_shard([](manual_clock& time) -> task<> {
    busy_server server(100, "503 Unavailable");
    client_options options = patient(10);
    options.request_timeout = 3s;
    client c(options);
    auto asked = spawn(answer_of(c.get(server.url())));
    co_await let_end(asked, time);
    const auto pauses = server.pauses();
    std::string answer;
    const std::error_code late =
        co_await failure_of([](auto& from, std::string& into) -> task<> { into = co_await from; }(asked, answer));
    // A pause past the limit would end in nothing; one that ends in the last step before it leaves no time to ask.
    EXPECT_TRUE(answer == "503 busy" || late == std::errc::timed_out) << answer << late;
    EXPECT_LE(std::accumulate(pauses.begin(), pauses.end(), clock::duration()), 3500ms);

    auto cancelled = spawn(answer_of(c.get(server.url())));
    co_await settle();
    cancelled.abort();
    while (!cancelled.is_finished()) co_await turn();
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
