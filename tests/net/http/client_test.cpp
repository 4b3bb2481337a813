// SPDX-License-Identifier: Apache-2.0
/// The client against the real server, and against servers that do as a test tells them.

#include <skerry/framework/resources.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/http/detail/url.hpp>

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <gtest/gtest.h>
#include <net/http/scripted_server.hpp>
#include <net/http/serving.hpp>
#include <support/scratch_directory.hpp>

namespace skerry::http_tests {
namespace {

TEST(http_client, requests_in_a_row_share_a_connection) {
  with_server([](const address& at) -> task<> {
    client c;
    for (const std::string_view path : {"/", "/stream", "/nothing", "/not-modified", "/large", "/"}) {
      client_response answer = co_await c.get(url_of(at, path));
      const std::string body = co_await answer.read_all();
      EXPECT_EQ(net::this_endpoints().size(), 2u) << path;  // both ends of one connection
      if (path == "/") {
        EXPECT_EQ(body, "Hello, World!");
      }
      if (path == "/stream") {
        EXPECT_EQ(body, "one two");
      }
      if (path == "/large") {
        EXPECT_EQ(body, numbered_bytes(1'000'000));
      }
      if (path == "/not-modified") {
        EXPECT_EQ(answer.header("etag"), "\"1\"");
      }
    }
    client_response head = co_await c.send(outgoing(method::head, url_of(at, "/large")));
    EXPECT_EQ(head.header("Content-Length"), "1000000");
    const buffer nothing = co_await head.read();
    EXPECT_TRUE(nothing.empty());
    const std::string teapot = co_await answer_of(c.get(url_of(at, "/teapot")));
    EXPECT_TRUE(teapot.starts_with("418 "));
    EXPECT_EQ(net::this_endpoints().size(), 2u);
  });
}

TEST(http_client, bodies_go_out_whole_or_as_they_are_made) {
  with_server([](const address& at) -> task<> {
    client c;
    for (const std::size_t size : {0u, 10u, 100'000u, 1'000'000u}) {
      const std::string sent = numbered_bytes(size);
      outgoing request(method::post, url_of(at, "/echo"));
      request.header("X-A", "b").body("text/plain", sent);
      client_response answer = co_await c.send(std::move(request));
      const std::string echoed = co_await answer.read_all();
      EXPECT_EQ(echoed, sent);
    }
    outgoing streamed(method::post, url_of(at, "/any-length"));
    streamed.stream("text/plain", [](net::http::body_writer& out) -> task<> {
      const std::string block = numbered_bytes(50'000);
      for (int i = 0; i < 100; ++i) co_await out.write(block);
      co_await out.write("");
      co_await out.flush();
    });
    const std::string counted = co_await answer_of(c.send(std::move(streamed)));
    EXPECT_EQ(counted, "200 5000000");
    EXPECT_EQ(net::this_endpoints().size(), 2u);
  });
}

TEST(http_client, trailers_go_and_come_behind_bodies) {
  with_server([](const address& at) -> task<> {
    client c;
    outgoing streamed(method::post, url_of(at, "/trailers"));
    streamed.header("Trailer", "X-Sum").stream("text/plain", [](net::http::body_writer& out) -> task<> {
      out.trailer("X-Early", "1");
      co_await out.write("abc");
      out.trailer("X-Sum", "2");
    });
    const std::string seen = co_await answer_of(c.send(std::move(streamed)));
    EXPECT_EQ(seen, "200 abc|X-Early=1|X-Sum=2");

    outgoing asks(method::get, url_of(at, "/summed"));
    asks.header("TE", "trailers");
    client_response answer = co_await c.send(std::move(asks));
    EXPECT_EQ(answer.header("Trailer"), "X-Early, X-Sum");
    EXPECT_TRUE(answer.trailers().empty()) << "its body was not read yet";
    const std::string body = co_await answer.read_all();
    EXPECT_EQ(body, "one");
    EXPECT_EQ(answer.trailers().size(), 2u);
    EXPECT_EQ(find(answer.trailers(), "x-early"), "1");
    EXPECT_EQ(find(answer.trailers(), "x-sum"), "a\tb");
    EXPECT_EQ(answer.header("X-Sum"), std::nullopt) << "a trailer is no header";

    client_response plain = co_await c.get(url_of(at, "/summed"));
    const std::string same = co_await plain.read_all();
    EXPECT_EQ(same, "one");
    EXPECT_TRUE(plain.trailers().empty());
    EXPECT_EQ(net::this_endpoints().size(), 2u);
  });
}

TEST(http_client, says_of_its_te_that_it_is_for_the_next_one_only) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/forged")) {
        return reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nSet-Cookie: a=b\r\n\r\n");
      }
      return ok("x");
    });
    client c;
    outgoing asks(method::get, server.url("/"));
    co_await answer_of(c.send(std::move(asks.header("TE", "trailers"))));
    EXPECT_EQ(count(server.requests.back(), "\r\nConnection: TE\r\n"), 1u) << server.requests.back();
    co_await answer_of(c.get(server.url("/")));
    EXPECT_EQ(count(server.requests.back(), "Connection: "), 0u);
    const std::error_code forged = co_await failure_of(answer_of(c.get(server.url("/forged"))));
    EXPECT_EQ(forged, std::errc::protocol_error);
  });
}

