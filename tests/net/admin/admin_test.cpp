// SPDX-License-Identifier: Apache-2.0
/// The admin endpoint of a running program, asked over TCP.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/admin/text.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/admin/asking.hpp>
#include <nlohmann/json.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using admin_tests::free_place;
using admin_tests::get;
using net::address;
using nlohmann::json;
using test_support::loopback;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::run_shards;
using test_support::simulating;

task<> drop(net::stream) { co_return; }

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

TEST(admin, is_there_for_a_program_that_has_datagrams_only) {
  const address at = free_place();
  app_options options = quiet_options(2);
  options.admin = at.text();
  run_shards(options, [&]() -> task<> {
    co_await net::bind_on_all_shards(loopback(), [](net::datagram_socket s) -> task<> { co_await s.receive(); });
    const std::string ready = co_await get(at, "/ready");
    EXPECT_TRUE(ready.starts_with("HTTP/1.1 200 OK\r\n")) << ready;
    app::shutdown();
  });
}

/// Runs `meanwhile(let_go)` while shard 2 does nothing at all, until `let_go` is called.
task<> while_shard_2_stands_still(std::function<task<>(const std::function<void()>& let_go)> meanwhile) {
  std::atomic<bool> goes_on = false;
  std::atomic<bool> stands = false;
  auto stand_still = [](borrowed<std::atomic<bool>> until, borrowed<std::atomic<bool>> here) {
    here->store(true);
    here->notify_one();
    until->wait(false);
  };
  auto stopped = spawn([&]() -> task<> { co_await submit_to(2, stand_still, borrowed(goes_on), borrowed(stands)); });
  while (!stands) co_await yield();
  const std::function<void()> let_go = [&] {
    goes_on = true;
    goes_on.notify_one();
  };
  co_await meanwhile(let_go);
  co_await stopped;
}

/// Asks so many times at once. `first` is called with the first answer, then all are waited for.
task<std::vector<std::string>> ask_at_once(const address& at, std::string path, int times,
                                           std::function<void(const std::string&)> first) {
  std::vector<std::string> answers;
  event answered;
  auto ask = [&]() -> task<> {
    answers.push_back(co_await get(at, path));
    answered.set();
  };
  auto body = [&](group& all) -> task<> {
    for (int i = 0; i < times; ++i) all.spawn(ask);
    co_await answered.wait();
    first(answers.front());
  };
  co_await with_group(body);
  co_return answers;
}

TEST(admin, a_shard_that_stands_still_is_told_by_number_and_not_waited_for) {
  if (simulating()) GTEST_SKIP() << "one thread runs all simulated shards, and would stand still with one of them";
  with_program([](const address& at) -> task<> {
    auto meanwhile = [&](const std::function<void()>& let_go) -> task<> {
      auto look = [&](const std::string& first) {
        EXPECT_TRUE(first.starts_with("HTTP/1.1 503 ")) << first;
        EXPECT_NE(first.find("from shard 2"), std::string::npos) << first;
        let_go();
      };
      // A request that shard 2 itself accepts waits like everything there, so there are some.
      co_await ask_at_once(at, "/health", 16, look);
    };
    co_await while_shard_2_stands_still(meanwhile);
    const std::string again = co_await get(at, "/health");
    EXPECT_TRUE(again.starts_with("HTTP/1.1 200 OK\r\n")) << again;
  });
}

TEST(admin, each_shard_has_16_requests_in_hand_and_refuses_more) {
  if (simulating()) GTEST_SKIP() << "one thread runs all simulated shards, and would stand still with one of them";
  with_program([](const address& at) -> task<> {
    constexpr int many = 150;  // over three shards
    auto is_refusal = [](const std::string& answer) {
      return answer.starts_with("HTTP/1.1 503 ") && answer.contains("too many requests are being handled");
    };
    auto meanwhile = [&](const std::function<void()>& let_go) -> task<> {
      auto look = [&](const std::string& first) {  // the others wait for what shard 2 has counted
        EXPECT_TRUE(is_refusal(first)) << first;
        let_go();
      };
      const std::vector<std::string> answers = co_await ask_at_once(at, "/metrics", many, look);
      for (const std::string& each : answers) {
        EXPECT_TRUE(is_refusal(each) || each.starts_with("HTTP/1.1 200 OK\r\n")) << each;
      }
    };
    co_await while_shard_2_stands_still(meanwhile);
    const std::string again = co_await get(at, "/metrics");
    EXPECT_TRUE(again.starts_with("HTTP/1.1 200 OK\r\n")) << again;
  });
}

