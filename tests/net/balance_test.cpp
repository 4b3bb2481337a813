// SPDX-License-Identifier: Apache-2.0
/// Accept policies: which shard serves a connection, and that limits, drains and hand-overs hold whoever chooses.

#include <skerry/framework/random.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/detail/shard_choice.hpp>
#include <skerry/net/detail/steering.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sched.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>
#include <sys/resource.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using net::accept_policy;
using net::server_options;
using net::detail::shard_choice;
using test_support::loopback;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::run_shards;
using test_support::turn;

constexpr std::array for_all = {accept_policy::round_robin, accept_policy::least_loaded};

server_options by(accept_policy how) {
  server_options options;
  options.accept = how;
  return options;
}

/// Answers each byte with the shard's number, until the end.
task<> echo(net::stream client) {
  while (true) {
    const buffer bytes = co_await client.read();
    if (bytes.empty()) co_return;
    co_await client.write(std::string(bytes.size(), static_cast<char>('0' + this_shard_id())));
  }
}
constexpr auto echo_handler = [](net::stream client) { return echo(std::move(client)); };

/// The shard that serves this client.
task<unsigned> shard_of(raw_peer& peer) {
  co_await peer.send("?");
  const std::string answer = co_await peer.receive_exactly(1);
  co_return answer.empty() ? 999 : static_cast<unsigned>(answer[0] - '0');
}

task<> until(std::function<bool()> so) {
  while (!so()) co_await turn();
}

/// What the shard that accepts knows catches up with what is.
task<> settle(net::server& s, std::uint64_t connections) {
  while ((co_await s.stats()).connections != connections) co_await turn();
  for (int i = 0; i < 50; ++i) co_await turn();
}

// --- the choice ---

TEST(shard_choice, takes_turns_and_passes_over_who_takes_nothing) {
  random_source draw(1);
  shard_choice choice(accept_policy::round_robin, 3);
  std::map<shard_id, int> chosen;
  for (std::size_t i = 0; i < 3 * shard_choice::untaken_max; ++i) {
    const std::optional<shard_id> next = choice.next(draw);
    ASSERT_EQ(next, i % 3);
    if (next != 1) choice.taken(*next, 1);
  }
  for (int i = 0; i < 100; ++i) {
    const std::optional<shard_id> next = choice.next(draw);
    ASSERT_TRUE(next && next != 1) << "shard 1 has as many as it may";
    ++chosen[*next];
    choice.taken(*next, 1);
  }
  EXPECT_EQ(chosen[0] + chosen[2], 100);
  choice.taken(1, shard_choice::untaken_max);
  EXPECT_EQ(choice.load(1), static_cast<std::int64_t>(shard_choice::untaken_max));
  choice.change(1, -10);
  EXPECT_EQ(choice.load(1), static_cast<std::int64_t>(shard_choice::untaken_max) - 10);
}

TEST(shard_choice, has_nobody_when_all_are_full) {
  for (const accept_policy how : for_all) {
    random_source draw(1);
    shard_choice choice(how, 4);
    for (std::size_t i = 0; i < 4 * shard_choice::untaken_max; ++i) ASSERT_TRUE(choice.next(draw));
    EXPECT_FALSE(choice.next(draw));
    choice.taken(2, 1);
    EXPECT_EQ(choice.next(draw), 2u);
    EXPECT_FALSE(choice.next(draw));
  }
}

