// SPDX-License-Identifier: Apache-2.0
/// Peers by the thousand that come and go, reset, crawl or never read, and more completions at once than the ring
/// holds. Beside them one peer that behaves is answered as before, and afterwards everything is back: descriptors,
/// receive buffers, bytes to send, frames and endpoints.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/net/watchdog.hpp>
#include <skerry/shards/shard.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/test_seed.hpp>
#include <support/waiting.hpp>
#include <sys/socket.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using net::this_endpoints;
using test_support::loopback;
using test_support::manual_clock;
using test_support::numbered_bytes;
using test_support::open_descriptors;
using test_support::raw_peer;
using test_support::turn;

/// What a shard holds for its peers.
struct holdings {
  std::ptrdiff_t descriptors = open_descriptors();
  std::size_t endpoints = this_endpoints().size();
  std::uint32_t buffers = resource<buffer_pool>().stats().taken;
  std::size_t bytes = net::this_bytes().bytes_in_use();
  std::size_t frames = test_support::frames_in_use();

  bool operator==(const holdings&) const = default;
};

std::ostream& operator<<(std::ostream& out, const holdings& h) {
  return out << h.descriptors << " descriptors, " << h.endpoints << " endpoints, " << h.buffers << " buffers, "
             << h.bytes << " bytes, " << h.frames << " frames";
}

/// A listener whose every connection is served by a task of its own. The first byte says how:
/// 'e' sends everything back; 'w' writes and never reads; 's' ends its side, then reads; 'd' drops its handle with
/// bytes on their way in both directions; 'l' reads lines and answers each with its length; 't' the same, each within
/// ten seconds.
class crowd_server {
 public:
  crowd_server() : accepting_(spawn(accept_all(), "accept")) {}
  net::address where() const { return listening_.where(); }
  /// To be awaited before it goes.
  task<> stop() {
    accepting_.abort();
    EXPECT_TRUE(co_await test_support::ends_cancelled(accepting_));
  }

  int accepted = 0;
  int finished = 0;  ///< tasks; as many have ended as were accepted when nobody is served any more
  int broken = 0;    ///< by a reset
  int late = 0;      ///< by a time limit

 private:
  task<> accept_all() {
    auto body = [this](group& g) -> task<> {
      while (true) {
        std::optional<net::stream> client = co_await listening_.accept();
        ++accepted;
        g.spawn(serve(std::move(*client)));
      }
    };
    co_await with_group(body);
  }

  task<> serve(net::stream client) {
    net::watchdog dog;
    try {
      co_await with_cancel(dog.token(), talk(client, dog));
    } catch (const std::system_error& error) {
      if (dog.fired()) {
        ++late;
      } else {
        ++broken;
        EXPECT_TRUE(error.code() == std::errc::connection_reset || error.code() == std::errc::broken_pipe)
            << error.what();
      }
    }
    ++finished;
  }

