// SPDX-License-Identifier: Apache-2.0
/// The admin endpoint of a running program, asked over TCP.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using net::address;
using nlohmann::json;
using test_support::loopback;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::run_shards;

task<> drop(net::stream) { co_return; }

address free_place() {
  const net::unique_fd probe = net::make_stream_socket(AF_INET);
  const address any = loopback();
  EXPECT_EQ(::bind(probe.get(), any.data(), any.size()), 0);
  return net::local_address(probe.get());
}

/// A program of three shards that listens for something of its own, and its admin endpoint's address.
void with_program(std::function<task<>(const address&)> talk) {
  const address at = free_place();
  app_options options = quiet_options(3);
  options.admin = at.text();
  run_shards(options, [&]() -> task<> {
    auto each = [](net::stream s) { return drop(std::move(s)); };
    co_await net::listen_on_all_shards(loopback(), each);
    co_await net::listen_on_all_shards(loopback(), [](net::stream s) { return drop(std::move(s)); });
    co_await talk(at);
    app::shutdown();
  });
}

task<std::string> get(const address& at, std::string path, std::string_view method = "GET") {
  raw_peer peer(at);
  co_await peer.send(std::string(method) + " " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  co_return co_await peer.receive_all();
}
/// A chunked body without its frame.
std::string unchunked(std::string_view body) {
  std::string all;
  while (!body.empty()) {
    const std::size_t line = body.find("\r\n");
    const std::size_t size = std::stoul(std::string(body.substr(0, line)), nullptr, 16);
    all += body.substr(line + 2, size);
    body.remove_prefix(line + 2 + size + 2);
  }
  return all;
}
std::string_view body_of(std::string_view answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }

TEST(admin, tells_health_and_readiness) {
  with_program([](const address& at) -> task<> {
    const std::string health = co_await get(at, "/health");
    EXPECT_TRUE(health.starts_with("HTTP/1.1 200 OK\r\n")) << health;
    const std::string ready = co_await get(at, "/ready");
    EXPECT_TRUE(ready.starts_with("HTTP/1.1 200 OK\r\n")) << ready;
  });
}

TEST(admin, tells_what_every_shard_has_counted) {
  with_program([](const address& at) -> task<> {
    const std::string metrics = co_await get(at, "/metrics");
    EXPECT_NE(metrics.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), metrics.npos);
    for (const char* line :
         {"# TYPE skerry_tasks_run_total counter\n", "skerry_tasks_run_total{shard=\"0\"} ",
          "skerry_tasks_run_total{shard=\"2\"} ", "skerry_http_connections{server=\"admin\",shard=\""}) {
      EXPECT_NE(metrics.find(line), metrics.npos) << line;
    }
  });
}

TEST(admin, tells_shards_hops_and_tasks_as_json) {
  with_program([](const address& at) -> task<> {
    for (int i = 0; i < 10; ++i) co_await submit_to(2, [] {});
    event never;
    auto waits = [&never]() -> task<> { co_await never.wait(); };
    auto handle = spawn(waits, "waits \"for\\ever\"");

    std::string answer = co_await get(at, "/shards");
    const json shards = json::parse(body_of(answer));
    EXPECT_EQ(shards.size(), 3u);
    EXPECT_EQ(shards[2]["shard"], 2);
    EXPECT_GT(shards[0]["turns"], 0);

    answer = co_await get(at, "/hops");
    const json hops = json::parse(body_of(answer));
    EXPECT_EQ(hops.size(), 9u);
    for (const json& pair : hops) {
      const int at_least = pair["from"] == 0 && pair["to"] == 2 ? 10 : 0;
      EXPECT_GE(pair["messages"], at_least);
      EXPECT_TRUE(pair["from"] != pair["to"] || pair["messages"] == 0);
    }

    answer = co_await get(at, "/tasks");
    const json tasks = json::parse(body_of(answer));
    bool found = false;
    for (const json& each : tasks) {
      if (each["name"] != "waits \"for\\ever\"") continue;
      found = true;
      EXPECT_EQ(each["shard"], 0);
      EXPECT_EQ(each["waits_for"], "event");
    }
    EXPECT_TRUE(found) << answer;
    never.set();
    co_await handle;
  });
}