TEST(http_client, a_response_dropped_early_ends_its_connection) {
  with_server(server_options(), [](const address& at, manual_clock& time) -> task<> {
    client c;
    {
      client_response answer = co_await c.get(url_of(at, "/endless"));
      const buffer first = co_await answer.read();
      EXPECT_FALSE(first.empty());
    }
    while (net::this_endpoints().size() != 0) {
      time.pass(1s);  // past the linger of an endpoint, which begins when all is sent
      co_await turn();
    }
    const std::string answer = co_await answer_of(c.get(url_of(at, "/")));
    EXPECT_EQ(answer, "200 Hello, World!");
  });
}

// Whether the server ends the connection before the next request, or upon it.
TEST(http_client, a_stale_connection_costs_idempotent_requests_nothing) {
  on_a_shard([](manual_clock&) -> task<> {
    int seconds = 0;
    scripted_server server([&](const std::string& request) {
      if (request.contains("/end-after")) return reply(ok("x").bytes, true);
      if (request.contains("/second") && seconds++ % 2 == 0) return reply("", true);
      return ok("x");
    });
    client c;
    co_await answer_of(c.get(server.url("/end-after")));
    while (server.ended == 0) co_await turn();
    co_await settle();
    const std::string posted = co_await answer_of(c.send(outgoing(method::post, server.url("/"))));
    EXPECT_EQ(posted, "200 x");  // nothing was sent on the ended one
    EXPECT_EQ(server.accepted, 2);

    for (const method m : {method::get, method::put, method::delete_, method::options}) {
      const std::string again = co_await answer_of(c.send(outgoing(m, server.url("/second")).body("a/b", "c")));
      EXPECT_EQ(again, "200 x");
    }
    EXPECT_EQ(server.accepted, 6);
    const std::size_t requests = server.requests.size();
    const std::error_code post = co_await failure_of(c.send(outgoing(method::post, server.url("/second"))));
    EXPECT_EQ(post, std::errc::connection_reset);
    EXPECT_EQ(server.requests.size(), requests + 1);

    seconds = 0;
    co_await answer_of(c.get(server.url("/")));
    outgoing streamed(method::put, server.url("/second"));
    streamed.stream("a/b", [](net::http::body_writer& out) -> task<> { co_await out.write("x"); });
    const std::error_code put = co_await failure_of(c.send(std::move(streamed)));
    EXPECT_EQ(put, std::errc::connection_reset);

    seconds = 0;  // a fresh connection that ends is no stale one
    const std::error_code fresh = co_await failure_of(c.get(server.url("/second")));
    EXPECT_EQ(fresh, std::errc::connection_reset);
  });
}

