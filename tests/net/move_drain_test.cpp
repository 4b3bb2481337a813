// SPDX-License-Identifier: Apache-2.0
/// Connections that move while something drains, and those of servers, whose place goes along: who had connected is
/// served to the end wherever it is by then, or cancelled at the drain's limit, and counted once.

#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::loopback;
using test_support::open_descriptors;
using test_support::raw_peer;
using test_support::run_shards;
using test_support::text_of;
using test_support::turn;

/// Runs `body` on shard 0 of some, and counts descriptors.
void run_and_count(unsigned shards, const std::function<task<>()>& body) {
  const std::ptrdiff_t before = open_descriptors();
  run_shards(shards, body);
  EXPECT_EQ(open_descriptors(), before);
}

/// Steps of tasks and turns of the loop, by turns.
task<> step(int nth) {
  if (nth % 2 == 0) co_return co_await yield();
  co_await turn();
}

task<> until(std::function<bool()> so) {
  while (!so()) co_await turn();
}

/// Sends back all that comes, behind the shard's number, and then the end.
task<> echo(net::stream client) {
  co_await client.write(std::to_string(this_shard_id()));
  while (true) {
    const buffer bytes = co_await client.read();
    if (bytes.empty()) break;
    co_await client.write(bytes);
  }
  client.shutdown_output();
}
TEST(move, who_arrives_in_a_drain_reads_what_the_kernel_has_behind_what_was_unread) {
  run_and_count(1, []() -> task<> {
    const net::unique_fd listening = net::make_listening_socket(loopback(), 1);
    raw_peer peer(net::local_address(listening.get()));
    net::detail::parcel packed{net::unique_fd(net::accept_now(listening.get()))};
    packed.unread = "abc";
    packed.heard = packed.accepted = true;
    co_await peer.send("def");
    while (test_support::queued_bytes(packed.fd.get(), SIOCINQ) < 3) co_await turn();
    net::endpoint& arrived = *net::this_endpoints().adopt(packed, 0, true);
    std::string all;
    while (true) {
      while (!arrived.input_ready()) co_await turn();
      const buffer bytes = arrived.take_input();
      if (bytes.empty()) break;
      all += text_of(bytes);
    }
    EXPECT_EQ(all, "abcdef");
    arrived.release();
    peer.close();
  });
}

TEST(move, in_a_drain_of_the_app_it_is_served_to_its_end) {
  if (test_support::simulating()) GTEST_SKIP() << "its peer outlives the host";
  for (int steps = 0; steps < 16; ++steps) {
    std::optional<raw_peer> peer;  // no task of the app: that does not wait for it
    run_shards(3, [&]() -> task<> {
      const auto handler = [](net::stream client) -> task<> {
        const buffer first = co_await client.read();
        client.put_back(std::span(first.data(), first.size()));
        const auto next = [](net::stream moved) -> task<> {
          const auto last = [](net::stream there) -> task<> {
            const buffer bytes = co_await there.read();
            for (int i = 0; i < 20; ++i) co_await turn();  // the other shards would have ended meanwhile
            co_await there.write("served " + std::string(text_of(bytes)));
          };
          co_await std::move(moved).move_to((this_shard_id() + 1) % 3, last);
        };
        co_await std::move(client).move_to((this_shard_id() + 1) % 3, next);
      };
      const net::address at = co_await net::listen_on_all_shards(loopback(), handler);
      peer.emplace(at);
      co_await peer->send("abc");
      for (int i = 0; i < steps; ++i) co_await step(i);
      this_shard().host->request_stop();
    });
    EXPECT_EQ(test_support::what_came(*peer), "served abc") << steps;
  }
}

// The second shard has drained when the connection comes, and the first waits for what is begun there.
TEST(move, in_a_drain_of_the_app_a_move_to_the_own_shard_is_waited_for) {
  if (test_support::simulating()) GTEST_SKIP() << "its peer outlives the host";
  std::optional<raw_peer> peer;
  run_shards(2, [&]() -> task<> {
    const auto handler = [](net::stream client) -> task<> {
      const buffer first = co_await client.read();
      client.put_back(std::span(first.data(), first.size()));
      this_shard().host->request_stop();
      const shard_id other = 1 - this_shard_id();
      const auto draining = [] { return this_assembled_shard().draining(); };
      for (bool is = false; !is; is = co_await submit_to(other, draining)) co_await turn();
      for (int i = 0; i < 20; ++i) co_await turn();
      const auto next = [](net::stream moved) -> task<> {
        const auto last = [](net::stream there) -> task<> {
          const buffer bytes = co_await there.read();
          for (int i = 0; i < 1000; ++i) co_await turn();  // the first shard would have ended everything meanwhile
          co_await there.write("served " + std::string(text_of(bytes)));
        };
        co_await std::move(moved).move_to(this_shard_id(), last);
      };
      co_await std::move(client).move_to(other, next);
    };
    peer.emplace(co_await net::listen_on_all_shards(loopback(), handler));
    co_await peer->send("abc");
  });
  EXPECT_EQ(test_support::what_came(*peer), "served abc");
}

