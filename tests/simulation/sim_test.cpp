// SPDX-License-Identifier: Apache-2.0
// The simulator itself: time, turns, messages, connections, crashes, and that a seed repeats.
#include <skerry/net/connect.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <string>

#include <gtest/gtest.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

sim::options with(std::uint64_t seed, unsigned shards = 1) {
  sim::options o;
  o.seed = seed;
  o.shards = shards;
  return o;
}

TEST(sim, time_jumps_to_what_is_next) {
  clock::duration slept{};
  const sim::report ended = sim::run(with(1), [&]() -> task<> {
    const clock::time_point begun = clock::now();
    co_await sleep_for(24h);
    slept = clock::now() - begun;
  });
  EXPECT_EQ(ended.violation, "");
  EXPECT_GE(slept, 24h);
  EXPECT_LT(ended.steps, 1000u);
}

TEST(sim, a_call_to_another_shard_comes_back) {
  int answer = 0;
  const sim::report ended = sim::run(with(2, 4), [&]() -> task<> {
    for (shard_id s = 0; s < shard_count(); ++s)
      answer += co_await submit_to(s, [] { return static_cast<int>(this_shard_id()) + 1; });
  });
  EXPECT_EQ(ended.violation, "");
  EXPECT_EQ(answer, 10);
}

task<> echo(net::stream s) {
  while (true) {
    buffer got = co_await s.read();
    if (got.empty()) co_return;
    co_await s.write(std::span(got.begin(), got.size()));
  }
}

task<> echo_all() {
  net::listener doors(*net::address::parse("0.0.0.0", 7777));
  while (true) {
    std::optional<net::stream> come = co_await doors.accept();
    if (!come) co_return;
    spawn(echo(std::move(*come)), "echo");
  }
}

TEST(sim, hosts_talk) {
  std::string back;
  const sim::report ended = sim::run(with(3), [&]() -> task<> {
    sim::host_handle server = sim::host("server");
    server.start(echo_all);
    co_await sleep_for(10ms);
    net::stream s = co_await net::connect(*net::address::parse(server.ip(), 7777));
    const std::string text = "hello";
    co_await s.write(std::as_bytes(std::span(text)));
    while (back.size() < text.size()) {
      buffer got = co_await s.read();
      back.append(reinterpret_cast<const char*>(got.data()), got.size());
    }
    server.crash();
    co_await server.ended();
  });
  EXPECT_EQ(ended.violation, "");
  EXPECT_EQ(back, "hello");
}

TEST(sim, a_seed_repeats) {
  const auto once = [](std::uint64_t seed) {
    return sim::run(with(seed, 3), []() -> task<> {
      sim::host_handle server = sim::host("server", 2);
      server.start(echo_all);
      co_await sleep_for(10ms);
      for (int i = 0; i < 20; ++i) {
        co_await submit_to(static_cast<shard_id>(i % 3), [] {});
        net::stream s = co_await net::connect(*net::address::parse(server.ip(), 7777));
        co_await s.write(std::as_bytes(std::span("x", 1)));
        co_await s.read();
      }
    });
  };
  const sim::report first = once(7), again = once(7), other = once(8);
  EXPECT_EQ(first.violation, "");
  EXPECT_EQ(again.violation, "");
  EXPECT_EQ(first.trace_hash, again.trace_hash);
  EXPECT_EQ(first.steps, again.steps);
  EXPECT_NE(first.trace_hash, other.trace_hash);
}

}  // namespace