TEST(http_client, a_connection_in_disorder_is_not_used_again) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([&](const std::string& request) {
      if (request.contains("/close"))
        return reply("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
      if (request.contains("/more")) return reply("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n");
      if (request.contains("/old")) return reply("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx");
      return reply("HTTP/1.1 200 OK\r\n\r\nx", true);
    });
    client c;
    int asked = 0;
    for (const std::string_view path : {"/close", "/more", "/old", "/until-close"}) {
      const std::string answer = co_await answer_of(c.get(server.url(path)));
      EXPECT_EQ(answer, "200 x");
      EXPECT_EQ(server.accepted, ++asked) << path;
      co_await settle();  // what a server says too much may come later than the rest
    }
    while (server.ended < asked) co_await turn();
  });
}

TEST(http_client, heads_come_in_pieces_and_interim_responses_are_skipped) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/too-many")) {
        std::string all;
        for (int i = 0; i < 20; ++i) all += "HTTP/1.1 102 Processing\r\n\r\n";
        return reply(all + ok("x").bytes);
      }
      return reply(
          "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: y\r\n\r\n"
          "HTTP/1.1 200 OK\r\nX-Field: value\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;e\r\nc\r\n0\r\n\r\n");
    });
    client c;
    for (const bool drips : {false, true}) {
      server.drips = drips;
      client_response answer = co_await c.get(server.url("/"));
      EXPECT_EQ(answer.status(), 200u);
      const std::string body = co_await answer.read_all();
      EXPECT_EQ(body, "abc");
      EXPECT_EQ(answer.header("X-Field"), "value");  // also after the connection has gone back
      EXPECT_EQ(answer.fields().size(), 2u);
    }
    EXPECT_EQ(server.accepted, 1);
    server.drips = false;
    const std::error_code many = co_await failure_of(c.get(server.url("/too-many")));
    EXPECT_EQ(many, std::errc::protocol_error);
  });
}

TEST(http_client, responses_that_break_the_protocol_are_errors_and_end_the_connection) {
  on_a_shard([](manual_clock&) -> task<> {
    std::string says;
    scripted_server server([&](const std::string&) { return reply(says, true); });
    client c;
    int asked = 0;
    for (const std::string_view broken :
         {"SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"}) {
      says = broken;
      const std::error_code failed = co_await failure_of(answer_of(c.get(server.url("/"))));
      EXPECT_EQ(failed, std::errc::protocol_error) << broken;
      EXPECT_EQ(server.accepted, ++asked) << broken;
    }
    says = "HTTP/1.1 200 OK\r\nA: " + std::string(100'000, 'a');
    const std::error_code endless = co_await failure_of(c.get(server.url("/")));
    EXPECT_EQ(endless, std::errc::protocol_error);
    says = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx";
    client_response failed = co_await c.get(server.url("/"));
    co_await failure_of(failed.read_all());
    const std::error_code again = co_await failure_of(failed.read());
    EXPECT_EQ(again, std::errc::not_connected);
  });
}

TEST(http_client, redirects_are_followed_with_the_method_they_ask_for) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      const std::size_t code = request.find("/a/30");
      if (code == std::string::npos) return ok(request.substr(0, request.find(" HTTP")));
      return reply("HTTP/1.1 " + request.substr(code + 3, 3) +
                   " Elsewhere\r\nLocation: ../b/./c?d\r\nContent-Length: 4\r\n\r\ngone");
    });
    client c;
    struct row {
      method m;
      std::string_view code, expected;
    };
    for (const row& r : {row{method::get, "301", "GET /b/c?d"}, row{method::post, "301", "GET /b/c?d"},
                         row{method::post, "302", "GET /b/c?d"}, row{method::put, "302", "PUT /b/c?d"},
                         row{method::put, "303", "GET /b/c?d"}, row{method::post, "307", "POST /b/c?d"},
                         row{method::delete_, "308", "DELETE /b/c?d"}}) {
      outgoing request(r.m, server.url("/a/" + std::string(r.code)));
      if (r.m != method::get) request.body("text/x", "body");
      const std::string answer = co_await answer_of(c.send(std::move(request)));
      EXPECT_EQ(answer, "200 " + std::string(r.expected)) << r.code;
      const std::string& last = server.requests.back();
      EXPECT_EQ(last.contains("text/x"), r.m != method::get && !r.expected.starts_with("GET")) << last;
      EXPECT_EQ(last.ends_with("body"), last.contains("text/x")) << last;
    }
    EXPECT_EQ(server.accepted, 1);
    outgoing streamed(method::post, server.url("/a/307"));
    streamed.stream("a/b", [](net::http::body_writer& out) -> task<> { co_await out.write("x"); });
    const std::string kept = co_await answer_of(c.send(std::move(streamed)));
    EXPECT_EQ(kept, "307 gone");
  });
}

