// SPDX-License-Identifier: Apache-2.0
/// The server over real sockets: what it answers, and what it counts.

#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/observe/metrics.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <variant>

#include <gtest/gtest.h>
#include <net/http/serving.hpp>
#include <support/heap_count.hpp>

namespace skerry::http_tests {
namespace {

TEST(http_server, answers_with_date_type_and_length) {
  with_server([](const address& at) -> task<> {
    const std::string answer = co_await whole_answer(at, last_hello);
    EXPECT_EQ(answer,
              "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 01:00:00 GMT\r\nContent-Type: text/plain\r\n"
              "Content-Length: 13\r\nConnection: close\r\n\r\nHello, World!");
  });
}

TEST(http_server, the_date_follows_the_clock) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    time.pass(86'399s);
    const std::string answer = co_await whole_answer(at, last_hello);
    EXPECT_EQ(count(answer, "Date: Fri, 02 Jan 1970 00:59:59 GMT\r\n"), 1u);
    time.pass(1s);
    const std::string next = co_await whole_answer(at, last_hello);
    EXPECT_EQ(count(next, "Date: Fri, 02 Jan 1970 01:00:00 GMT\r\n"), 1u);
  });
}

/// Time goes on from one answer to the next where it is not all the test's.
std::string without_dates(std::string text) {
  constexpr std::size_t line = std::string_view("Date: Thu, 01 Jan 1970 01:00:00 GMT\r\n").size();
  for (std::size_t at; (at = text.find("Date: ")) != text.npos;) text.erase(at, line);
  return text;
}

/// `sent` in two pieces, cut every `step` bytes, is answered as it is when it comes in one.
task<> expect_the_same_wherever_it_is_cut(net::address at, std::string sent, std::string whole, std::size_t step) {
  for (std::size_t cut = 1; cut < sent.size(); cut += step) {
    raw_peer peer(at);
    co_await peer.send(std::string_view(sent).substr(0, cut));
    co_await turn();
    co_await turn();
    co_await peer.send(std::string_view(sent).substr(cut));
    const std::string answer = co_await peer.receive_all();
    EXPECT_EQ(without_dates(answer), whole) << "cut at " << cut;
  }
}

TEST(http_server, answers_pipelined_requests_in_order_however_they_are_cut) {
  with_server([](const address& at) -> task<> {
    const std::string sent = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst" + std::string(hello) +
                             "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "3\r\nsec\r\n3;x=y\r\nond\r\n0\r\nX-Sum: t\r\n\r\n" +
                             std::string(last_hello);
    const std::string whole = without_dates(co_await whole_answer(at, sent));
    EXPECT_EQ(count(whole, "HTTP/1.1 200 OK"), 4u);
    const auto first = whole.find("\r\n\r\nfirst"), second = whole.find("\r\n\r\nsecond");
    EXPECT_LT(first, whole.find("Hello"));
    EXPECT_LT(whole.find("Hello"), second);
    EXPECT_LT(second, whole.rfind("Hello"));
    co_await expect_the_same_wherever_it_is_cut(at, sent, whole, 1);
    raw_peer slowly(at);
    for (const char byte : sent) {
      co_await slowly.send(std::string_view(&byte, 1));
      co_await turn();
    }
    const std::string answer = co_await slowly.receive_all();
    EXPECT_EQ(without_dates(answer), whole);
  });
}

