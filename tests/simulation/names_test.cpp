// SPDX-License-Identifier: Apache-2.0
// Names of simulated hosts with the shipped resolver: answers, silence, failure, cache and cancel. Addresses of both
// families.
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <cerrno>
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
#include <sys/socket.h>

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

std::string both_of(const sim::host_handle& host) { return '[' + host.ip6() + "]:80 " + host.ip() + ":80 "; }

TEST(sim_names, lead_to_hosts) {
  const sim::report ended = sim::run(with(1), []() -> task<> {
    const sim::host_handle server = sim::host("server");
    const std::string there = both_of(server);
    EXPECT_EQ(co_await what_of("server"), there);
    EXPECT_EQ(co_await what_of("SERVER."), there);
    EXPECT_EQ(co_await what_of("server", family::v6), '[' + server.ip6() + "]:80 ");
    EXPECT_EQ(co_await what_of("server", family::v4), server.ip() + ":80 ");
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

/// Greets whoever comes, by either family, until it is crashed; says who came.
task<> greet_all(std::string where, std::vector<std::string>& who) {
  net::listener doors(*net::address::parse(where, 7777));
  while (std::optional<net::stream> come = co_await doors.accept()) {
    who.push_back(net::peer_address(come->fd()).text());
    co_await come->write(std::string_view("hello"));
  }
}

task<bool> is_greeted(net::address at) {
  try {
    net::stream s = co_await net::connect(at);
    const buffer bytes = co_await s.read();
    co_return bytes.size() == 5;
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ECONNREFUSED);
    co_return false;
  }
}

TEST(sim_addresses, a_listener_of_both_families_has_whoever_comes_and_one_of_ipv4_refuses_the_other) {
  for (const bool both : {true, false}) {
    std::vector<std::string> who;
    const sim::report ended = sim::run(with(11), [&]() -> task<> {
      sim::host_handle server = sim::host("server");
      server.start([&]() -> task<> { return greet_all(both ? "::" : "0.0.0.0", who); });
      co_await sleep_for(10ms);
      EXPECT_TRUE(co_await is_greeted(*net::address::parse(server.ip(), 7777)));
      EXPECT_EQ(co_await is_greeted(*net::address::parse(server.ip6(), 7777)), both);
      EXPECT_FALSE(co_await is_greeted(*net::address::parse("::1", 7777)));  // that is here
      const net::listener own(*net::address::parse("::1", 0));
      net::stream s = co_await net::connect(own.where());
      EXPECT_TRUE(net::local_address(s.fd()).text().starts_with("[::1]:"));
      server.crash();
    });
    EXPECT_EQ(ended.violation, "");
    EXPECT_EQ(who.size(), both ? 2u : 1u);
    EXPECT_TRUE(who.front().starts_with(both ? "[::ffff:10.0.0.1]:" : "10.0.0.1:")) << who.front();
    EXPECT_TRUE(!both || who.back().starts_with("[2001:db8::1]:")) << who.back();
  }
}

TEST(sim_addresses, are_taken_in_both_families_where_a_socket_has_both) {
  const sim::report ended = sim::run(with(12), []() -> task<> {
    std::vector<net::unique_fd> held;
    const auto bound = [&held](int type, const char* ip, bool v6_only) {
      const net::address at = *net::address::parse(ip, 99);
      held.emplace_back(::socket(at.family(), type, 0));
      const int only = v6_only ? 1 : 0;
      if (at.family() == AF_INET6) {
        EXPECT_EQ(::setsockopt(held.back().get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only), 0);
      }
      return ::bind(held.back().get(), at.data(), at.size()) == 0 ? 0 : errno;
    };
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
      EXPECT_EQ(bound(type, "::", false), 0);
      EXPECT_EQ(bound(type, "127.0.0.1", false), EADDRINUSE);
      EXPECT_EQ(bound(type, "::1", false), EADDRINUSE);
      held.clear();
      EXPECT_EQ(bound(type, "::", true), 0);
      EXPECT_EQ(bound(type, "0.0.0.0", false), 0);
      EXPECT_EQ(bound(type, "2001:db8::77", false), EADDRNOTAVAIL);
      EXPECT_EQ(bound(type, "::ffff:127.0.0.1", true), EINVAL);
      held.clear();
    }
    co_return;
  });
  EXPECT_EQ(ended.violation, "");
}

/// How long it takes to connect to "server" while what goes one way by one protocol is lost, and by which it went.
std::pair<std::chrono::nanoseconds, std::string> connected_round(sim::protocol cut, bool answers_only) {
  std::pair<std::chrono::nanoseconds, std::string> seen;
  std::vector<std::string> who;
  const sim::report ended = sim::run(with(13), [&]() -> task<> {
    sim::host_handle server = sim::host("server");
    server.start([&]() -> task<> { return greet_all("::", who); });
    co_await net::resolve("server", 7777);
    if (answers_only) {
      sim::partition({"server"}, {"test"}, true, cut);
    } else {
      sim::partition({"test"}, {"server"}, true, cut);
    }
    const clock::time_point begun = clock::now();
    net::stream s = co_await net::connect("server", 7777);
    seen.first = clock::now() - begun;
    seen.second = net::peer_address(s.fd()).text();
    const buffer greeted = co_await s.read();
    EXPECT_EQ(greeted.size(), 5u);
    server.crash();
  });
  EXPECT_EQ(ended.violation, "");
  return seen;
}

TEST(sim_addresses, connect_gets_round_a_family_that_is_cut_off) {
  for (const bool answers_only : {false, true}) {
    const auto without_v6 = connected_round(sim::protocol::ipv6, answers_only);
    EXPECT_GE(without_v6.first, 250ms);
    EXPECT_LT(without_v6.first, 300ms);
    EXPECT_EQ(without_v6.second, "10.0.0.2:7777");
    const auto without_v4 = connected_round(sim::protocol::ipv4, answers_only);
    EXPECT_LT(without_v4.first, 10ms);
    EXPECT_EQ(without_v4.second, "[2001:db8::2]:7777");
  }
}

TEST(sim_addresses, datagrams_come_by_both_families_to_a_socket_that_has_both) {
  const sim::report ended = sim::run(with(14), []() -> task<> {
    sim::host_handle server = sim::host("server");
    server.start([]() -> task<> {
      net::datagram_socket s(*net::address::parse("::", 7777));
      while (std::optional<net::datagram> got = co_await s.receive()) co_await s.send(got->from(), got->from().text());
    });
    co_await sleep_for(10ms);
    const auto seen_as = [](std::string own, std::string there) -> task<std::string> {
      net::datagram_socket s(*net::address::parse(own, 0));
      co_await s.send(*net::address::parse(there, 7777), "who am I?");
      const std::optional<net::datagram> got = co_await s.receive();
      co_return std::string(got->text()) + " says " + got->from().text();
    };
    std::string told = co_await seen_as("0.0.0.0", server.ip());
    EXPECT_TRUE(told.starts_with("[::ffff:10.0.0.1]:") && told.ends_with(" says 10.0.0.2:7777")) << told;
    told = co_await seen_as("::", server.ip6());
    EXPECT_TRUE(told.starts_with("[2001:db8::1]:") && told.ends_with(" says [2001:db8::2]:7777")) << told;
    sim::partition({"test"}, {"server"}, false, sim::protocol::ipv6);
    bool lost = false;
    try {
      co_await with_timeout(1s, seen_as("::", server.ip6()));
    } catch (const timeout_error&) {
      lost = true;
    }
    EXPECT_TRUE(lost);
    told = co_await seen_as("::", "::ffff:10.0.0.2");
    EXPECT_TRUE(told.ends_with(" says [::ffff:10.0.0.2]:7777")) << told;
    server.crash();
  });
  EXPECT_EQ(ended.violation, "");
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
  const std::string there = both_of(other);
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
