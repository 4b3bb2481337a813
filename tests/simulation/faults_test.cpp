// SPDX-License-Identifier: Apache-2.0
// What can go wrong in a simulated world, and that a program that is right survives it under many seeds.
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/test.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/retry.hpp>

#include <cerrno>
#include <chrono>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <unistd.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

task<> echo(net::stream s) {
  try {
    while (true) {
      const buffer got = co_await s.read();
      if (got.empty()) co_return;
      co_await s.write(std::span(got.begin(), got.size()));
    }
  } catch (const std::system_error&) {
    // The connection broke; its client knows.
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

task<> wait_for(event& e) { co_await e.wait(); }

task<net::stream> reach(const sim::host_handle& server) {
  co_return co_await net::connect(*net::address::parse(server.ip(), 7777));
}

/// What comes back, or nothing if the connection broke. Asserts that what comes is what was sent, so far as it came.
task<std::optional<std::string>> send_and_read(net::stream& s, std::string text) {
  std::string back;
  try {
    co_await s.write(std::as_bytes(std::span(text)));
    while (back.size() < text.size()) {
      const buffer got = co_await s.read();
      if (got.empty()) co_return std::nullopt;
      back.append(reinterpret_cast<const char*>(got.data()), got.size());
      if (text.compare(0, back.size(), back) != 0) sim::fail("bytes came back that were not sent");
    }
  } catch (const std::system_error&) {
    co_return std::nullopt;
  }
  co_return back;
}

sim::options all_faults(unsigned shards) {
  sim::options o;
  o.shards = shards;
  o.all_faults();
  return o;
}

SKERRY_SIM_TEST_WITH(what_comes_back_is_what_was_sent, all_faults(2)) {
  sim::host_handle server = sim::host("server", 3);
  server.start(echo_all);
  co_await sleep_for(10ms);
  unsigned whole = 0;
  for (int i = 0; i < 10; ++i) {
    try {
      net::stream s = co_await reach(server);
      for (int k = 0; k < 5; ++k) {
        std::string text(1 + sim::draw(20'000), 'a');
        for (char& c : text) c = static_cast<char>('a' + sim::draw(26));
        const std::optional<std::string> back = co_await send_and_read(s, text);
        if (!back) break;
        ++whole;
      }
    } catch (const std::system_error&) {
      // Refused, or reset before it was accepted.
    }
  }
  if (whole == 0) sim::fail("with these rates something must come back");
  server.stop();
  co_await server.ended();
}

SKERRY_SIM_TEST(a_crash_is_seen_by_the_peer_once_the_host_is_back) {
  sim::host_handle server = sim::host("server", 2);
  server.start(echo_all);
  co_await sleep_for(10ms);
  net::stream s = co_await reach(server);
  EXPECT_TRUE(co_await send_and_read(s, "before"));
  server.crash();
  co_await server.ended();
  server.start(echo_all);
  co_await sleep_for(10ms);
  const std::optional<std::string> after = co_await send_and_read(s, "after");
  EXPECT_FALSE(after);
  net::stream again = co_await reach(server);
  EXPECT_TRUE(co_await send_and_read(again, "again"));
}

SKERRY_SIM_TEST(a_partition_delays_and_heals) {
  sim::host_handle server = sim::host("server", 1);
  server.start(echo_all);
  co_await sleep_for(10ms);
  net::stream s = co_await reach(server);
  sim::partition({"test"}, {"server"});
  const clock::time_point cut = clock::now();
  spawn(
      []() -> task<> {
        co_await sleep_for(3s);
        sim::heal();
      },
      "heal");
  EXPECT_TRUE(co_await send_and_read(s, "late"));
  EXPECT_GE(clock::now() - cut, 3s);
}

SKERRY_SIM_TEST(a_partition_for_good_times_out) {
  sim::host_handle server = sim::host("server", 1);
  server.start(echo_all);
  co_await sleep_for(10ms);
  net::stream s = co_await reach(server);
  sim::partition({"server"}, {"test"}, true);
  const std::optional<std::string> back = co_await send_and_read(s, "never");
  EXPECT_FALSE(back);
}

SKERRY_SIM_TEST(a_wall_clock_that_jumps_moves_no_timer) {
  sim::host_handle here = sim::host("test");
  const std::chrono::nanoseconds wall = clock::wall();
  const clock::time_point begun = clock::now();
  here.shift_wall(-1h);
  co_await sleep_for(1s);
  EXPECT_LT(clock::wall(), wall);
  EXPECT_GE(clock::now() - begun, 1s);
  EXPECT_LT(clock::now() - begun, 1100ms);
}

SKERRY_SIM_TEST(a_shard_that_stands_still_answers_later) {
  sim::host("test").stall(1, 2s);
  const clock::time_point begun = clock::now();
  co_await submit_to(1, [] {});
  EXPECT_GE(clock::now() - begun, 1900ms);
}

/// Three tasks, and the order in which they go once `before` lets them.
template <class Wait>
std::set<std::string> orders_of_three(double shuffled, unsigned seeds, Wait wait) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    sim::options o;
    o.seed = seed;
    o.shards = 2;
    o.shuffled_tasks = shuffled;
    std::string order;
    const sim::report ended = sim::run(o, [&]() -> task<> {
      const clock::time_point then = clock::now() + 5ms;
      const auto go = [&order, wait, then](char name) -> task<> {
        co_await wait(then);
        order += name;
      };
      auto a = spawn(go('a'));
      auto b = spawn(go('b'));
      auto c = spawn(go('c'));
      co_await a;
      co_await b;
      co_await c;
    });
    EXPECT_EQ(ended.violation, "");
    seen.insert(order);
  }
  return seen;
}

TEST(simulation, ready_tasks_go_in_every_order_where_that_is_asked_for) {
  const auto asks = [](clock::time_point) -> task<> { co_await submit_to(1, [] {}); };
  EXPECT_EQ(orders_of_three(0, 20, asks), (std::set<std::string>{"abc"}));
  EXPECT_EQ(orders_of_three(0.5, 200, asks).size(), 6u);
}

TEST(simulation, timers_of_one_tick_go_in_every_order_where_that_is_asked_for) {
  const auto sleeps = [](clock::time_point then) -> task<> { co_await sleep_until(then); };
  EXPECT_EQ(orders_of_three(0, 20, sleeps), (std::set<std::string>{"abc"}));
  EXPECT_EQ(orders_of_three(0.5, 200, sleeps).size(), 6u);
}

/// Shard 1 sends to 0 and to 2 in one step. Whether what went to 0 came a millisecond after the other, although 0 ran.
bool one_mailbox_is_late(std::uint64_t seed, sim::schedule order) {
  sim::options o;
  o.seed = seed;
  o.shards = 3;
  o.order = order;
  bool late = false;
  const sim::report ended = sim::run(o, [&]() -> task<> {
    const auto send = []() -> task<std::chrono::nanoseconds> {
      constexpr auto arrival = [] { return clock::read(); };
      auto to_2 = spawn([arrival]() -> task<clock::time_point> { co_return co_await submit_to(2, arrival); });
      const clock::time_point at_0 = co_await submit_to(0, arrival);
      co_return at_0 - co_await to_2;
    };
    int ticks = 0;
    auto ticker = spawn([&]() -> task<> {
      for (;; ++ticks) co_await sleep_for(100us);
    });
    for (int i = 0; i < 100; ++i) {
      const int before = ticks;
      const std::chrono::nanoseconds behind = co_await submit_to(1, send);
      if (behind > 1ms && ticks - before >= 5) late = true;
      co_await sleep_for(1ms);
    }
    ticker.abort();
    try {
      co_await ticker;  // it counts in this frame
    } catch (const std::system_error&) {
    }
  });
  EXPECT_EQ(ended.violation, "");
  return late;
}

TEST(simulation, what_one_shard_sends_another_is_late_where_that_is_asked_for) {
  bool fair = false, adversarial = false;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    fair = fair || one_mailbox_is_late(seed, sim::schedule::fair);
    adversarial = adversarial || one_mailbox_is_late(seed, sim::schedule::adversarial);
  }
  EXPECT_FALSE(fair);
  EXPECT_TRUE(adversarial);
}

TEST(simulation, reports_a_hang) {
  sim::options o;
  const sim::report made = sim::run(o, []() -> task<> {
    event never("never");
    co_await never.wait();
  });
  EXPECT_NE(made.violation.find("nothing can ever happen again"), std::string::npos) << made.violation;
}

TEST(simulation, reports_an_invariant_that_does_not_hold) {
  sim::options o;
  int n = 0;
  const sim::report made = sim::run(o, [&]() -> task<> {
    sim::always("n stays below three", [&] { return n < 3; });
    for (;;) {
      co_await sleep_for(1ms);
      ++n;
    }
  });
  EXPECT_NE(made.violation.find("n stays below three"), std::string::npos) << made.violation;
  EXPECT_EQ(n, 3);
}

TEST(simulation, asks_no_invariant_once_the_test_has_ended) {
  bool gone = false;
  const sim::report made = sim::run(sim::options(), [&]() -> task<> {
    struct watched {
      bool& gone;
      ~watched() { gone = true; }
    };
    const watched local{gone};
    sim::always("what it looks at is there", [&gone] { return !gone; });
    co_await sleep_for(1ms);
  });
  EXPECT_EQ(made.violation, "");
  EXPECT_TRUE(gone);
}

TEST(simulation, reports_what_main_throws) {
  sim::options o;
  const sim::report made = sim::run(o, []() -> task<> {
    co_await sleep_for(1ms);
    throw std::runtime_error("no such luck");
  });
  EXPECT_NE(made.violation.find("no such luck"), std::string::npos) << made.violation;
}

TEST(simulation, reports_a_drain_that_overruns) {
  sim::options o;
  const sim::report made = sim::run(o, []() -> task<> {
    sim::host_handle server = sim::host("server");
    server.start([]() -> task<> {
      event never("never");
      co_await shielded(wait_for(never));
    });
    co_await sleep_for(1ms);
    server.stop();
    co_await server.ended();
  });
  EXPECT_NE(made.violation.find("drain deadline"), std::string::npos) << made.violation;
}

TEST(simulation, reports_descriptors_that_a_host_leaves_open) {
  sim::options o;
  const sim::report made = sim::run(o, []() -> task<> {
    sim::host_handle leaky = sim::host("leaky");
    const auto leak = []() -> task<> {
      EXPECT_GE(::socket(AF_INET, SOCK_STREAM, 0), 0);
      co_return;
    };
    leaky.start(leak, true);
    co_await leaky.ended();
  });
  EXPECT_NE(made.violation.find("host leaky has ended and left 1 descriptor open"), std::string::npos)
      << made.violation;
}

// The guard against the real world.

TEST(simulation, reports_who_asks_for_the_real_time) {
  sim::options o;
  const sim::report made = sim::run(o, []() -> task<> {
    [[maybe_unused]] const auto now = std::chrono::system_clock::now();
    co_await sleep_for(1ms);
  });
  EXPECT_NE(made.violation.find("std::chrono::system_clock"), std::string::npos) << made.violation;
}

TEST(simulation, reports_who_draws_real_numbers) {
  sim::options o;
  const sim::report made = sim::run(o, []() -> task<> {
    [[maybe_unused]] const int drawn = std::rand();
    co_await sleep_for(1ms);
  });
  EXPECT_NE(made.violation.find("(rand)"), std::string::npos) << made.violation;
}

TEST(simulation, reports_who_starts_a_thread) {
  sim::options o;
  const sim::report made = sim::run(o, []() -> task<> {
    std::thread other([] {});
    other.join();
    co_await sleep_for(1ms);
  });
  EXPECT_NE(made.violation.find("a thread"), std::string::npos) << made.violation;
}

TEST(simulation, reports_who_makes_a_process) {
  const sim::report made = sim::run(sim::options(), []() -> task<> {
    EXPECT_EQ(::fork(), -1);
    EXPECT_EQ(errno, ENOSYS);
    co_return;
  });
  EXPECT_NE(made.violation.find("a process"), std::string::npos) << made.violation;
}

// All ways to take turns.

/// Two shards add to a counter that one of them owns, by reading, then writing: what is added in between is lost.
int lost_counter = 0;

task<> add_badly() {
  const int before = co_await submit_to(1, [] { return lost_counter; });
  co_await submit_to(1, [](int to) { lost_counter = to; }, before + 1);
}

TEST(exploration, finds_the_one_order_that_loses) {
  sim::options o;
  o.shards = 2;
  const sim::exploration all = sim::explore(o, 1, 20'000, []() -> task<> {
    lost_counter = 0;
    const sim::exploring here;
    co_await when_all(add_badly(), submit_to(1, []() -> task<> { return add_badly(); }));
    if (lost_counter != 2) sim::fail("an addition was lost");
  });
  std::cout << all.runs << " ways to take turns\n";
  EXPECT_NE(all.first_violation.violation.find("an addition was lost"), std::string::npos);
}

