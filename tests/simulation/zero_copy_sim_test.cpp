// SPDX-License-Identifier: Apache-2.0
// Sends that the kernel does not copy, between hosts: what waits for a peer that does not acknowledge, and what does
// not.
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/detail/zero_copy_send.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>

namespace {

using namespace skerry;
using namespace std::chrono_literals;
using net::endpoint;
using net::this_bytes;
using net::this_endpoints;
using test_support::numbered_bytes;

constexpr std::uint16_t port = 7777;

/// What one client gets, and what the server came to. Of the test, so that it can look.
struct book {
  std::string received;
  bool ended = false;  // by an end of stream, not a reset
  net::endpoint_stats server;
};
book seen;

task<> collect() {
  net::stream s = co_await net::connect(*net::address::parse(sim::host("server").ip(), port));
  s.shutdown_output();  // so that nothing of ours keeps the server
  try {
    while (true) {
      buffer got = co_await with_timeout(100s, s.read());  // a reset that was lost is not sent again
      if (got.empty()) break;
      seen.received.append(reinterpret_cast<const char*>(got.data()), got.size());
    }
    seen.ended = true;
  } catch (const std::system_error&) {
  }
}

/// A server whose first connection is `serve`'s, a client that reads all, and `test` beside both.
void run(std::uint64_t seed, const std::function<task<>(net::stream)>& serve, const std::function<task<>()>& test,
         unsigned shards = 1) {
  seen = {};
  sim::options o;
  o.seed = seed;
  o.order = sim::schedule::adversarial;
  o.system.late_completion = 0.05;
  o.system.short_transfer = 0.1;
  o.system.interrupted = 0.02;
  const sim::report ended = sim::run(o, [&]() -> task<> {
    sim::host("server", shards).settings().send_zc_bytes = 1;
    sim::host("server").start([&]() -> task<> {
      net::listener doors(*net::address::parse("0.0.0.0", port));
      std::optional<net::stream> come = co_await doors.accept();
      co_await serve(std::move(*come));
    });
    co_await sleep_for(10ms);
    sim::host("client").start(collect, true);
    co_await test();
    co_await sim::host("client").ended();
    sim::host("server").stop();
    co_await sim::host("server").ended();
    EXPECT_EQ(sim::host("server").exit_status(), 0);
  });
  EXPECT_EQ(ended.violation, "") << "seed " << seed;
}

const std::string large = numbered_bytes(4'000'000);

task<> nothing() { co_return; }

/// The client has "x", and nothing of the server's reaches it from here on.
task<> cut_off_after_a_byte(net::stream& s) {
  co_await s.write("x");
  co_await sleep_for(1s);
  sim::partition({"server"}, {"client"});
}

/// To the kernel.
task<> hand_over(net::stream& s, std::string bytes) {
  co_await s.write(bytes);
  co_await s.flush();
}

TEST(zero_copy_between_hosts, everything_arrives_once_and_in_order) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    run(seed, [](net::stream s) -> task<> { co_await s.write(large); }, nothing);
    EXPECT_TRUE(seen.received == large) << seed;
    EXPECT_TRUE(seen.ended) << seed;
  }
}

TEST(zero_copy_between_hosts, a_connection_whose_kernel_copies_tries_no_more) {
  constexpr unsigned writes = 30;
  unsigned never = 0, once = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    run(
        seed,
        [](net::stream s) -> task<> {
          for (unsigned i = 0; i < writes; ++i) {
            co_await s.write("y");
            co_await sleep_for(5s);  // so that the kernel has let go
          }
          seen.server = this_endpoints().stats();
        },
        nothing);
    EXPECT_LE(seen.server.zero_copy_copied, 1u) << seed;
    EXPECT_EQ(seen.server.zero_copy_sends < writes, seen.server.zero_copy_copied != 0) << seed;
    ++(seen.server.zero_copy_copied == 0 ? never : once);
    EXPECT_EQ(seen.received.size(), writes) << seed;
  }
  EXPECT_GT(never, 0u);
  EXPECT_GT(once, 0u);
}