TEST(http_server, sends_no_body_where_there_is_none) {
  with_server([](const address& at) -> task<> {
    const std::string head = co_await whole_answer(at, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(count(head, "Content-Length: 13\r\n"), 1u);
    EXPECT_EQ(body_of(head), "");
    const std::string nothing =
        co_await whole_answer(at, "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(status_line(nothing), "HTTP/1.1 204 No Content");
    EXPECT_EQ(count(nothing, "Content-Length"), 0u);
    const std::string same =
        co_await whole_answer(at, "GET /not-modified HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(count(same, "ETag: \"1\"\r\n"), 1u);
    EXPECT_EQ(body_of(same), "");
    const std::string stream =
        co_await whole_answer(at, "HEAD /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(count(stream, "Transfer-Encoding: chunked\r\n"), 1u);
    EXPECT_EQ(body_of(stream), "");
  });
}

TEST(http_server, keeps_old_clients_only_if_they_ask) {
  with_server([](const address& at) -> task<> {
    const std::string once = co_await whole_answer(at, "GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(count(once, "Connection: close\r\n"), 1u);
    const std::string twice =
        co_await whole_answer(at, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(count(twice, "HTTP/1.1 200 OK"), 2u);
    EXPECT_EQ(count(twice, "Connection: keep-alive\r\n"), 1u);
  });
}

TEST(http_server, streams_in_chunks_or_to_the_end) {
  with_server([](const address& at) -> task<> {
    const std::string chunks =
        co_await whole_answer(at, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(last_hello));
    EXPECT_EQ(count(chunks, "Transfer-Encoding: chunked\r\n"), 1u);
    EXPECT_TRUE(body_of(chunks).starts_with("4\r\none \r\n3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200 OK")) << chunks;
    const std::string plain = co_await whole_answer(at, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(count(plain, "Transfer-Encoding"), 0u);
    EXPECT_EQ(count(plain, "Connection: close\r\n"), 1u);
    EXPECT_EQ(body_of(plain), "one two");
  });
}

TEST(http_server, shows_what_came_behind_a_body_and_only_then) {
  with_server([](const address& at) -> task<> {
    constexpr std::string_view chunked = "POST /trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    const std::string sent = std::string(chunked) + "3\r\nsec\r\n0\r\nX-Sum: t\r\nempty:\r\n\r\n" +
                             "POST /trailers HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" +
                             std::string(chunked) + "0\r\nx-sum:  2 \r\n\r\n" + std::string(chunked) + "0\r\n\r\n" +
                             std::string(last_hello);
    const std::string whole = without_dates(co_await whole_answer(at, sent));
    EXPECT_EQ(count(whole, "\r\n\r\nsec|X-Sum=t|empty=HTTP/1.1"), 1u) << whole;
    EXPECT_EQ(count(whole, "\r\n\r\nhiHTTP/1.1"), 1u) << whole;
    EXPECT_EQ(count(whole, "\r\n\r\n|x-sum=2HTTP/1.1"), 1u) << whole;
    EXPECT_EQ(count(whole, "Content-Length: 0\r\n\r\nHTTP/1.1"), 1u) << whole;
    co_await expect_the_same_wherever_it_is_cut(at, sent, whole, 23);
    for (const std::string_view forged :
         {"Content-Length: 5", "Host: b", "transfer-encoding: chunked", "Cookie: a=b"}) {
      const std::string refused = co_await whole_answer(
          at, std::string(chunked) + "0\r\n" + std::string(forged) + "\r\n\r\n" + std::string(hello));
      EXPECT_EQ(status_line(refused), "HTTP/1.1 400 Bad Request") << forged;
      EXPECT_EQ(count(refused, "HTTP/1.1 200"), 0u) << forged;
    }
  });
}

TEST(http_server, sends_trailers_to_those_who_take_them) {
  with_server([](const address& at) -> task<> {
    const std::string taken = co_await whole_answer(
        at, "GET /summed HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n" + std::string(last_hello));
    EXPECT_EQ(count(taken, "Trailer: X-Early, X-Sum\r\n"), 1u);
    EXPECT_TRUE(body_of(taken).starts_with("3\r\none\r\n0\r\nX-Early: 1\r\nX-Sum: a\tb\r\n\r\nHTTP/1.1 200 OK"))
        << taken;
    const std::string not_asked =
        co_await whole_answer(at, "GET /summed HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n\r\n" + std::string(last_hello));
    EXPECT_EQ(count(not_asked, "Trailer"), 0u) << not_asked;
    EXPECT_TRUE(body_of(not_asked).starts_with("3\r\none\r\n0\r\n\r\nHTTP/1.1 200 OK")) << not_asked;
    const std::string old = co_await whole_answer(at, "GET /summed HTTP/1.0\r\nTE: trailers\r\n\r\n");
    EXPECT_EQ(count(old, "Trailer"), 0u) << old;
    EXPECT_EQ(body_of(old), "one");
  });
}

TEST(http_response, trailers_never_say_what_only_a_head_may_say) {
  class nowhere final : public net::http::body_writer {
    task<> write(std::span<const std::byte>) override { co_return; }
    task<> flush() override { co_return; }
  } out;
  for (const std::string_view name :
       {"Content-Length", "HOST", "set-cookie", "Date", "TE", "Trailer", "Content-Type"}) {
    EXPECT_THROW(out.trailer(name, "1"), std::invalid_argument) << name;
  }
  EXPECT_THROW(out.trailer("X", "a\r\nSet-Cookie: b"), std::invalid_argument);
  EXPECT_THROW(out.trailer("X Y", "a"), std::invalid_argument);
  EXPECT_NO_THROW(out.trailer("X", "a"));
}

TEST(http_server, a_stream_of_known_size_has_a_length_and_keeps_the_connection) {
  with_server([](const address& at) -> task<> {
    const std::string answer = co_await whole_answer(
        at, "GET /sized HTTP/1.1\r\nHost: a\r\n\r\nHEAD /sized HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(last_hello));
    EXPECT_EQ(count(answer, "Content-Length: 7\r\n"), 2u);
    EXPECT_EQ(count(answer, "Transfer-Encoding"), 0u);
    EXPECT_TRUE(body_of(answer).starts_with("one twoHTTP/1.1 200 OK")) << answer;
    EXPECT_EQ(count(answer, "Hello, World!"), 1u);
    const std::string old =
        co_await whole_answer(at, "GET /sized HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + std::string(last_hello));
    EXPECT_EQ(count(old, "Hello, World!"), 1u);
  });
}

TEST(http_server, a_stream_that_does_not_keep_to_its_size_ends_the_connection) {
  with_server([](const address& at) -> task<> {
    const std::string few =
        co_await whole_answer(at, "GET /sized-short HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(hello));
    EXPECT_EQ(count(few, "Content-Length: 8\r\n"), 1u);
    EXPECT_EQ(body_of(few), "one two");
    const std::string many =
        co_await whole_answer(at, "GET /sized-long HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(hello));
    EXPECT_EQ(count(many, "Content-Length: 6\r\n"), 1u);
    EXPECT_EQ(body_of(many), "one ");
  });
}

TEST(http_server, a_stream_that_fails_has_no_last_chunk) {
  with_server([](const address& at) -> task<> {
    const std::string answer = co_await whole_answer(at, "GET /broken-stream HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(body_of(answer), "4\r\none \r\n");
  });
}

TEST(http_server, a_stream_whose_end_is_the_connections_is_reset_when_it_fails) {
  with_server([](const address& at) -> task<> {
    const auto reset = [&at](std::string request) -> task<bool> {
      try {
        (void)co_await whole_answer(at, request);
      } catch (const std::system_error& broken) {
        co_return broken.code() == std::errc::connection_reset;
      }
      co_return false;
    };
    EXPECT_TRUE(co_await reset("GET /broken-stream HTTP/1.0\r\n\r\n")) << "an end would look like the body's";
    EXPECT_FALSE(co_await reset("GET /broken-stream HTTP/1.1\r\nHost: a\r\n\r\n"));
    EXPECT_FALSE(co_await reset("HEAD /broken-stream HTTP/1.0\r\n\r\n"));
    const std::string whole = co_await whole_answer(at, "GET /stream HTTP/1.0\r\n\r\n");
    EXPECT_EQ(body_of(whole), "one two");
  });
}

TEST(http_server, writes_large_bodies_whole) {
  with_server([](const address& at) -> task<> {
    const std::string answer = co_await whole_answer(at, "GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(count(answer, "Content-Length: 1000000\r\n"), 1u);
    EXPECT_TRUE(body_of(answer) == numbered_bytes(1'000'000));
  });
}

TEST(http_server, what_a_handler_throws_is_an_answer) {
  with_server([](const address& at) -> task<> {
    const std::string answer = co_await whole_answer(
        at, "GET /teapot HTTP/1.1\r\nHost: a\r\n\r\nGET /bug HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(last_hello));
    EXPECT_EQ(status_line(answer), "HTTP/1.1 418 Bad Request");
    EXPECT_EQ(count(answer, "Content-Type: application/problem+json\r\n"), 2u);
    EXPECT_EQ(count(answer, R"("status":418,"detail":"I am a \"teapot\"")"), 1u);
    EXPECT_EQ(count(answer, "HTTP/1.1 500 Internal Server Error"), 1u);
    EXPECT_EQ(count(answer, "secret"), 0u);
    EXPECT_EQ(count(answer, "Hello, World!"), 1u);
  });
}

TEST(http_server, a_broken_request_is_answered_and_ends_the_connection) {
  with_server([](const address& at) -> task<> {
    const std::string answer =
        co_await whole_answer(at, std::string(hello) + "GET / HTTP/1.1\r\nHost : a\r\n\r\n" + std::string(hello));
    EXPECT_EQ(count(answer, "HTTP/1.1 200 OK"), 1u);
    EXPECT_EQ(count(answer, "HTTP/1.1 400 Bad Request"), 1u);
    EXPECT_EQ(count(answer, "Connection: close\r\n"), 1u);
    const std::string bare = co_await whole_answer(at, "GET / HTTP/1.1\nHost: a\n\n");
    EXPECT_EQ(status_line(bare), "HTTP/1.1 400 Bad Request");
    const std::string chunk = co_await whole_answer(
        at, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" + std::string(hello));
    EXPECT_EQ(count(chunk, "HTTP/1.1 400 Bad Request"), 1u);
    EXPECT_EQ(count(chunk, "HTTP/1.1 200"), 0u);
  });
}

TEST(http_server, says_continue_only_to_who_waits_and_is_read) {
  with_server([](const address& at) -> task<> {
    raw_peer peer(at);
    co_await peer.send(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
    const std::string go_on = co_await receive_until(peer, "\r\n\r\n");
    EXPECT_EQ(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
    co_await peer.send("hi");
    const std::string answer = co_await peer.receive_all();
    EXPECT_EQ(body_of(answer), "hi");

    const std::string unasked = co_await whole_answer(
        at,
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nhi");
    EXPECT_EQ(status_line(unasked), "HTTP/1.1 200 OK");

    const std::string unread =
        co_await whole_answer(at, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(count(unread, "100 Continue"), 0u);
    EXPECT_EQ(count(unread, "Connection: close\r\n"), 1u);
  });
}

TEST(http_server, counts_what_it_does) {
  with_server([](const address& at) -> task<> {
    co_await whole_answer(
        at, "GET /teapot HTTP/1.1\r\nHost: a\r\n\r\nGET /bug HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(last_hello));
    co_await whole_answer(at, "nonsense\r\n\r\n");
    std::uint64_t by_class[6] = {}, refused = 0, handled = 0;
    for (const observe::sample& each : this_shard().metrics->take_snapshot()) {
      if (each.info.name == "skerry_http_responses_total") {
        by_class[each.info.labels.back().value[0] - '0'] = std::get<std::uint64_t>(each.value);
      }
      if (each.info.name == "skerry_http_refused_total") refused = std::get<std::uint64_t>(each.value);
      if (each.info.name == "skerry_http_handler_seconds") handled = std::get<2>(each.value)->count();
    }
    EXPECT_EQ(by_class[2], 1u);
    EXPECT_EQ(by_class[4], 2u);
    EXPECT_EQ(by_class[5], 1u);
    EXPECT_EQ(refused, 1u);
    EXPECT_EQ(handled, 3u);
  });
}

TEST(http_server, a_kept_connection_allocates_nothing_per_request) {
  if (test_support::disturbed() || test_support::simulation != nullptr) {
    GTEST_SKIP() << "a kernel that is not the real one takes its memory from the heap";
  }
  with_server([](const address& at) -> task<> {
    raw_peer peer(at);
    std::string answer(1000, '\0');
    std::uint64_t before = 0;
    for (int i = 0; i < 200; ++i) {
      if (i == 100) before = test_support::heap_allocations();
      peer.try_send(hello);
      std::size_t got = 0;
      while (got < 100) {
        co_await readable(peer.fd());
        const ssize_t more = ::recv(peer.fd(), answer.data(), answer.size(), 0);
        if (more <= 0) break;
        got += static_cast<std::size_t>(more);
      }
    }
    EXPECT_EQ(test_support::heap_allocations(), before);
  });
}

TEST(http_response, refuses_fields_that_would_forge_others) {
  response made;
  EXPECT_THROW(made.header("X", "a\r\nSet-Cookie: b"), std::invalid_argument);
  EXPECT_THROW(made.header("X Y", "a"), std::invalid_argument);
  EXPECT_THROW(made.header("", "a"), std::invalid_argument);
  EXPECT_THROW(made.header("Content-Length", "1"), std::invalid_argument);
  EXPECT_THROW(made.header("transfer-encoding", "chunked"), std::invalid_argument);
  made.header("X-A", "b").header("X-B", "c\td");
  EXPECT_EQ(made.field_lines(), "X-A: b\r\nX-B: c\td\r\n");
}

}  // namespace
}  // namespace skerry::http_tests
