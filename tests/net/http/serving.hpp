// SPDX-License-Identifier: Apache-2.0
#pragma once

/// serving: an HTTP server on a shard of the test's own, with handlers for what clients may want to see, under time
/// that the test moves.

#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/http/server.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry::http_tests {

using namespace std::chrono_literals;
using net::address;
using net::http::http_error;
using net::http::request;
using net::http::response;
using net::http::server_options;
using test_support::loopback;
using test_support::manual_clock;
using test_support::numbered_bytes;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::run_shards;
using test_support::turn;

/// What the handlers of one test share with it; they run on its only shard.
struct world {
  event handler_waits{};
  event let_go{};
  int cancelled = 0;
  std::size_t streamed = 0;
};

/// Tells when its handler is destroyed before its end.
struct witness {
  ~witness() {
    if (!ended) ++resource<world>().cancelled;
  }
  bool ended = false;
};

inline task<response> by_path(request& r) {
  const std::string_view path = r.path();
  if (path == "/echo") co_return response::text(co_await r.read_all());
  if (path == "/any-length") {
    r.limit_body(1 << 30);
    std::size_t size = 0;
    while (true) {
      const buffer piece = co_await r.read();
      if (piece.empty()) break;
      size += piece.size();
    }
    co_return response::text(std::to_string(size));
  }
  if (path == "/trailers") {
    const bool early = !r.trailers().empty();
    std::string all = co_await r.read_all();
    for (const net::http::field& each : r.trailers()) all.append("|").append(each.name).append("=").append(each.value);
    co_return response::text(early ? "early" : all);
  }
  if (path == "/summed") {
    co_return response::stream("text/plain", [](net::http::body_writer& out) -> task<> {
      out.trailer("X-Early", "1");
      co_await out.write("one");
      out.trailer("X-Sum", "a\tb");
    }).header("Trailer", "X-Early, X-Sum");
  }
  if (path == "/nothing") co_return response(204);
  if (path == "/not-modified") co_return response(304).header("ETag", "\"1\"");
  if (path == "/large") co_return response::text(numbered_bytes(1'000'000));
  if (path == "/teapot") throw http_error(418, "I am a \"teapot\"");
  if (path == "/bug") throw std::runtime_error("secret");
  if (path == "/wait") {
    witness seen;
    resource<world>().handler_waits.set();
    co_await resource<world>().let_go.wait();
    seen.ended = true;
    co_return response::text("waited");
  }
  if (path == "/stream") {
    co_return response::stream("text/plain", [](net::http::body_writer& out) -> task<> {
      co_await out.write("one ");
      co_await yield();
      co_await out.write("");
      co_await out.write("two");
    });
  }
  if (path == "/sized" || path == "/sized-short" || path == "/sized-long") {
    const std::uint64_t size = path == "/sized" ? 7 : path == "/sized-short" ? 8 : 6;
    co_return response::stream("text/plain", size, [](net::http::body_writer& out) -> task<> {
      co_await out.write("one ");
      co_await out.write("two");
    });
  }
  if (path == "/broken-stream") {
    co_return response::stream("text/plain", [](net::http::body_writer& out) -> task<> {
      co_await out.write("one ");
      throw std::runtime_error("no more");
    });
  }
  if (path == "/endless") {
    co_return response::stream("text/plain", [](net::http::body_writer& out) -> task<> {
      const std::string block(16 * 1024, 'e');
      while (true) {
        co_await out.write(block);
        resource<world>().streamed += block.size();
      }
    });
  }
  co_return response::literal("text/plain", "Hello, World!");
}

/// Serves `by_path` on one shard, under time that the test moves, and lets `talk` be its client.
inline void with_server(const server_options& options, std::function<task<>(const address&, manual_clock&)> talk) {
  manual_clock time;
  app_options quiet = quiet_options(1);
  quiet.log_level = "off";
  const std::ptrdiff_t before = test_support::open_descriptors();
  run_shards(
      quiet,
      [&]() -> task<> {
        resources().emplace<world>();
        const address at = co_await net::http::serve(loopback(), [] { return net::http::handler(by_path); }, options);
        co_await talk(at, time);
        app::shutdown();
      },
      time);
  EXPECT_EQ(test_support::open_descriptors(), before);
}
inline void with_server(std::function<task<>(const address&)> talk) {
  with_server(server_options(), [&talk](const address& at, manual_clock&) { return talk(at); });
}

/// Until all that was sent has been read, and the kernel has all that was said to it, which may come and go in parts,
/// each a few turns late, behind a connect and an accept that are late, too.
inline task<> settle() {
  constexpr int turns_late_max = 16;
  int quiet = 0;
  while (quiet++ < turns_late_max) {
    co_await turn();
    if (net::this_bytes().bytes_in_use() != 0) quiet = 0;
  }
}

/// What the server says to all of `sent`, up to the end.
inline task<std::string> whole_answer(const address& at, std::string_view sent) {
  raw_peer peer(at);
  co_await peer.send(sent);
  co_return co_await peer.receive_all();
}

/// Up to and with `last`, and not more.
inline task<std::string> receive_until(raw_peer& peer, std::string_view last) {
  std::string all;
  while (!all.ends_with(last)) {
    const std::string more = co_await peer.receive(1);
    if (more.empty()) break;
    all += more;
  }
  co_return all;
}

inline std::string_view status_line(std::string_view answer) { return answer.substr(0, answer.find("\r\n")); }
inline std::string_view body_of(std::string_view answer) {
  const auto at = answer.find("\r\n\r\n");
  return at == std::string_view::npos ? std::string_view() : answer.substr(at + 4);
}
inline std::size_t count(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

inline constexpr std::string_view hello = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
inline constexpr std::string_view last_hello = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

}  // namespace skerry::http_tests