TEST(zero_copy_between_hosts, what_is_held_for_a_peer_that_does_not_acknowledge_is_bounded) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::size_t most = 0;
    run(
        seed,
        [&](net::stream s) -> task<> {
          co_await cut_off_after_a_byte(s);
          auto writer = spawn([&]() -> task<> { co_await s.write(large); });
          for (int i = 0; i < 200; ++i) {
            co_await sleep_for(10ms);
            most = std::max(most, this_bytes().bytes_in_use());
          }
          EXPECT_FALSE(writer.is_finished());
          sim::heal();
          co_await writer;
        },
        nothing);
    EXPECT_GE(most, 3 * endpoint::high_water) << seed;
    EXPECT_LE(most, (net::detail::zero_copy_send::held_max + 2) * endpoint::high_water) << seed;
    EXPECT_EQ(seen.received.size(), large.size() + 1) << seed;
    EXPECT_TRUE(seen.ended) << seed;
  }
}

TEST(zero_copy_between_hosts, so_is_the_number_of_pieces_and_then_sends_copy) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::uint64_t pieces = 0;
    run(
        seed,
        [&](net::stream s) -> task<> {
          co_await cut_off_after_a_byte(s);
          const std::uint64_t before = this_endpoints().stats().zero_copy_sends;
          for (int i = 0; i < 50; ++i) {
            co_await hand_over(s, "yy");
          }
          pieces = this_endpoints().stats().zero_copy_sends - before;
          sim::heal();
        },
        nothing);
    EXPECT_LE(pieces, net::detail::zero_copy_send::held_max + 3) << seed << ": and three that were interrupted";
    EXPECT_EQ(seen.received.size(), 101u) << seed;
  }
}

TEST(zero_copy_between_hosts, a_close_waits_until_the_peer_has_what_is_held) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const std::string sent = large.substr(0, endpoint::high_water);
    run(
        seed,
        [&](net::stream s) -> task<> {
          co_await cut_off_after_a_byte(s);
          co_await hand_over(s, sent);
          {
            net::stream dropped = std::move(s);
          }
          co_await sleep_for(20s);
          EXPECT_EQ(this_endpoints().size(), 1u);
          sim::heal();
        },
        nothing);
    EXPECT_TRUE(seen.received == "x" + sent) << seed;
    EXPECT_TRUE(seen.ended) << seed;
  }
}

TEST(zero_copy_between_hosts, a_drain_ends_without_a_peer_that_does_not_acknowledge) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run(
        seed,
        [&](net::stream s) -> task<> {
          co_await cut_off_after_a_byte(s);
          co_await hand_over(s, large.substr(0, endpoint::high_water));
        },
        []() -> task<> {
          co_await sleep_for(3s);
          sim::host("server").stop();
          co_await sim::host("server").ended();  // with status 0
          sim::heal();
        });
    EXPECT_FALSE(seen.ended) << seed << ": a loss must not look like an end";
  }
}

TEST(zero_copy_between_hosts, a_move_waits_for_nobody_and_the_close_there_does) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const std::string sent = large.substr(0, endpoint::high_water);
    bool moved_at_once = false;
    run(
        seed,
        [&](net::stream s) -> task<> {
          co_await cut_off_after_a_byte(s);
          co_await hand_over(s, sent);
          EXPECT_NE(this_bytes().bytes_in_use(), 0u);
          const auto before = sim::virtual_time();
          co_await std::move(s).move_to(1, [](net::stream there) -> task<> { co_await hand_over(there, "y"); });
          moved_at_once = sim::virtual_time() - before < 1s;
          co_await sleep_for(20s);
          EXPECT_NE(this_bytes().bytes_in_use(), 0u) << "the kernel still reads it";
          const net::endpoint_stats there = co_await submit_to(1, [] { return this_endpoints().stats(); });
          EXPECT_EQ(there.endpoints, 1u);
          EXPECT_EQ(there.zero_copy_sends, 0u) << "what stayed behind counts, too";
          sim::heal();
        },
        nothing, 2);
    EXPECT_TRUE(moved_at_once) << seed;
    EXPECT_TRUE(seen.received == "x" + sent + "y") << seed << ' ' << seen.received.size();
    EXPECT_TRUE(seen.ended) << seed;
  }
}

}  // namespace