  task<> talk(net::stream& client, net::watchdog& dog) {
    net::buffered_reader in(client);
    const std::string_view how = co_await in.read_some(1);
    const char mode = how.empty() ? 'n' : how.front();
    if (mode == 'w') {
      const std::string block = numbered_bytes(10'000);
      while (true) co_await client.write(block);
    }
    if (mode == 'd') {
      client.try_write(std::as_bytes(std::span("rest")));
      co_return;
    }
    if (mode == 's') client.shutdown_output();
    while (mode == 'e' || mode == 's') {
      const std::string_view piece = co_await in.read_some(1000);
      if (piece.empty()) break;
      if (mode == 'e') co_await client.write(piece);
    }
    while (mode == 'l' || mode == 't') {
      if (mode == 't') dog.give(10s);
      const std::optional<std::string_view> line = co_await in.read_line(1000);
      if (!line) break;
      const std::string answer = std::to_string(line->size()) + "\n";
      co_await client.write(answer);
    }
  }

  net::listener listening_{loopback()};
  join_handle<> accepting_;
};

/// Asks, and waits for nothing but the answer: under time that stands still nobody else's limit can have helped.
task<> ask(raw_peer& honest, std::string_view text) {
  co_await honest.send(text);
  const std::string echoed = co_await honest.receive_exactly(text.size());
  EXPECT_EQ(echoed, text);
}

/// More than the completions of one peer take to come in. The kernel hands over at least twenty at a time.
constexpr int enough_turns = 64;

task<> turns(int count) {
  for (int i = 0; i < count; ++i) co_await turn();
}

/// Runs `body` with a server and a peer of it that behaves. Then all that the shard held for others is back.
void with_crowd(const std::function<task<>(crowd_server&, raw_peer& honest, manual_clock&)>& body) {
  manual_clock time;
  const std::ptrdiff_t before = open_descriptors();
  test_support::run_shards(
      test_support::quiet_options(1),
      [&]() -> task<> {
        crowd_server server;
        raw_peer honest(server.where());
        co_await honest.send("e");
        co_await ask(honest, "first");
        co_await turns(enough_turns);
        const holdings alone;
        co_await body(server, honest, time);
        while (server.finished + 1 < server.accepted || this_endpoints().size() > alone.endpoints) {
          time.pass(net::endpoint::linger);
          co_await turn();
        }
        co_await ask(honest, "last");
        co_await turns(enough_turns);
        EXPECT_EQ(holdings(), alone);
        co_await server.stop();
      },
      time);
  EXPECT_EQ(open_descriptors(), before);
}

TEST(storm, ten_thousand_connects_and_closes_in_a_loop_leave_nothing_behind) {
  with_crowd([](crowd_server& server, raw_peer& honest, manual_clock&) -> task<> {
    constexpr int clients = 10'000, at_once = 50;
    std::uint32_t buffers_made = 0;
    std::size_t frame_bytes = 0;
    for (int done = 0; done < clients; done += at_once) {
      std::vector<raw_peer> peers;
      for (int i = 0; i < at_once; ++i) {
        if (i % 6 == 5) {  // one that leaves before it was taken
          net::stream ours = co_await net::connect(server.where());
          continue;
        }
        raw_peer& peer = peers.emplace_back(server.where());
        if (i % 6 == 0) co_await peer.send("ehello");
        if (i % 6 == 1) co_await peer.send("d");
        if (i % 6 == 2) peer.close();
        if (i % 6 == 3) co_await peer.send("s");
        if (i % 6 == 4) co_await peer.send("lhalf a li");
      }
      for (std::size_t i = 0; i < peers.size(); ++i) {
        if (i % 5 == 0) {
          const std::string echoed = co_await peers[i].receive_exactly(5);
          EXPECT_EQ(echoed, "hello");
        }
        if (i % 5 == 3) {
          const std::string nothing = co_await peers[i].receive_all();
          EXPECT_EQ(nothing, "");
        }
        if (i % 5 == 4) peers[i].reset();
      }
      co_await ask(honest, "still there?");
      if (done == clients / 10) {
        buffers_made = resource<buffer_pool>().stats().buffers;
        frame_bytes = this_assembled_shard().stats().frame_bytes_reserved;
      }
    }
    while (server.accepted < clients + 1) co_await turn();
    EXPECT_EQ(server.accepted, clients + 1) << "with the one that behaves";
    EXPECT_EQ(resource<buffer_pool>().stats().buffers, buffers_made) << "pools have their size after the first tenth";
    EXPECT_EQ(this_assembled_shard().stats().frame_bytes_reserved, frame_bytes);
  });
}

TEST(storm, resets_of_thousands_of_clients_in_every_state_break_their_own_connections_only) {
  struct state {
    std::string said;
    bool ends_its_side = false;
    int receive_buffer = 0;
  };
  // Silent; in the middle of a line, with and without a limit; with an answer on its way; with much on its way both
  // ways; not reading; the server having ended its side; it having dropped its handle; having ended its own.
  const std::vector<state> states{{""},
                                  {"lhalf a li"},
                                  {"thalf a li"},
                                  {"lline\n"},
                                  {"e" + numbered_bytes(200'000)},
                                  {"w", false, 4096},
                                  {"s"},
                                  {"d" + numbered_bytes(50'000)},
                                  {"e" + numbered_bytes(1000), true}};
  const std::uint64_t seed = test_support::test_seed();
  with_crowd([&](crowd_server& server, raw_peer& honest, manual_clock&) -> task<> {
    constexpr std::size_t clients = 3000, at_once = 60;
    random_source draw(seed);
    for (std::size_t done = 0; done < clients; done += at_once) {
      std::vector<raw_peer> peers;
      for (std::size_t i = 0; i < at_once; ++i) {
        const state& in = states[(done + i) % states.size()];
        peers.emplace_back(server.where(), in.receive_buffer).try_send(in.said);
        if (in.ends_its_side) peers.back().shut_down_output();
        // From before it is accepted to when everything has come to rest.
        if (draw.uniform(20) == 0) co_await turns(static_cast<int>(draw.uniform(8)));
      }
      co_await turns(static_cast<int>(draw.uniform(6)));
      std::vector<std::size_t> order(peers.size());
      std::iota(order.begin(), order.end(), 0);
      for (std::size_t left = peers.size(); left > 0; --left) {
        std::swap(order[left - 1], order[draw.uniform(left)]);
        peers[order[left - 1]].reset();
        if (draw.uniform(20) == 0) co_await turn();
      }
      co_await ask(honest, "still there?");
    }
    while (server.finished < static_cast<int>(clients)) co_await turn();
    EXPECT_EQ(server.accepted, static_cast<int>(clients) + 1);
    EXPECT_GT(server.broken, static_cast<int>(clients) / 2);
    EXPECT_EQ(server.late, 0);
  });
}

TEST(storm, peers_that_never_read_hold_two_blocks_each_and_stop_nobody) {
  with_crowd([](crowd_server& server, raw_peer& honest, manual_clock&) -> task<> {
    constexpr std::size_t crowd = 100;
    const std::size_t before = net::this_bytes().bytes_in_use();
    std::vector<raw_peer> deaf;
    for (std::size_t i = 0; i < crowd; ++i) {
      deaf.emplace_back(server.where(), 4096);
      co_await deaf.back().send("w");
    }
    // Until nothing more fits anywhere: then each has one block with the kernel and one that waits.
    while (net::this_bytes().bytes_in_use() < before + crowd * 2 * net::endpoint::high_water) {
      co_await ask(honest, "while they fill up");
    }
    for (int i = 0; i < 300; ++i) co_await ask(honest, "while they stand still");
    co_await turns(enough_turns);
    EXPECT_EQ(net::this_bytes().bytes_in_use(), before + crowd * 2 * net::endpoint::high_water);
    EXPECT_EQ(server.finished, 0);
  });
}

TEST(storm, peers_that_send_a_byte_a_second_hold_no_buffer_and_those_past_their_limit_are_ended) {
  with_crowd([](crowd_server& server, raw_peer& honest, manual_clock& time) -> task<> {
    constexpr std::size_t patient = 300, limited = 100;
    const std::string line = "a line that takes half a minute\n";
    std::vector<raw_peer> slow;
    for (std::size_t i = 0; i < patient + limited; ++i) {
      slow.emplace_back(server.where());
      const std::string_view how = i < patient ? "l" : "t";
      co_await slow.back().send(how);
    }
    while (server.accepted < static_cast<int>(patient + limited) + 1) co_await turn();
    co_await turns(enough_turns);
    const clock::time_point began = clock::now();
    for (std::size_t second = 0; second < line.size(); ++second) {
      // To those whose time is over it goes as to a server that no longer listens: perhaps into a reset.
      for (std::size_t i = 0; i < (second < 10 ? patient + limited : patient); ++i) {
        co_await slow[i].send(std::string_view(line).substr(second, 1));
      }
      co_await turns(enough_turns);
      EXPECT_EQ(resource<buffer_pool>().stats().taken, 0u) << "after " << second << " s";
      co_await ask(honest, "and I?");
      EXPECT_EQ(server.late, second < 10 ? 0 : static_cast<int>(limited)) << "after " << second << " s";
      // In a simulation turns have taken some of it.
      time.pass(began + std::chrono::seconds(second + 1) - clock::now());
      co_await turns(enough_turns);
    }
    for (std::size_t i = 0; i < slow.size(); ++i) {
      slow[i].shut_down_output();
      const std::string answer = co_await slow[i].receive_all();
      EXPECT_EQ(answer, i < patient ? std::to_string(line.size() - 1) + "\n" : "");
    }
  });
}

TEST(storm, more_completions_than_the_ring_holds_come_all_the_same) {
  if (test_support::simulating()) GTEST_SKIP() << "there a ring holds all completions";
  // 64 submissions and 256 completions. Time stands still, so a turn does all that it can; what submits while the
  // submission ring is full does not reap.
  app_options options = test_support::quiet_options(1);
  options.ring_entries = 64;
  manual_clock time;
  const std::ptrdiff_t before = open_descriptors();
  test_support::run_shards(
      options,
      [&]() -> task<> {
        constexpr std::size_t crowd = 400;
        const backend_stats& kernel = this_shard().loop->kernel().stats();
        net::listener listening(loopback());
        std::vector<raw_peer> peers;
        std::vector<net::stream> ours;
        for (std::size_t i = 0; i < crowd; ++i) peers.emplace_back(listening.where());
        while (ours.size() < crowd) ours.push_back(*co_await listening.accept());
        const std::uint64_t full = kernel.full, overflows = kernel.overflows;
        for (int round = 0; round < 5; ++round) {
          const auto text = [round](std::size_t i) { return std::to_string(round * 10'000 + static_cast<int>(i)); };
          for (std::size_t i = 0; i < crowd; ++i) {
            co_await ours[i].write(text(i));
            co_await peers[i].send(text(i));
          }
          for (std::size_t i = 0; i < crowd; ++i) {
            const std::string came = co_await peers[i].receive_exactly(text(i).size());
            EXPECT_EQ(came, text(i));
            std::string read;
            while (read.size() < text(i).size()) {
              const buffer piece = co_await ours[i].read();
              if (piece.empty()) break;
              read += test_support::text_of(piece);
            }
            EXPECT_EQ(read, text(i));
          }
        }
        if (!test_support::disturbed()) {
          EXPECT_GT(kernel.full, full);
          EXPECT_TRUE(kernel.overflows > overflows || test_support::backend_of_environment() == "epoll");
        }
      },
      time);
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace skerry