TEST(shard_choice, of_two_at_random_stays_even_while_ends_are_not_and_news_is_late) {
  random_source draw(test_support::test_seed());
  constexpr std::size_t shards = 16;
  shard_choice choice(accept_policy::least_loaded, shards);
  std::vector<std::int64_t> real(shards);
  std::vector<std::int64_t> untold(shards);
  std::int64_t worst = 0;
  for (int i = 0; i < 100'000; ++i) {
    const std::optional<shard_id> next = choice.next(draw);
    ASSERT_TRUE(next);
    choice.taken(*next, 1);
    ++real[*next];
    // Those of the first shards end sooner.
    for (int ends = 0; i > 4000 && ends < 2; ++ends) {
      const std::uint64_t drawn = draw.uniform(shards);
      const std::size_t ended = drawn < 12 ? drawn % 4 : drawn;
      if (real[ended] == 0) continue;
      --real[ended];
      --untold[ended];
    }
    if (i % 20 == 0) {
      for (shard_id s = 0; s < shards; ++s) choice.change(s, std::exchange(untold[s], 0));
    }
    if (i == 4000) worst = *std::ranges::max_element(real) - *std::ranges::min_element(real);
  }
  EXPECT_LE(worst, 20) << "4000 connections over 16 shards, none ended";
}

// --- servers ---

TEST(balance, round_robin_is_exact_whatever_the_socket) {
  run_shards(3, []() -> task<> {
    const net::address unix_name = *net::address::parse("unix:@skerry balance " + std::to_string(::getpid()));
    for (int kind = 0; kind < 3; ++kind) {
      std::optional<net::server> s;
      if (kind == 0) s.emplace(co_await net::start_server(loopback(), echo_handler, by(accept_policy::round_robin)));
      if (kind == 1) s.emplace(co_await net::start_server(unix_name, echo_handler, by(accept_policy::round_robin)));
      if (kind == 2) {
        net::listener given(net::make_listening_socket(loopback(), 100));  // as one that was activated
        s.emplace(co_await net::start_server(std::move(given), echo_handler, by(accept_policy::round_robin)));
      }
      std::vector<raw_peer> peers;
      for (unsigned i = 0; i < 99; ++i) {
        peers.emplace_back(s->where());
        if (i % 7 == 0) co_await turn();
      }
      for (unsigned i = 0; i < 99; ++i) EXPECT_EQ(co_await shard_of(peers[i]), i % 3) << kind;
      EXPECT_EQ((co_await s->stats()).accepted, 99u);
      const net::drain_result end = co_await s->drain(10s);
      EXPECT_EQ(end.finished, 99u);
      for (raw_peer& peer : peers) EXPECT_EQ(co_await peer.receive_all(), "");
    }
  });
}

TEST(balance, started_from_any_shard_that_one_accepts) {
  run_shards(3, []() -> task<> {
    const auto start = []() -> task<net::address> {
      co_return co_await net::listen_on_all_shards(loopback(), echo_handler, by(accept_policy::round_robin));
    };
    const net::address at = co_await submit_to(2, start);
    for (unsigned i = 0; i < 9; ++i) {
      raw_peer peer(at);
      EXPECT_EQ(co_await shard_of(peer), i % 3);
    }
    this_shard().host->request_stop();
  });
}

TEST(balance, least_loaded_stays_even_when_long_connections_end_unevenly) {
  app_options options = quiet_options(4);
  options.seed = test_support::test_seed();
  run_shards(options, []() -> task<> {
    net::server s = co_await net::start_server(loopback(), echo_handler, by(accept_policy::least_loaded));
    std::map<unsigned, std::vector<raw_peer>> by_shard;
    const auto connect = [&](int count) -> task<> {
      for (int i = 0; i < count; ++i) {
        raw_peer peer(s.where());
        const unsigned shard = co_await shard_of(peer);
        by_shard[shard].push_back(std::move(peer));
      }
    };
    const auto difference = [&] {
      std::vector<std::size_t> sizes;
      for (unsigned shard = 0; shard < 4; ++shard) sizes.push_back(by_shard[shard].size());
      return *std::ranges::max_element(sizes) - *std::ranges::min_element(sizes);
    };
    co_await connect(80);
    EXPECT_LE(difference(), 12u);
    for (const unsigned shard : {1u, 0u}) {
      const std::size_t left = by_shard[shard].size();
      by_shard[shard].clear();
      std::size_t open = 0;
      for (const auto& [of, peers] : by_shard) open += peers.size();
      co_await settle(s, open);
      EXPECT_GE(difference(), left - 1);
      // Every second draw has that shard in it, and then it is the one: the gap closes by a third of a connection each.
      co_await connect(static_cast<int>(6 * left));
      EXPECT_LE(difference(), 12u) << "those that came went where there were fewer";
    }
    by_shard.clear();
    co_await settle(s, 0);
    co_await s.drain(10s);
  });
}