TEST(admin, is_there_before_the_program_listens_and_says_that_it_is_not_ready) {
  if (simulating()) GTEST_SKIP() << "a simulated host's options have no port";
  const address at = free_place();
  app_options options = quiet_options(2);
  options.admin = at.text();
  options.port = 0;  // it is a program that is going to listen
  run_shards(options, [&]() -> task<> {
    std::optional<net::unique_fd> holder(net::make_stream_socket(AF_INET));
    const address any = loopback();
    EXPECT_EQ(::bind(holder->get(), any.data(), any.size()), 0);
    EXPECT_EQ(::listen(holder->get(), 1), 0);
    const address wanted = net::local_address(holder->get());
    auto listening = spawn([wanted]() -> task<> {
      co_await net::listen_on_all_shards(wanted, [](net::stream s) { return drop(std::move(s)); });
    });
    const std::string early = co_await get(at, "/ready");
    EXPECT_TRUE(early.starts_with("HTTP/1.1 503 ")) << early;
    EXPECT_NE(early.find("starting"), std::string::npos) << early;
    holder.reset();
    co_await listening;
    const std::string ready = co_await get(at, "/ready");
    EXPECT_TRUE(ready.starts_with("HTTP/1.1 200 OK\r\n")) << ready;
    app::shutdown();
  });
}

TEST(admin, says_that_the_program_is_not_ready_as_long_as_a_drain_takes) {
  const address at = free_place();
  app_options options = quiet_options(2);
  options.admin = at.text();
  run_shards(options, [&]() -> task<> {
    auto until_the_end = [](net::stream s) -> task<> {
      co_await s.write("hello");
      const buffer nothing = co_await s.read();
      EXPECT_TRUE(nothing.empty());
      co_await resource<event>().wait();
    };
    auto& let_go = resources().emplace<event>();
    for (shard_id s = 1; s < shard_count(); ++s) co_await submit_to(s, [] { resources().emplace<event>(); });
    const address own = co_await net::listen_on_all_shards(loopback(), until_the_end);
    raw_peer client(own), kept(at);
    co_await client.receive_exactly(5);
    constexpr std::string_view question = "GET /ready HTTP/1.1\r\nHost: a\r\n\r\n";
    co_await kept.send(question);
    std::string before;
    while (!before.ends_with("\r\n\r\nready\n")) {
      const std::string more = co_await kept.receive();
      if (more.empty()) break;
      before += more;
    }
    EXPECT_TRUE(before.starts_with("HTTP/1.1 200 OK\r\n")) << before;
    app::shutdown();
    while (!this_assembled_shard().draining()) co_await yield();
    for (bool all = false; !all;) all = co_await submit_to(1, [] { return this_assembled_shard().draining(); });
    co_await kept.send(question);
    const std::string on_the_old = co_await kept.receive_all();
    EXPECT_TRUE(on_the_old.starts_with("HTTP/1.1 503 ")) << on_the_old;
    const std::string on_a_new = co_await get(at, "/ready");
    EXPECT_TRUE(on_a_new.starts_with("HTTP/1.1 503 ")) << on_a_new;
    EXPECT_NE(on_a_new.find("stopping"), std::string::npos) << on_a_new;
    let_go.set();
    co_await submit_to(1, [] { resource<event>().set(); });
  });
}

