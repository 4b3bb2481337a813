// SPDX-License-Identifier: Apache-2.0
/// The admin endpoint of a program that never listens: --admin alone opens it, and the end does not wait for it.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/sharded.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <net/admin/asking.hpp>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using admin_tests::free_place;
using admin_tests::get;
using net::address;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::run_shards;

/// Runs `main` with an admin endpoint and without a listener. It ends when main does: an unfinished task of the
/// endpoint's would end the process with status 2 after the deadline.
void with_silent_program(std::function<task<>(const address&)> main) {
  const address at = free_place();
  app_options options = quiet_options(2);
  options.admin = at.text();
  options.drain_timeout = std::chrono::seconds(5);
  run_shards(options, [&]() -> task<> { return main(at); });
}

TEST(silent_admin, is_there_for_a_program_that_never_listens) {
  with_silent_program([](const address& at) -> task<> {
    for (int i = 0; i < 10; ++i) co_await submit_to(1, [] {});
    auto waits = spawn([]() -> task<> { co_await sleep_for(std::chrono::hours(1)); }, "computes");
    const std::string ready = co_await get(at, "/ready");
    EXPECT_TRUE(ready.starts_with("HTTP/1.1 200 OK\r\n")) << ready;
    const std::string metrics = co_await get(at, "/metrics");
    EXPECT_NE(metrics.find("skerry_hop_messages_total{from=\"0\",shard=\"1\"} "), metrics.npos) << metrics;
    const std::string tasks = co_await get(at, "/tasks");
    EXPECT_NE(tasks.find("\"computes\""), tasks.npos) << tasks;
    EXPECT_EQ(tasks.find("\"accept\""), tasks.npos) << "the endpoint's own are not the program's:\n" << tasks;
    waits.abort();
  });
}

TEST(silent_admin, is_not_waited_for_by_a_program_that_ends_by_itself) {
  with_silent_program([](const address& at) -> task<> {
    auto& asks = resources().emplace<raw_peer>(at);  // kept open until all else has ended
    co_await asks.send("GET /trace?ms=10000 HTTP/1.1\r\nHost: a\r\n\r\n");
    while (this_shard().trace == nullptr) co_await yield();
  });
}

/// Asks for what needs tasks of the endpoint's own, when those of the program have ended.
struct asks_at_the_end {
  asks_at_the_end(std::string where, std::optional<borrowed<std::string>> answer) : at(where), told(answer) {}
  task<> stop() {
    if (this_shard_id() != 1) co_return;
    EXPECT_TRUE(this_shard().root->closing());
    **told = co_await get(*address::parse(at), "/health");
  }
  std::string at;
  std::optional<borrowed<std::string>> told;
};

TEST(silent_admin, answers_while_services_stop) {
  std::string answer;
  with_silent_program([&answer](const address& at) -> task<> {
    auto& service = resources().emplace<sharded<asks_at_the_end>>();
    co_await service.start(at.text(), std::optional(borrowed(answer)));
  });
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
}

}  // namespace
}  // namespace skerry