TEST(balance, a_shard_that_does_not_turn_gets_no_more_than_its_bound_and_loses_none) {
  if (test_support::simulating()) GTEST_SKIP() << "it stops a shard's thread";
  for (const accept_policy how : for_all) {
    run_shards(2, [how]() -> task<> {
      net::server s = co_await net::start_server(loopback(), echo_handler, by(how));
      std::array<int, 2> hold{};
      EXPECT_EQ(::pipe(hold.data()), 0);
      auto held = spawn([&]() -> task<> {
        const auto wait = [](int fd) {
          char byte = 0;
          return ::read(fd, &byte, 1);  // the whole shard waits
        };
        co_await submit_to(1, wait, hold[0]);
      });
      for (int i = 0; i < 20; ++i) co_await turn();
      std::vector<raw_peer> peers;
      for (int i = 0; i < 400; ++i) {
        peers.emplace_back(s.where());
        co_await peers.back().send("?");
        if (i % 10 == 0) co_await turn();
      }
      const auto answered = [&] {
        return std::ranges::count_if(
            peers, [](const raw_peer& each) { return test_support::queued_bytes(each.fd(), SIOCINQ) != 0; });
      };
      const auto bound = static_cast<std::ptrdiff_t>(shard_choice::untaken_max);
      co_await until([&] { return answered() >= 400 - bound; });
      for (int i = 0; i < 50; ++i) co_await turn();
      EXPECT_GE(answered(), 400 - bound);
      EXPECT_LT(answered(), 400);
      EXPECT_EQ(::write(hold[1], "x", 1), 1);
      co_await held;
      for (raw_peer& peer : peers) EXPECT_EQ((co_await peer.receive_exactly(1)).size(), 1u);
      for (int end : hold) ::close(end);
      EXPECT_EQ((co_await s.stats()).accepted, 400u);
      co_await s.drain(10s);
    });
  }
}

TEST(balance, limits_hold_for_all_shards_together) {
  for (const accept_policy how : for_all) {
    run_shards(3, [how]() -> task<> {
      server_options limits = by(how);
      limits.connections_max = 2;
      net::server s = co_await net::start_server(loopback(), echo_handler, limits);
      constexpr std::size_t crowd = 12;
      std::vector<raw_peer> peers;
      for (std::size_t i = 0; i < crowd; ++i) {
        peers.emplace_back(s.where());
        co_await peers.back().send("?");
      }
      const auto has_answer = [](const raw_peer& each) {
        return each.fd() >= 0 && test_support::queued_bytes(each.fd(), SIOCINQ) != 0;
      };
      for (std::size_t gone = 0; gone < crowd; ++gone) {
        const auto now = static_cast<std::ptrdiff_t>(std::min<std::size_t>(2, crowd - gone));
        co_await until([&] { return std::ranges::count_if(peers, has_answer) >= now; });
        for (int i = 0; i < 50; ++i) co_await turn();
        EXPECT_EQ(std::ranges::count_if(peers, has_answer), now);
        EXPECT_LE((co_await s.stats()).connections, 2u);
        std::ranges::find_if(peers, has_answer)->close();
      }
      co_await settle(s, 0);
      const net::server_stats all = co_await s.stats();
      EXPECT_EQ(all.accepted, crowd);
      EXPECT_GE(all.waits_for_place, 1u);
      co_await s.drain(10s);
    });
  }
}

