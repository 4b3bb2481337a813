// SPDX-License-Identifier: Apache-2.0
/// Datagrams on the real kernel, over both families: what comes through whole, cut, together and not at all.

#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <cerrno>
#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <sys/socket.h>

namespace skerry {
namespace {

using namespace test_support;

constexpr const char* families[] = {"127.0.0.1", "::1"};

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

bool is_taken(const net::address& at) {
  try {
    net::detail::require_free_datagram_port(at);
    return false;
  } catch (const startup_error&) {
    return true;
  }
}

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    co_await what;
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

TEST(datagram, comes_whole_with_its_sender_over_both_families) {
  run_and_count([]() -> task<> {
    for (const char* ip : families) {
      net::datagram_socket server(loopback(0, ip));
      net::datagram_socket client(loopback(0, ip));
      for (const std::size_t size : {0u, 1u, 1000u, 8148u}) {
        const std::string sent = numbered_bytes(size);
        co_await client.send(server.where(), sent);
        std::optional<net::datagram> got = co_await server.receive();
        EXPECT_TRUE(got->text() == sent);
        EXPECT_FALSE(got->truncated());
        EXPECT_EQ(got->from().text(), client.where().text());
        co_await server.send(got->from(), got->bytes());
        std::optional<net::datagram> back = co_await client.receive();
        EXPECT_TRUE(back->text() == sent);
        EXPECT_EQ(back->from().text(), server.where().text());
      }
    }
  });
}

TEST(datagram, that_is_too_long_says_how_long_it_was) {
  run_and_count([]() -> task<> {
    net::datagram_socket server(loopback());
    net::datagram_options narrow;
    narrow.bytes_max = 100;
    net::datagram_socket small(loopback(), narrow);
    net::datagram_socket client(loopback());
    const std::string sent = numbered_bytes(20'000);
    co_await client.send(server.where(), sent);
    co_await client.send(small.where(), sent);
    std::optional<net::datagram> got = co_await server.receive();
    EXPECT_TRUE(got->truncated());
    EXPECT_EQ(got->full_size(), sent.size());
    EXPECT_EQ(got->text(), sent.substr(0, net::datagram_socket::lent_bytes_max));
    got = co_await small.receive();
    EXPECT_TRUE(got->truncated());
    EXPECT_EQ(got->text(), sent.substr(0, 100));
    EXPECT_EQ(server.stats().truncated, 1U);
  });
}

TEST(datagram, of_any_length_comes_whole_where_that_was_asked_for) {
  run_and_count([]() -> task<> {
    for (const char* ip : families) {
      net::datagram_options wide;
      wide.bytes_max = 65535;
      net::datagram_socket server(loopback(0, ip), wide);
      net::datagram_socket client(loopback(0, ip));
      for (const std::size_t size : {0u, 1u, 8149u, 65507u}) {
        const std::string sent = numbered_bytes(size);
        co_await client.send(server.where(), sent);
        std::optional<net::datagram> got = co_await server.receive();
        EXPECT_TRUE(got->text() == sent);
        EXPECT_FALSE(got->truncated());
        EXPECT_EQ(got->from().text(), client.where().text());
      }
    }
  });
}

TEST(datagram, batches_arrive_whole_and_what_the_kernel_refuses_of_one_is_told_after_the_rest) {
  run_and_count([]() -> task<> {
    net::datagram_socket server(loopback());
    net::datagram_socket client(loopback());
    std::vector<std::string> texts;
    for (int i = 0; i < 150; ++i) texts.push_back("datagram " + std::to_string(i));
    std::vector<net::outgoing> batch;
    for (const std::string& each : texts) batch.push_back({server.where(), bytes_of(each)});
    co_await client.send_batch(batch);
    std::set<std::string> missing(texts.begin(), texts.end());
    while (!missing.empty()) {
      std::optional<net::datagram> got = co_await server.receive();
      EXPECT_EQ(missing.erase(std::string(got->text())), 1U);
    }
    EXPECT_FALSE(server.try_receive());
    const std::string huge(70'000, 'x');
    batch.resize(3);
    batch[1].bytes = bytes_of(huge);
    EXPECT_EQ(co_await error_of(client.send_batch(batch)), EMSGSIZE);
    EXPECT_TRUE(co_await server.receive());
    EXPECT_TRUE(co_await server.receive());
    co_await client.send_batch({});
  });
}

TEST(datagram, segments_are_cut_by_the_kernel_or_one_by_one_and_put_together_again_as_they_were) {
  const char* missing = nullptr;
  run_and_count([&missing]() -> task<> {
    for (const char* ip : families) {
      for (const bool coalesced : {false, true}) {
        net::datagram_options options;
        options.coalesced = coalesced;
        net::datagram_socket server(loopback(0, ip), options);
        net::datagram_socket client(loopback(0, ip));
        if (coalesced && !server.coalesces()) missing = "UDP_GRO";
        if (!client.cuts_segments()) missing = "UDP_SEGMENT";
        if (missing != nullptr) co_return;
        const std::string sent = numbered_bytes(40 * 1200 + 7);
        co_await client.send_segments(server.where(), bytes_of(sent), 1200);
        std::string got;
        for (int i = 0; i < 41; ++i) {
          std::optional<net::datagram> next = co_await server.receive();
          EXPECT_EQ(next->bytes().size(), i < 40 ? 1200U : 7U);
          EXPECT_FALSE(next->truncated());
          EXPECT_EQ(next->from().text(), client.where().text());
          got += next->text();
        }
        EXPECT_TRUE(got == sent);
        EXPECT_EQ(client.stats().sent, 1U);
      }
    }
  });
  if (missing != nullptr) GTEST_SKIP() << "this kernel has no " << missing;
}

TEST(datagram, batches_may_mix_segments_with_others_and_be_longer_than_what_is_in_flight) {
  run_and_count([]() -> task<> {
    net::datagram_socket server(loopback());
    net::datagram_socket client(loopback());
    std::vector<std::string> texts;
    for (int i = 0; i < 100; ++i) texts.push_back(std::string(i % 3 == 0 ? 20 : 10, static_cast<char>(' ' + i % 90)));
    std::vector<net::outgoing> batch;
    std::multiset<std::string> missing;
    const bool cuts = client.cuts_segments();
    for (const std::string& each : texts) {
      const bool segments = cuts && each.size() == 20;
      batch.push_back({server.where(), bytes_of(each), static_cast<std::uint16_t>(segments ? 8 : 0)});
      for (std::size_t at = 0; at < each.size(); at += segments ? 8 : each.size()) {
        missing.insert(each.substr(at, segments ? 8 : each.size()));
      }
    }
    co_await client.send_batch(batch);
    while (!missing.empty()) {
      std::optional<net::datagram> got = co_await server.receive();
      const auto found = missing.find(std::string(got->text()));
      EXPECT_NE(found, missing.end());
      if (found == missing.end()) co_return;
      missing.erase(found);
    }
    EXPECT_EQ(client.stats().sent, 100U);
  });
}

TEST(datagram, to_a_port_that_nobody_has_is_told_to_a_connected_sender_once) {
  run_and_count([]() -> task<> {
    for (const char* ip : families) {
      net::address nobody;
      {
        net::datagram_socket gone(loopback(0, ip));
        nobody = gone.where();
      }
      co_await turn();
      while (is_taken(nobody)) co_await turn();
      net::datagram_socket client = net::datagram_socket::connected_to(nobody);
      EXPECT_EQ(co_await error_of(client.send("anybody?")), 0);
      EXPECT_EQ(co_await error_of(client.receive()), ECONNREFUSED);
      // It goes on as before.
      net::datagram_socket server(nobody);
      co_await client.send("and now?");
      std::optional<net::datagram> got = co_await server.receive();
      EXPECT_EQ(got->text(), "and now?");
      co_await server.send(got->from(), "yes");
      got = co_await client.receive();
      EXPECT_EQ(got->text(), "yes");
    }
  });
}

TEST(datagram, floods_are_bounded_and_what_is_lost_is_counted) {
  if (test_support::simulating()) GTEST_SKIP() << "it counts what the kernel drops";
  run_and_count([]() -> task<> {
    net::datagram_socket server(loopback());
    server.set(net::receive_buffer{4096});
    net::datagram_socket client(loopback());
    constexpr unsigned sent = 5000;
    for (unsigned i = 0; i < sent; ++i) co_await client.send(server.where(), std::to_string(i));
    for (int i = 0; i < 4; ++i) co_await turn();
    EXPECT_LE(resource<buffer_pool>().stats().taken, net::datagram_socket::unread_max);
    // Who reads again gets what was kept, and then what comes.
    unsigned received = 0;
    while (server.try_receive()) {
      ++received;
      co_await turn();
    }
    const net::datagram_stats counted = server.stats();
    EXPECT_GE(received, net::datagram_socket::pause_at);
    EXPECT_LT(received, sent);
    EXPECT_EQ(received + counted.dropped + counted.dropped_by_kernel, sent);
    co_await client.send(server.where(), "last");
    std::optional<net::datagram> got = co_await server.receive();
    EXPECT_EQ(got->text(), "last");
  });
}

TEST(datagram, a_cancelled_receive_loses_nothing_and_dropped_handles_leave_nothing) {
  run_and_count([]() -> task<> {
    for (const bool in_blocks : {false, true}) {
      net::datagram_options options;
      options.bytes_max = in_blocks ? 65535 : 0;
      for (int turns = 0; turns < 4; ++turns) {
        net::datagram_socket server(loopback(), options);
        net::datagram_socket client(loopback());
        auto waiting = spawn([&]() -> task<> { co_await server.receive(); });
        for (int i = 0; i < turns; ++i) co_await turn();
        waiting.abort();
        co_await client.send(server.where(), "kept");
        EXPECT_EQ(co_await error_of(waiting), ECANCELED);
        std::optional<net::datagram> got = co_await server.receive();
        EXPECT_EQ(got->text(), "kept");
        // Unread, and while a datagram outlives its socket.
        co_await client.send(server.where(), "unread");
        for (int i = 0; i < turns; ++i) co_await turn();
      }
    }
  });
}

TEST(datagram, a_drain_ends_who_serves_after_what_has_come) {
  const std::ptrdiff_t before = open_descriptors();
  app_options options = quiet_options(1);
  run_shards(options, []() -> task<> {
    net::datagram_socket server(loopback());
    net::datagram_socket client = net::datagram_socket::connected_to(server.where());
    co_await client.send("before the drain");
    while (server.stats().received == 0) co_await turn();
    this_shard().host->request_stop();
    std::optional<net::datagram> got = co_await server.receive();
    EXPECT_EQ(got->text(), "before the drain");
    got = co_await server.receive();
    EXPECT_FALSE(got);
    // Who asks others still may.
    net::datagram_options on;
    on.drain = net::in_drain::goes_on;
    net::datagram_socket other(loopback(), on);
    co_await other.send(client.where(), "x");
  });
  EXPECT_EQ(open_descriptors(), before);
}

constexpr auto echo_on_shard = [](net::datagram_socket s) -> task<> {
  while (std::optional<net::datagram> got = co_await s.receive()) {
    co_await s.send(got->from(), std::to_string(this_shard_id()));
  }
};

TEST(datagram, every_shard_has_its_share_of_a_port) {
  const std::ptrdiff_t before = open_descriptors();
  run_shards(2, []() -> task<> {
    const net::address at = co_await net::bind_on_all_shards(loopback(), echo_on_shard);
    std::set<std::string> shards;
    for (int tries = 0; tries < 200 && shards.size() < 2; ++tries) {
      net::datagram_socket client = net::datagram_socket::connected_to(at);
      co_await client.send("who?");
      std::optional<net::datagram> got = co_await client.receive();
      shards.emplace(got->text());
    }
    EXPECT_EQ(shards, (std::set<std::string>{"0", "1"}));
    bool refused = false;
    net::datagram_socket alone(loopback());
    try {
      co_await net::bind_on_all_shards(alone.where(), echo_on_shard);
    } catch (const startup_error&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
    this_shard().host->request_stop();
  });
  EXPECT_EQ(open_descriptors(), before);
}

TEST(datagram, sockets_are_refused_for_what_has_no_datagrams) {
  run_and_count([]() -> task<> {
    EXPECT_THROW(net::datagram_socket(*net::address::unix_socket("@none")), std::system_error);
    net::datagram_socket taken(loopback());
    EXPECT_THROW(net::datagram_socket(taken.where()), std::system_error);
    co_return;
  });
}

}  // namespace
}  // namespace skerry
