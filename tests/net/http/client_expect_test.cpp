// SPDX-License-Identifier: Apache-2.0
/// The client's Expect: 100-continue, with servers that want the body, do not, say nothing, or know no expectations.

#include <chrono>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <net/http/scripted_server.hpp>

namespace skerry::http_tests {
namespace {

using namespace std::chrono_literals;

/// A request whose body waits, at once or as it is made; `made` counts how often that was.
outgoing waiting(const std::string& url, bool streamed, int& made) {
  outgoing request(method::put, url);
  request.expect_continue();
  if (!streamed) return std::move(request.body("text/plain", "the body"));
  auto write = [&made](net::http::body_writer& out) -> task<> {
    ++made;
    co_await out.write("the body");
  };
  return std::move(request.stream("text/plain", write));
}

TEST(http_client_expect, a_body_goes_when_the_server_wants_it_and_the_connection_is_kept) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      if (!asks_first(request)) return ok("done");
      return reply(request.contains("/hints") ? "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
                                              : "HTTP/1.1 100 Continue\r\n\r\n");
    });
    client c;
    int made = 0;
    for (const bool streamed : {false, true}) {
      for (const bool drips : {false, true}) {
        server.drips = drips;
        for (const char* path : {"/", "/hints"}) {
          server.requests.clear();
          const std::string answer = co_await answer_of(c.send(waiting(server.url(path), streamed, made)));
          EXPECT_EQ(answer, "200 done");
          EXPECT_EQ(server.requests.size(), 2u);
          EXPECT_TRUE(asks_first(server.requests.front())) << server.requests.front();
          EXPECT_TRUE(server.requests.back().contains("the body")) << server.requests.back();
        }
      }
    }
    EXPECT_EQ(made, 4);
    EXPECT_EQ(server.accepted, 1);
  });
}

TEST(http_client_expect, an_answer_keeps_the_body_back_and_ends_the_connection) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/here")) return ok("no");
      return reply("HTTP/1.1 307 Temporary Redirect\r\nLocation: /here\r\nContent-Length: 0\r\n\r\n");
    });
    client c;
    int made = 0;
    for (const bool streamed : {false, true}) {
      for (const char* path : {"/here", "/moved"}) {
        const std::string answer = co_await answer_of(c.send(waiting(server.url(path), streamed, made)));
        EXPECT_EQ(answer, "200 no") << path;
      }
    }
    EXPECT_EQ(made, 0);
    for (const std::string& each : server.requests) EXPECT_TRUE(asks_first(each)) << each;
    EXPECT_EQ(server.requests.size(), 6u);
    EXPECT_EQ(server.accepted, 6);
    while (server.ended != 6) co_await turn();
  });
}

TEST(http_client_expect, who_knows_no_expectations_is_asked_without) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      if (!asks_first(request)) return ok("done");
      return reply("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    });
    client c;
    int made = 0;
    for (const bool streamed : {false, true}) {
      const std::string answer = co_await answer_of(c.send(waiting(server.url("/"), streamed, made)));
      EXPECT_EQ(answer, "200 done");
    }
    EXPECT_EQ(made, 1);
    EXPECT_EQ(server.requests.size(), 4u);
    for (const std::string& each : server.requests) {
      EXPECT_TRUE(asks_first(each) || !each.contains("Expect")) << each;
    }
  });
}

TEST(http_client_expect, silence_is_taken_for_consent_after_a_while) {
  on_a_shard([](manual_clock& time) -> task<> {
    scripted_server server([](const std::string& request) { return asks_first(request) ? reply("") : ok("done"); });
    client c;
    int made = 0;
    auto asked = spawn(answer_of(c.send(waiting(server.url("/"), true, made))));
    while (server.requests.empty()) co_await turn();
    time.pass(900ms);
    co_await turns(5);
    EXPECT_EQ(made, 0);
    time.pass(200ms);
    const std::string answer = co_await asked;
    EXPECT_EQ(answer, "200 done");
    EXPECT_EQ(made, 1);
  });
}

TEST(http_client_expect, without_a_body_there_is_nothing_to_wait_for) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string&) { return ok("done"); });
    client c;
    outgoing request(method::put, server.url("/"));
    request.expect_continue();
    const std::string answer = co_await answer_of(c.send(std::move(request)));
    EXPECT_EQ(answer, "200 done");
    EXPECT_FALSE(server.requests.front().contains("Expect")) << server.requests.front();
  });
}

TEST(http_client_expect, our_own_server_says_when_it_reads) {
  with_server([](const address& at) -> task<> {
    client c;
    outgoing request(method::post, url_of(at, "/echo"));
    request.body("text/plain", numbered_bytes(100'000)).expect_continue();
    client_response answer = co_await c.send(std::move(request));
    const std::string echoed = co_await answer.read_all();
    EXPECT_EQ(echoed, numbered_bytes(100'000));
    EXPECT_EQ(net::this_endpoints().size(), 2u) << "the connection is kept";
  });
}

}  // namespace
}  // namespace skerry::http_tests