TEST(admin, records_all_shards_and_draws_an_arrow_for_each_message) {
  with_program([](const address& at) -> task<> {
    raw_peer peer(at);
    co_await peer.send("GET /trace?ms=50 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // Until both shards record, and then one message to look for.
    while (this_shard().trace == nullptr) co_await yield();
    for (bool both = false; !both;) both = co_await submit_to(2, [] { return this_shard().trace != nullptr; });
    co_await submit_to(2, [] {});
    const std::string answer = co_await peer.receive_all();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    const json events = json::parse(unchunked(body_of(answer)));
    std::set<std::string> begun, ended;
    std::set<int> rows;
    for (const json& each : events) {
      if (each["ph"] == "s" && each["name"] == "message") begun.insert(each["id"]);
      if (each["ph"] == "f" && each["name"] == "message") ended.insert(each["id"]);
      if (each["ph"] == "M" && each.contains("tid")) rows.insert(each["tid"].get<int>());
    }
    EXPECT_EQ(rows.size(), 3u);
    EXPECT_FALSE(begun.empty());
    std::vector<std::string> whole;
    std::ranges::set_intersection(begun, ended, std::back_inserter(whole));
    EXPECT_FALSE(whole.empty());
    EXPECT_EQ(this_shard().trace, nullptr) << "a recording ends";
    const std::string long_one = co_await get(at, "/trace?ms=10001");
    EXPECT_TRUE(long_one.starts_with("HTTP/1.1 400 ")) << long_one;
  });
}

TEST(admin, there_is_one_recording_at_a_time) {
  with_program([](const address& at) -> task<> {
    raw_peer first(at);
    co_await first.send("GET /trace?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n");
    while (this_shard().trace == nullptr) co_await yield();
    const std::string second = co_await get(at, "/trace?ms=1");
    EXPECT_TRUE(second.starts_with("HTTP/1.1 409 ")) << second;
  });
}

TEST(admin, shows_one_page_that_asks_nobody_else) {
  with_program([](const address& at) -> task<> {
    const std::string page = co_await get(at, "/");
    EXPECT_TRUE(page.starts_with("HTTP/1.1 200 OK\r\n"));
    EXPECT_NE(page.find("Content-Type: text/html; charset=utf-8\r\n"), page.npos);
    EXPECT_LT(body_of(page).size(), 200u * 1024);
    for (const char* elsewhere : {"http://", "https://", "src=", "@import"}) {
      EXPECT_EQ(body_of(page).find(elsewhere), page.npos) << elsewhere;
    }
  });
}

TEST(admin, only_shows) {
  with_program([](const address& at) -> task<> {
    const std::string post = co_await get(at, "/metrics", "DELETE");
    EXPECT_TRUE(post.starts_with("HTTP/1.1 405 ")) << post;
    EXPECT_NE(post.find("Allow: GET, HEAD, OPTIONS\r\n"), post.npos);
    const std::string nowhere = co_await get(at, "/nowhere");
    EXPECT_TRUE(nowhere.starts_with("HTTP/1.1 404 ")) << nowhere;
  });
}

TEST(admin, an_address_that_is_none_or_taken_is_refused_in_words) {
  for (const bool taken : {false, true}) {
    net::unique_fd holder = net::make_stream_socket(AF_INET);
    const address any = loopback();
    EXPECT_EQ(::bind(holder.get(), any.data(), any.size()), 0);
    EXPECT_EQ(::listen(holder.get(), 1), 0);
    app_options options = quiet_options(1);
    options.admin = taken ? net::local_address(holder.get()).text() : "localhost:9180";
    std::string said;
    try {
      run_shards(options, []() -> task<> {
        co_await net::listen_on_all_shards(loopback(), [](net::stream s) { return drop(std::move(s)); });
      });
    } catch (const startup_error& error) {
      said = error.what();
    }
    EXPECT_NE(said.find(taken ? "in use" : "--admin takes ADDR:PORT"), said.npos) << said;
  }
}

}  // namespace
}  // namespace skerry