TEST(admin, tells_what_every_shard_has_counted) {
  with_program([](const address& at) -> task<> {
    const std::string metrics = co_await get(at, "/metrics");
    EXPECT_NE(metrics.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), metrics.npos);
    for (const char* line :
         {"# TYPE skerry_tasks_run_total counter\n", "skerry_tasks_run_total{shard=\"0\"} ",
          "skerry_tasks_run_total{shard=\"2\"} ", "skerry_http_connections{server=\"admin\",shard=\"",
          "skerry_tasks_ready{shard=\"1\"} ", "skerry_group_cpu_seconds_total{group=\"main\",shard=\"0\"} ",
          "skerry_hop_messages_total{from=\"0\",shard=\"2\"} ",
          "skerry_hop_wait_seconds_total{from=\"0\",shard=\"1\"} ", "skerry_reactor_turn_seconds_bucket{le=\""}) {
      EXPECT_NE(metrics.find(line), metrics.npos) << line;
    }
  });
}

TEST(admin, speaks_openmetrics_to_who_asks_for_it_with_requests_as_examples) {
  with_program([](const address& at) -> task<> {
    const std::string id = "4bf92f3577b34da6a3ce929d0e0e4736";
    raw_peer traced(at);
    co_await traced.send("GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\ntraceparent: 00-" + id +
                         "-00f067aa0ba902b7-01\r\n\r\n");
    co_await traced.receive_all();
    raw_peer peer(at);
    co_await peer.send(
        "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: application/openmetrics-text\r\n\r\n");
    const std::string answer = co_await peer.receive_all();
    EXPECT_NE(answer.find("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), answer.npos);
    EXPECT_TRUE(answer.ends_with("\n# EOF\n"));
    const std::size_t example = answer.find(" # {trace_id=\"" + id + "\"} ");
    EXPECT_NE(example, answer.npos) << answer;
    const std::size_t line = answer.rfind('\n', example) + 1;
    EXPECT_TRUE(answer.substr(line).starts_with("skerry_http_handler_seconds_bucket{server=\"admin\",le=")) << answer;
  });
}

TEST(admin, shows_the_figures_in_plain_tables) {
  with_program([](const address& at) -> task<> {
    for (int i = 0; i < 10; ++i) co_await submit_to(2, [] {});
    const std::string answer = co_await get(at, "/text");
    EXPECT_TRUE(answer.contains("Content-Type: text/plain")) << answer;
    EXPECT_TRUE(body_of(answer).starts_with("3 shards, up for ")) << answer;
    for (const char* title : {"\nshard  busy  ", "\nfrom \\ to  ", "\nHTTP server  "}) {
      EXPECT_TRUE(answer.contains(title)) << answer;
    }
    EXPECT_TRUE(answer.contains("\n      admin  ")) << answer;
  });
}

TEST(admin, aligns_plain_tables_and_tells_of_waits_below_what_they_were) {
  std::vector<net::admin::shard_figures> two(2);
  for (shard_id s = 0; s < 2; ++s) {
    two[s].stats.id = s;
    two[s].stats.loop.uptime = std::chrono::seconds(3);
    two[s].stats.loop.idle = std::chrono::seconds(2);
    two[s].stats.received_from.resize(2);
    two[s].servers = {{.name = "main", .connections = 3, .handling = 1, .answers = 50}};
  }
  pair_stats& pair = two[1].stats.received_from[0];
  pair.requests = 1000;
  pair.waits[10] = 600;  // 512 ns to 1023
  pair.waits[12] = 391;
  pair.waits[31] = 9;
  two[1].turn_p99_ns = 12'345;
  two[0].connections = 1234;
  const std::string wanted =
      "2 shards, up for 3.0 s; sums since the start\n\n"
      "shard  busy  run queue  turn p99  connections  tasks  timers  steps  turns  entries  sleeps  sent  away  "
      "buffers\n"
      "    0  33 %          0      0 ns         1234      0       0      0      0        0       0     0     0   0 of "
      "0\n"
      "    1  33 %          0     12 us            0      0       0      0      0        0       0     0     0   0 of "
      "0\n"
      "\nMessages, and below how much half and 99 of 100 of them waited; rows send, columns receive\n"
      "from \\ to  0                      1\n"
      "        0  -  1000 (1.0 us, 4.1 us)\n"
      "        1  -                      -\n"
      "\nHTTP server  connections  handling  answers\n"
      "       main            6         2      100\n"
      "\nTasks and what they wait for: /tasks. All that is counted: /metrics.\n";
  EXPECT_EQ(net::admin::figures_as_text(two), wanted);
  EXPECT_TRUE(net::admin::figures_as_text(std::vector(17, two[0])).contains("\nMessages between 17 shards: /hops\n"));
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
    int connections = 0, served = 0;
    for (const json& each : shards) {
      connections += each["connections"].get<int>();
      EXPECT_EQ(each["http"].size(), 1u);
      EXPECT_EQ(each["http"][0]["server"], "admin");
      served += each["http"][0]["handling"].get<int>();
      EXPECT_EQ(each["groups"][0]["name"], "main");
      EXPECT_GE(each["turn_ns_max"], each["turn_ns_p99"]);
    }
    EXPECT_EQ(connections, 1);
    EXPECT_EQ(served, 1);

    answer = co_await get(at, "/hops");
    const json hops = json::parse(body_of(answer));
    EXPECT_EQ(hops.size(), 9u);
    for (const json& pair : hops) {
      const int at_least = pair["from"] == 0 && pair["to"] == 2 ? 10 : 0;
      EXPECT_GE(pair["messages"], at_least);
      const auto by_digits = pair["waits"].get<std::vector<std::uint64_t>>();
      EXPECT_EQ(std::accumulate(by_digits.begin(), by_digits.end(), std::uint64_t{0}), pair["messages"]);
      EXPECT_TRUE(by_digits.empty() || by_digits.back() != 0);
      const auto services = pair["services"].get<std::vector<std::uint64_t>>();
      const auto answers = std::accumulate(services.begin(), services.end(), std::uint64_t{0});
      EXPECT_LE(answers, pair["messages"]);
      EXPECT_GE(answers, static_cast<std::uint64_t>(at_least));
      EXPECT_GE(pair["service_us"], 0);
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
      EXPECT_EQ(each["state"], "waiting");
    }
    EXPECT_TRUE(found) << answer;

    answer = co_await get(at, "/histograms");
    bool turns = false;
    for (const json& each : json::parse(body_of(answer))) {
      turns = turns || (each["name"] == "skerry_reactor_turn_seconds" && each["count"] > 0 && !each["buckets"].empty());
    }
    EXPECT_TRUE(turns) << answer;
    never.set();
    co_await handle;
  });
}