TEST(balance, a_lack_of_descriptors_ends_with_the_lack) {
  for (const accept_policy how : for_all) {
    run_shards(2, [how]() -> task<> {
      net::server s = co_await net::start_server(loopback(), echo_handler, by(how));
      std::vector<raw_peer> peers;
      for (int i = 0; i < 20; ++i) peers.emplace_back(s.where());
      for (raw_peer& peer : peers) co_await shard_of(peer);
      rlimit before{};
      ::getrlimit(RLIMIT_NOFILE, &before);
      std::vector<raw_peer> late;
      for (int i = 0; i < 5; ++i) late.emplace_back(s.where());
      // Those may have been accepted meanwhile; no further ones are.
      rlimit low = before;
      low.rlim_cur = static_cast<rlim_t>(late.back().fd() + 1);
      ::setrlimit(RLIMIT_NOFILE, &low);
      for (int i = 0; i < 20; ++i) co_await turn();
      peers.clear();
      for (raw_peer& peer : late) EXPECT_LT(co_await shard_of(peer), 2u);
      ::setrlimit(RLIMIT_NOFILE, &before);
      co_await s.drain(10s);
    });
  }
}

TEST(balance, a_drain_of_the_server_serves_who_had_connected) {
  for (const accept_policy how : for_all) {
    for (int turns = 0; turns < 8; ++turns) {
      run_shards(3, [how, turns]() -> task<> {
        net::server s = co_await net::start_server(loopback(), echo_handler, by(how));
        std::vector<raw_peer> peers;
        for (int i = 0; i < 100; ++i) {
          peers.emplace_back(s.where());
          co_await peers.back().send("?");
        }
        for (int i = 0; i < turns; ++i) co_await turn();
        const net::drain_result end = co_await s.drain(10s);
        EXPECT_EQ(end.finished + end.cancelled + end.unserved, 100u);
        for (raw_peer& peer : peers) EXPECT_EQ((co_await peer.receive_all()).size(), 1u) << turns;
        EXPECT_EQ(end.cancelled, 0u);
      });
    }
  }
}

TEST(balance, a_drain_of_the_app_serves_who_had_connected) {
  if (test_support::simulating()) GTEST_SKIP() << "its peers outlive the host";
  for (const accept_policy how : for_all) {
    for (int turns = 0; turns < 8; ++turns) {
      std::vector<raw_peer> peers;  // no tasks of the app: that does not wait for them
      run_shards(3, [&, how, turns]() -> task<> {
        const net::address at = co_await net::listen_on_all_shards(loopback(), echo_handler, by(how));
        for (int i = 0; i < 100; ++i) {
          peers.emplace_back(at);
          co_await peers.back().send("?");
        }
        for (int i = 0; i < turns; ++i) co_await turn();
        this_shard().host->request_stop();
      });
      std::size_t served = 0;
      for (const raw_peer& peer : peers) served += test_support::what_came(peer).size();
      EXPECT_EQ(served, 100u) << turns;
    }
  }
}

TEST(balance, what_is_left_at_a_drains_limit_is_cancelled_on_every_shard) {
  for (const accept_policy how : for_all) {
    run_shards(3, [how]() -> task<> {
      const auto forever = [](net::stream client) -> task<> {
        co_await client.write("x");
        event never("never");
        co_await never.wait();
      };
      server_options limits = by(how);
      limits.connections_max = 6;
      net::server s = co_await net::start_server(loopback(), forever, limits);
      std::vector<raw_peer> peers;
      for (int i = 0; i < 9; ++i) peers.emplace_back(s.where());
      co_await settle(s, 6);
      const net::drain_result end = co_await s.drain(10ms);
      EXPECT_EQ(end.finished, 0u);
      EXPECT_GE(end.cancelled, 6u) << "one whose place became free at the last moment is served, and cancelled, too";
      EXPECT_EQ(end.cancelled + end.unserved, 9u);
    });
  }
}