TEST(http_client, redirects_end_somewhere) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) {
      if (request.contains("/https"))
        return reply("HTTP/1.1 302 x\r\nLocation: https://[::1]/\r\nContent-Length: 0\r\n\r\n");
      if (request.contains("/nowhere")) return reply("HTTP/1.1 302 x\r\nContent-Length: 0\r\n\r\n");
      return reply("HTTP/1.1 302 x\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    });
    client_options options;
    options.connections_per_host_max = 1;
    options.redirects_max = 3;
    client c(options);
    const std::error_code loop = co_await failure_of(c.get(server.url("/")));
    EXPECT_EQ(loop, std::errc::too_many_symbolic_link_levels);
    EXPECT_EQ(server.requests.size(), 4u);
    const std::error_code https = co_await failure_of(c.get(server.url("/https")));
    EXPECT_EQ(https, std::errc::protocol_not_supported);
    const std::string nowhere = co_await answer_of(c.get(server.url("/nowhere")));
    EXPECT_EQ(nowhere, "302 ");
    options.redirects_max = 0;
    client follows_none(options);
    const std::string first = co_await answer_of(follows_none.get(server.url("/")));
    EXPECT_EQ(first, "302 ");
  });
}

TEST(http_client, credentials_go_to_their_origin_only) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server other([](const std::string&) { return ok("x"); });
    scripted_server server([&](const std::string& request) {
      if (request.contains("/there")) return ok("x");
      const std::string to = request.contains("/away") ? other.url("/") : "/there";
      return reply("HTTP/1.1 307 x\r\nLocation: " + to + "\r\nContent-Length: 0\r\n\r\n");
    });
    client c;
    for (const std::string_view path : {"/stay", "/away"}) {
      outgoing request(method::get, server.url(path));
      request.header("authorization", "Bearer 1").header("Cookie", "a=b").header("Host", "my.test").header("X", "y");
      co_await answer_of(c.send(std::move(request)));
    }
    EXPECT_TRUE(server.requests[1].contains("Bearer 1") && server.requests[1].contains("a=b"));
    EXPECT_TRUE(server.requests[1].contains("Host: my.test\r\n"));
    EXPECT_EQ(count(server.requests[1], "Host: "), 1u);
    EXPECT_FALSE(other.requests[0].contains("Bearer 1") || other.requests[0].contains("a=b"));
    EXPECT_TRUE(other.requests[0].contains("Host: " + other.where().text() + "\r\nX: y\r\n"));
  });
}