TEST(admin, tells_what_the_branches_of_a_task_wait_for_down_to_the_last) {
  with_program([](const address& at) -> task<> {
    event never;
    event nothing;
    auto inner = [&]() -> task<> { co_await when_any(never.wait(), sleep_for(std::chrono::hours(1))); };
    auto many = [&](group& g) -> task<> {
      for (int i = 0; i < 2000; ++i) g.spawn([&]() -> task<> { co_await never.wait(); }, "one of many");
      co_await nothing.wait();
    };
    auto outer = spawn([&]() -> task<> { co_await when_all(inner, never.wait()); }, "outer");
    auto cleaning = spawn([&]() -> task<> { co_await finally(never.wait(), inner); }, "cleaning");
    auto crowd = spawn([&]() -> task<> { co_await with_group(many); }, "crowd");

    json found;
    std::size_t told = 0;
    std::string answer;
    const auto is_there = [&found] {  // all of them have begun to wait
      const json& branches = found["outer"].value("branches", json::array());
      if (branches.size() != 2 || branches[0].value("branches", json::array()).size() != 2) return false;
      const json& below = branches[0]["branches"];
      return !below[0]["waits_for"].is_null() && !below[1]["waits_for"].is_null() &&
             !branches[1]["waits_for"].is_null() && found["crowd"].value("branches", json::array()).size() > 1 &&
             !found["crowd"]["branches"][0]["waits_for"].is_null();
    };
    do {
      answer = co_await get(at, "/tasks");
      told = 0;
      for (const json& each : json::parse(body_of(answer))) {
        found[each["name"].get<std::string>()] = each;
        told += each["shard"] == 0 ? 1 + (each.contains("branches") ? each["branches"].size() : 0) : 0;
      }
    } while (!is_there());
    const json& o = found["outer"];
    EXPECT_EQ(o["waits_for"], "when_all") << answer;
    EXPECT_EQ(o["branches"].size(), 2u);
    EXPECT_EQ(o["branches"][0]["waits_for"], "when_any");
    EXPECT_EQ(o["branches"][0]["branches"][0]["waits_for"], "event");
    EXPECT_EQ(o["branches"][0]["branches"][1]["waits_for"], "sleep");
    EXPECT_EQ(o["branches"][1]["waits_for"], "event");
    EXPECT_EQ(found["cleaning"]["branches"].size(), 1u) << "what has not begun waits for nothing";
    const json& c = found["crowd"];
    EXPECT_EQ(c["waits_for"], "with_group");
    EXPECT_EQ(c["branches"][0]["waits_for"], "event");
    EXPECT_EQ(c["branches"][1]["name"], "one of many");
    EXPECT_LE(told, 1000u) << "there is a bound for all of a shard together";
    EXPECT_GT(told, 900u);
    never.set();
    nothing.set();
    co_await outer;
    co_await crowd;
    co_await cleaning;
  });
}