TEST(balance, a_successor_may_have_another_policy) {
  run_shards(2, []() -> task<> {
    server_options options;
    options.hand_over = true;
    for (const accept_policy next_has : {accept_policy::round_robin, accept_policy::steered}) {
      net::server old = co_await net::start_server(loopback(), echo_handler, options);
      options.accept = next_has;
      net::server next = co_await net::start_server(old.where(), echo_handler, options);
      EXPECT_TRUE(co_await old.handed_over());
      co_await old.drain(10s);
      std::map<unsigned, int> served;
      std::vector<raw_peer> peers;
      for (int i = 0; i < 40; ++i) peers.emplace_back(next.where());
      for (raw_peer& peer : peers) ++served[co_await shard_of(peer)];
      EXPECT_TRUE(next_has != accept_policy::round_robin || served[0] == 20) << served[0];
      EXPECT_EQ(served[0] + served[1], 40);
      co_await next.drain(10s);
    }
  });
}

// --- steering ---

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  std::vector<unsigned> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

/// Runs `main` on a thread of its own, which becomes shard 0: it is pinned as the others are.
void run_pinned(const std::vector<unsigned>& cpus, const std::function<task<>()>& main) {
  std::thread([&] {
    placement where;
    for (const unsigned cpu : cpus) where.shards.push_back({.cpus = {cpu}, .node = std::nullopt});
    where.pinned = true;
    const auto count = static_cast<unsigned>(cpus.size());
    host machine(quiet_options(count), where, kernel_clock(), test_support::backends_for_test(count));
    machine.run(main, true);
  }).join();
}

TEST(steering, clients_arrive_at_the_shard_of_their_cpu) {
  std::vector<unsigned> cpus = allowed_cpus();
  if (cpus.size() < 2) GTEST_SKIP() << "needs two CPUs";
  cpus.resize(2);
  for (int order = 0; order < 2; ++order) {
    run_pinned(cpus, []() -> task<> {
      net::server s = co_await net::start_server(loopback(), echo_handler, by(accept_policy::steered));
      const auto ask = [](net::address at) -> task<std::vector<unsigned>> {
        std::vector<unsigned> from;
        for (int i = 0; i < 30; ++i) {
          raw_peer peer(at);
          from.push_back(co_await shard_of(peer));
        }
        co_return from;
      };
      for (shard_id shard = 0; shard < 2; ++shard) {
        const std::vector<unsigned> from = co_await submit_to(shard, ask, s.where());
        EXPECT_EQ(std::ranges::count(from, shard), 30) << "on the loopback device the sender's CPU handles the packet";
      }
      co_await s.drain(10s);
    });
    std::swap(cpus[0], cpus[1]);
  }
}

TEST(steering, says_why_it_cannot) {
  using cpus = std::vector<std::optional<unsigned>>;
  const auto steer = [](const cpus& of) {
    const net::unique_fd listening = net::make_listening_socket(loopback(), 1);
    return net::detail::steer(listening.get(), of);
  };
  EXPECT_EQ(steer(cpus{0, 1}), "");
  EXPECT_EQ(steer(cpus{0, std::nullopt}), "shard 1 is not pinned to one CPU (--pin on pins it)");
  EXPECT_EQ(steer(cpus{3, 4, 3}), "two shards share CPU 3 (fewer --shards, or a larger --cpuset)");
  EXPECT_EQ(steer(cpus(2001)), "there are more than 2000 shards");
  cpus many;
  for (unsigned cpu = 0; cpu < net::detail::steered_shards_max; ++cpu) many.emplace_back(cpu);
  EXPECT_EQ(steer(many), "") << "the longest program";
  EXPECT_EQ(net::detail::steer(-1, cpus{0}), "SO_ATTACH_REUSEPORT_CBPF: Bad file descriptor");
}

TEST(steering, where_shards_are_not_pinned_the_kernel_spreads) {
  run_shards(2, []() -> task<> {
    net::server s = co_await net::start_server(loopback(), echo_handler, by(accept_policy::steered));
    std::map<unsigned, int> served;
    std::vector<raw_peer> peers;
    for (int i = 0; i < 60; ++i) peers.emplace_back(s.where());
    for (raw_peer& peer : peers) ++served[co_await shard_of(peer)];
    EXPECT_GT(served[0], 0);
    EXPECT_GT(served[1], 0);
    EXPECT_EQ(served[0] + served[1], 60);
    co_await s.drain(10s);
  });
}

}  // namespace
}  // namespace skerry