TEST(http_client, what_http_cannot_carry_is_refused) {
  on_a_shard([](manual_clock&) -> task<> {
    client c;
    struct row {
      std::string_view url;
      std::errc why;
    };
    for (const row& r :
         {row{"https://127.0.0.1/", std::errc::protocol_not_supported},
          row{"ftp://127.0.0.1/", std::errc::protocol_not_supported}, row{"127.0.0.1/", std::errc::invalid_argument},
          row{"http://127.0.0.1/a b", std::errc::invalid_argument},
          row{"http://127.0.0.1/\r\nA: b", std::errc::invalid_argument},
          row{"http://u:p@127.0.0.1/", std::errc::invalid_argument},
          row{"http://127.0.0.1:99999/", std::errc::invalid_argument}, row{"http://", std::errc::invalid_argument}}) {
      const std::error_code failed = co_await failure_of(c.get(std::string(r.url)));
      EXPECT_EQ(failed, r.why) << r.url;
    }
    const std::uint16_t port = net::listener(loopback()).where().port();
    co_await settle();  // until it is closed
    const std::error_code nobody = co_await failure_of(c.get(url_of(loopback(port), "/")));
    EXPECT_EQ(nobody, std::errc::connection_refused);
  });
  EXPECT_THROW(outgoing(method::connect, "http://127.0.0.1/"), std::invalid_argument);
  outgoing request(method::get, "http://127.0.0.1/");
  EXPECT_THROW(request.header("A", "b\r\nC: d"), std::invalid_argument);
  EXPECT_THROW(request.header("A b", "c"), std::invalid_argument);
  EXPECT_THROW(request.header("content-length", "1"), std::invalid_argument);
}

TEST(http_client, a_proxy_is_asked_for_whole_urls_and_keeps_its_connection_for_all_of_them) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server proxy([](const std::string& request) {
      if (request.starts_with("GET http://away.example:81/old ")) {
        return reply("HTTP/1.1 302 Found\r\nLocation: http://other.example/new\r\nContent-Length: 0\r\n\r\n");
      }
      if (request.starts_with("GET http://lost.example/ "))
        return reply("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n");
      return ok(request.substr(0, request.find("\r\n")));
    });
    client_options options;
    options.proxy = proxy.where();
    options.proxy_authorization = "Basic bWU6c2VjcmV0";
    client c(options);
    const std::string by_address = co_await answer_of(c.get("http://192.0.2.7/a?b#c"));
    EXPECT_EQ(by_address, "200 GET http://192.0.2.7/a?b HTTP/1.1");
    const std::string by_name = co_await answer_of(c.get("http://Some.Name:8080"));
    EXPECT_EQ(by_name, "200 GET http://Some.Name:8080/ HTTP/1.1");
    EXPECT_TRUE(proxy.requests.back().contains("\r\nHost: Some.Name:8080\r\n")) << proxy.requests.back();
    outgoing moved(method::get, "http://away.example:81/old");
    moved.header("Authorization", "Bearer x");
    const std::string elsewhere = co_await answer_of(c.send(std::move(moved)));
    EXPECT_EQ(elsewhere, "200 GET http://other.example/new HTTP/1.1");
    EXPECT_FALSE(proxy.requests.back().contains("Bearer")) << "another origin, though the same proxy";
    outgoing posted(method::post, "http://192.0.2.7:82/");
    const std::string stored = co_await answer_of(c.send(std::move(posted).body("a/b", "body")));
    EXPECT_EQ(stored, "200 POST http://192.0.2.7:82/ HTTP/1.1");
    const std::string lost = co_await answer_of(c.get("http://lost.example"));
    EXPECT_EQ(lost, "504 ");
    for (const std::string& each : proxy.requests) {
      EXPECT_TRUE(each.contains("\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n")) << each;
    }
    EXPECT_EQ(proxy.accepted, 1);
    const std::error_code secure = co_await failure_of(c.get("https://192.0.2.7/"));
    EXPECT_EQ(secure, std::errc::protocol_not_supported);
  });
}

TEST(http_client, without_a_proxy_nothing_of_it_is_sent) {
  on_a_shard([](manual_clock&) -> task<> {
    scripted_server server([](const std::string& request) { return ok(request.substr(0, request.find("\r\n"))); });
    client_options options;
    options.proxy_authorization = "secret";
    client c(options);
    const std::string direct = co_await answer_of(c.get(server.url("/a")));
    EXPECT_EQ(direct, "200 GET /a HTTP/1.1");
    EXPECT_FALSE(server.requests.back().contains("secret"));
  });
}