task<> wait_for_it(event& it) { co_await it.wait(); }
task<> be_patient(event& it) { co_await wait_for_it(it); }
task<> go_down(event& it, int depth) {
  if (depth == 0) co_return co_await wait_for_it(it);
  co_await go_down(it, depth - 1);
}

TEST(admin, tells_which_coroutines_of_a_task_await_each_other) {
  with_program([](const address& at) -> task<> {
    event never;
    auto patient = spawn(be_patient(never), "patient");
    auto both = spawn([&]() -> task<> { co_await when_all(be_patient(never), never.wait()); }, "both");
    auto deep = spawn(go_down(never, 200), "deep");
    const auto crowd = [&](group& g) -> task<> {
      for (int i = 0; i < 900; ++i) g.spawn(go_down(never, 20), "one of many");
      co_await never.wait();
    };
    auto many = spawn([&]() -> task<> { co_await with_group(crowd); }, "many");
    const auto names = [](const json& told) { return told.value("coroutines", std::vector<std::string>()); };
    json found;
    std::size_t coroutines = 0;
    std::string answer;
    do {
      answer = co_await get(at, "/tasks");
      coroutines = 0;
      for (const json& each : json::parse(body_of(answer))) {
        found[each["name"].get<std::string>()] = each;
        if (each["shard"] != 0) continue;
        coroutines += names(each).size();
        for (const json& branch : each.value("branches", json::array())) coroutines += names(branch).size();
      }
    } while (names(found["patient"]).empty() || found["both"].value("branches", json::array()).size() < 2 ||
             names(found["both"]["branches"][0]).empty() || names(found["deep"]).empty() || coroutines < 5000);
    const std::vector<std::string> p = names(found["patient"]);
    EXPECT_EQ(p.size(), 2u) << answer;
    if (!simulating()) {  // a simulated disk does not have the program, and so no names
      EXPECT_NE(p.front().find("wait_for_it(skerry::event&)"), std::string::npos) << p.front();
      EXPECT_NE(p.back().find("be_patient(skerry::event&)"), std::string::npos) << p.back();
    }
    EXPECT_EQ(names(found["both"]).size(), 1u) << "what its branches await stands there";
    EXPECT_EQ(names(found["both"]["branches"][0]), p);
    EXPECT_EQ(names(found["deep"]).size(), 64u) << "of a task there are so many at most";
    EXPECT_LE(coroutines, 10'000u) << "and of a shard";
    never.set();
    co_await patient;
    co_await both;
    co_await deep;
    co_await many;
  });
}

TEST(admin, records_all_shards_and_draws_an_arrow_for_each_message) {
  if (simulating()) GTEST_SKIP() << "a simulation records its shards already";
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
  if (simulating()) GTEST_SKIP() << "a simulation records its shards already";
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
  if (simulating()) GTEST_SKIP() << "who has the port here is outside of the simulation";
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
