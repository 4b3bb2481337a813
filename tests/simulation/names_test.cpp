// SPDX-License-Identifier: Apache-2.0
// Names of simulated hosts with the shipped resolver: answers, silence, failure, cache and cancel.
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;
using net::dns::family;
using net::dns::resolve_errc;

sim::options with(std::uint64_t seed) {
  sim::options o;
  o.seed = seed;
  o.steps_max = 5'000'000;
  return o;
}

/// What comes of a name: its addresses, or why there are none.
task<std::string> what_of(std::string name, family wanted = family::any) {
  try {
    std::string all;
    const std::vector<net::address> found = co_await net::resolve(name, 80, wanted);
    for (const net::address& each : found) all += each.text() + ' ';
    co_return all;
  } catch (const std::system_error& error) {
    co_return error.code().message();
  }
}
std::string message(resolve_errc code) { return net::dns::make_error_code(code).message(); }

TEST(sim_names, lead_to_hosts) {
  const sim::report ended = sim::run(with(1), []() -> task<> {
    const std::string there = sim::host("server").ip() + ":80 ";
    EXPECT_EQ(co_await what_of("server"), there);
    EXPECT_EQ(co_await what_of("SERVER."), there);
    EXPECT_EQ(co_await what_of("server", family::v6), message(resolve_errc::no_address));
    EXPECT_EQ(co_await what_of("nobody"), message(resolve_errc::not_found));
    EXPECT_EQ(co_await what_of("localhost", family::v4), "127.0.0.1:80 ");
    const net::dns::resolver_stats first = net::dns::stats();
    EXPECT_EQ(co_await what_of("server"), there);
    EXPECT_EQ(net::dns::stats().queries, first.queries);
    EXPECT_EQ(net::dns::stats().cache_hits, first.cache_hits + 1);
    co_await sleep_for(61s);
    EXPECT_EQ(co_await what_of("server"), there);
    EXPECT_EQ(net::dns::stats().queries, first.queries + 1);
    EXPECT_EQ(net::dns::stats().sockets, 0u);
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim_names, are_connected_to) {
  std::string got;
  const sim::report ended = sim::run(with(2), [&got]() -> task<> {
    sim::host_handle server = sim::host("server");
    server.start([]() -> task<> {
      net::listener doors(*net::address::parse("0.0.0.0", 7777));
      std::optional<net::stream> come = co_await doors.accept();
      if (come) co_await come->write(std::string_view("hello"));
    });
    co_await sleep_for(10ms);
    net::stream s = co_await net::connect("server", 7777);
    const buffer bytes = co_await s.read();
    got.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  EXPECT_EQ(ended.violation, "");
  EXPECT_EQ(got, "hello");
}

TEST(sim_names, that_nobody_answers_time_out_and_are_asked_again_first) {
  sim::options o = with(3);
  o.names.unanswered = 1;
  const sim::report silent = sim::run(o, []() -> task<> {
    const std::chrono::nanoseconds begun = sim::virtual_time();
    EXPECT_EQ(co_await what_of("test"), message(resolve_errc::timed_out));
    const std::chrono::nanoseconds took = sim::virtual_time() - begun;
    EXPECT_GE(took, 14s);  // 2 s, 4 s, 8 s
    EXPECT_LT(took, 15s);
    // Who has less patience says so; the question is given up with the last who waits.
    bool late = false;
    try {
      co_await with_timeout(1s, what_of("other"));
    } catch (const timeout_error&) {
      late = true;
    }
    EXPECT_TRUE(late);
    co_await sleep_for(10ms);
    EXPECT_EQ(net::dns::stats().sockets, 0u);
  });
  EXPECT_EQ(silent.violation, "");
  int answered = 0, again = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    o = with(seed);
    o.names.unanswered = 0.5;
    const sim::report ended = sim::run(o, [&]() -> task<> {
      const std::chrono::nanoseconds begun = sim::virtual_time();
      const std::string found = co_await what_of("test");
      if (found == message(resolve_errc::timed_out)) co_return;
      ++answered;
      if (sim::virtual_time() - begun > 1s) ++again;
    });
    EXPECT_EQ(ended.violation, "");
  }
  EXPECT_NEAR(answered, 88, 12);  // of three tries
  EXPECT_GT(again, 15);
}

task<> ask_many(std::set<std::string>& seen) {
  sim::host_handle other = sim::host("other");
  const std::string there = other.ip() + ":80 ";
  for (int round = 0; round < 20; ++round) {
    // Two at a time, of one question.
    auto [one, two] = co_await when_all(what_of("other"), what_of("other"));
    EXPECT_EQ(one, two);
    seen.insert(one == there ? "found" : one);
    net::dns::this_resolver().forget();
  }
}

TEST(sim_names, fail_as_drawn_and_a_seed_repeats) {
  std::set<std::string> seen;
  const auto once = [&seen](std::uint64_t seed) {
    sim::options o = with(seed);
    o.all_faults();
    o.names.unanswered = o.names.failed = o.names.unknown = 0.1;
    const sim::report ended = sim::run(o, [&seen]() -> task<> {
      sim::host_handle asker = sim::host("asker");
      for (int life = 0; life < 2; ++life) {
        asker.start([&seen]() -> task<> { co_await ask_many(seen); });
        co_await sleep_for(std::chrono::milliseconds(sim::draw(300)));
        asker.crash();
        co_await asker.ended();
      }
      co_await ask_many(seen);
    });
    EXPECT_EQ(ended.violation, "") << "seed " << seed;
    return ended;
  };
  for (std::uint64_t seed = 1; seed <= 100; ++seed) once(seed);
  EXPECT_TRUE(seen.contains("found"));
  EXPECT_TRUE(seen.contains(message(resolve_errc::not_found)));
  EXPECT_TRUE(seen.contains(message(resolve_errc::server_failure)));
  EXPECT_EQ(once(7).trace_hash, once(7).trace_hash);
  EXPECT_NE(once(7).trace_hash, once(8).trace_hash);
}

}  // namespace