TEST(http_client, names_are_looked_up_and_share_a_connection_however_they_are_written) {
  if (test_support::simulation != nullptr) GTEST_SKIP() << "simulated hosts have no hosts file";
  test_support::scratch_directory here;
  const std::string hosts = here.put("hosts", "127.0.0.1 some.name\n");
  on_a_shard([&](manual_clock&) -> task<> {
    net::dns::resolver_options by_file;
    by_file.hosts_file = hosts;
    resources().emplace<net::dns::resolver>(by_file);
    scripted_server server([](const std::string& request) { return ok(request.substr(0, request.find("\r\n"))); });
    const std::string at = "http://Some.Name:" + std::to_string(server.where().port());
    client c;
    const std::string by_name = co_await answer_of(c.get(at + "/a"));
    EXPECT_EQ(by_name, "200 GET /a HTTP/1.1");
    EXPECT_TRUE(server.requests.back().contains("\r\nHost: Some.Name:")) << server.requests.back();
    const std::string again = co_await answer_of(c.get("http://some.name:" + at.substr(at.rfind(':') + 1) + "/b"));
    EXPECT_EQ(again, "200 GET /b HTTP/1.1");
    EXPECT_EQ(server.accepted, 1);
    const std::error_code too_long = co_await failure_of(c.get("http://" + std::string(300, 'a') + "/"));
    EXPECT_EQ(too_long, net::dns::resolve_errc::bad_name);
  });
}

TEST(http_client, names_are_read_from_urls) {
  using net::http::detail::parse_url;
  EXPECT_EQ(parse_url("http://Some.Name").origin, "some.name:80");
  EXPECT_EQ(parse_url("http://some.name:80/").origin, "some.name:80");
  EXPECT_EQ(parse_url("http://a_b-c:8080?q").origin, "a_b-c:8080");
  EXPECT_EQ(parse_url("http://[::1]/").origin, "[::1]:80");
  for (const char* none : {"http:///x", "http://:80/", "http://a:0/", "http://a:65536/", "http://a:/", "http://a:8x/",
                           "http://a%41/", "http://a,b/", "http://[::g]/", "http://[fe80::1%25x]/"}) {
    EXPECT_THROW(parse_url(none), std::system_error) << none;
  }
}

TEST(http_client, urls_are_read_and_resolved) {
  using net::http::detail::parse_url;
  using net::http::detail::resolve;
  EXPECT_EQ(parse_url("HTTP://127.0.0.1").to.text(), "127.0.0.1:80");
  EXPECT_EQ(parse_url("http://[::1]:81/x#y").to.text(), "[::1]:81");
  EXPECT_EQ(parse_url("http://[::1]/x#y").to.text(), "[::1]:80");
  EXPECT_EQ(parse_url("http://[::1]:81/x?z#y").target, "/x?z");
  EXPECT_EQ(parse_url("http://127.0.0.1:80?z").target, "/?z");
  const auto base = parse_url("http://127.0.0.1:80/b/c/d?q");
  const auto target = [&](std::string_view reference) { return resolve(base, reference).target; };
  // The examples of RFC 3986 section 5.4.
  EXPECT_EQ(target("g"), "/b/c/g");
  EXPECT_EQ(target("./g"), "/b/c/g");
  EXPECT_EQ(target("g/"), "/b/c/g/");
  EXPECT_EQ(target("/g"), "/g");
  EXPECT_EQ(target("?y"), "/b/c/d?y");
  EXPECT_EQ(target("g?y/../x"), "/b/c/g?y/../x");
  EXPECT_EQ(target("#s"), "/b/c/d?q");
  EXPECT_EQ(target(""), "/b/c/d?q");
  EXPECT_EQ(target("."), "/b/c/");
  EXPECT_EQ(target(".."), "/b/");
  EXPECT_EQ(target("../.."), "/");
  EXPECT_EQ(target("../../../g"), "/g");
  EXPECT_EQ(target("g/../h/."), "/b/c/h/");
  EXPECT_EQ(resolve(base, "//127.0.0.2/x").to.text(), "127.0.0.2:80");
  EXPECT_EQ(resolve(base, "http://127.0.0.3:8/x").to.text(), "127.0.0.3:8");
}

}  // namespace
}  // namespace skerry::http_tests