TEST(exploration, every_way_of_two_calls_leaves_both_done) {
  sim::options o;
  o.shards = 2;
  const sim::exploration all = sim::explore(o, 2, 200'000, []() -> task<> {
    const sim::exploring here;
    int a = 0, b = 0;
    const auto call = [](int n, int& into) -> task<> { into = co_await submit_to(1, [](int m) { return m; }, n); };
    co_await when_all(call(1, a), call(2, b));
    if (a != 1 || b != 2) sim::fail("a call was lost");
  });
  std::cout << all.runs << " ways to take turns\n";
  EXPECT_TRUE(all.complete);
  EXPECT_EQ(all.first_violation.violation, "");
  EXPECT_GT(all.runs, 10u);
}

// Campaigns.

task<> fails_after_a_reset() {
  sim::host_handle server = sim::host("server");
  server.start(echo_all);
  co_await sleep_for(10ms);
  for (int i = 0; i < 50; ++i) {
    try {
      net::stream s = co_await reach(server);
      co_await s.write(std::as_bytes(std::span("x", 1)));
      co_await s.read();
    } catch (const std::system_error& failed) {
      if (failed.code() == std::errc::connection_reset) sim::fail("planted: a reset is taken for the end");
    }
  }
}

TEST(campaign, names_the_seed_and_shrinks_to_the_fault_that_matters) {
  const sim::test_case t{"resets", [](sim::options& o) { o.all_faults(); }, fails_after_a_reset};
  sim::campaign_options how;
  how.seeds = 100;
  const sim::campaign_result result = sim::run_campaign(t, how, "program");
  ASSERT_FALSE(result.ok());
  std::cout << result.told << '\n';
  EXPECT_NE(result.told.find("replay: program --seed "), std::string::npos);
  EXPECT_NE(result.told.find("it fails with "), std::string::npos);
  // What it was shrunk to fails, too.
  const std::string only = result.told.substr(result.told.rfind("--only ") + 7);
  const std::string seed = std::to_string(result.last.seed);
  const char* line[] = {"program", "--seed", seed.c_str(), "--only", only.c_str(), "--no-shrink"};
  const sim::campaign_result again = sim::run_campaign(t, sim::parse_campaign(6, line, "", false), "program");
  EXPECT_FALSE(again.ok());
}

}  // namespace