task<> hop(net::stream client, unsigned hops) {
  const auto on = [](net::stream moved, unsigned left) { return hop(std::move(moved), left); };
  if (hops != 0) co_return co_await std::move(client).move_to((this_shard_id() + 1) % shard_count(), on, hops - 1);
  co_await echo(std::move(client));
}

TEST(move, a_connection_of_a_server_stays_one_with_its_place) {
  for (const net::accept_policy how : {net::accept_policy::reuseport, net::accept_policy::round_robin}) {
    run_and_count(3, [how]() -> task<> {
      const auto handler = [](net::stream client) { return hop(std::move(client), 5); };
      net::server_options limits;
      limits.connections_max = 2;
      limits.connections_per_address_max = 10;  // of those that came here by a move, too
      limits.accept = how;
      net::server s = co_await net::start_server(loopback(), handler, limits);
      std::vector<raw_peer> peers;
      for (int i = 0; i < 6; ++i) peers.emplace_back(s.where());
      for (std::size_t i = 0; i < peers.size(); ++i) {
        // Two are served at a time, whichever they are.
        const auto is_served = [](const raw_peer& each) {
          return each.fd() >= 0 && test_support::queued_bytes(each.fd(), SIOCINQ) != 0;
        };
        const auto now = static_cast<std::ptrdiff_t>(std::min<std::size_t>(2, peers.size() - i));
        co_await until([&] { return std::ranges::count_if(peers, is_served) >= now; });
        for (int settle = 0; settle < 50; ++settle) co_await turn();
        EXPECT_EQ(std::ranges::count_if(peers, is_served), now);
        // Who was moving counted on both shards until the answer came.
        while ((co_await s.stats()).connections != static_cast<std::uint64_t>(now)) co_await turn();
        raw_peer& peer = *std::ranges::find_if(peers, is_served);
        co_await peer.send("x");
        EXPECT_EQ((co_await peer.receive_exactly(2)).substr(1), "x");
        peer.close();
      }
      while ((co_await s.stats()).connections != 0) co_await turn();
      EXPECT_EQ((co_await s.stats()).accepted, 6u);
      const net::drain_result end = co_await s.drain(10s);
      EXPECT_EQ(end.cancelled, 0u);
    });
  }
}

TEST(move, a_drain_of_the_server_serves_or_cancels_it_wherever_it_is) {
  for (int steps = 0; steps < 16; ++steps) {
    for (const bool forever : {false, true}) {
      run_and_count(2, [&]() -> task<> {
        const auto move_on = [](net::stream client) -> task<> {
          const auto there = [](net::stream moved) -> task<> {
            // To the end, which the drain makes.
            for (bool more = true; more;) more = !(co_await moved.read()).empty();
            co_await moved.write("served");
          };
          co_await std::move(client).move_to(1 - this_shard_id(), there);
        };
        const auto never_end = [](net::stream client) -> task<> {
          const auto there = [](net::stream moved) -> task<> {
            (void)co_await moved.read();
            event never("never");
            co_await never.wait();
          };
          co_await std::move(client).move_to(1 - this_shard_id(), there);
        };
        std::optional<net::server> started;
        if (forever) started.emplace(co_await net::start_server(loopback(), never_end));
        if (!forever) started.emplace(co_await net::start_server(loopback(), move_on));
        net::server& s = *started;
        raw_peer peer(s.where());
        co_await peer.send("abc");
        for (int i = 0; i < steps; ++i) co_await step(i);
        const clock::duration limit = forever ? 10ms : 10s;
        const net::drain_result end = co_await s.drain(limit);
        EXPECT_EQ(end.finished + end.cancelled + end.unserved, 1u) << steps;
        EXPECT_EQ(end.finished, forever ? 0u : 1u) << steps;
        if (forever) co_return;
        EXPECT_EQ(co_await peer.receive_all(), "served") << steps;
      });
    }
  }
}

TEST(move, a_stream_that_left_its_handler_is_no_servers_any_more) {
  run_and_count(2, []() -> task<> {
    const auto handler = [](net::stream client) -> task<> {
      spawn(hop(std::move(client), 3), "on its own");
      co_return;
    };
    net::server s = co_await net::start_server(loopback(), handler);
    raw_peer peer(s.where());
    co_await peer.send("x");
    EXPECT_EQ((co_await peer.receive_exactly(2)).substr(1), "x");
    EXPECT_EQ((co_await s.stats()).connections, 0u);
    peer.shut_down_output();
    EXPECT_EQ(co_await peer.receive_all(), "");
    co_await s.drain(10s);
  });
}

}  // namespace
}  // namespace skerry
