// SPDX-License-Identifier: Apache-2.0
/// The closing order: what was written arrives, whoever is slow, silent or gone; and a drain waits for nobody in vain.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/host.hpp>

#include <cerrno>
#include <chrono>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using net::endpoint;
using net::this_endpoints;
using test_support::connect_pair;
using test_support::connected;
using test_support::loopback;
using test_support::manual_clock;
using test_support::numbered_bytes;
using test_support::queued_bytes;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::run_and_count;
using test_support::run_shards;
using test_support::turn;

void drop(net::stream&& handle) { net::stream dropped(std::move(handle)); }

void set_send_buffer(const net::stream& of, int bytes) {
  ::setsockopt(of.fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

TEST(close, bytes_written_before_the_handle_is_dropped_arrive_in_full_at_a_slow_reader) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair(1);
    set_send_buffer(pair.ours, 1);
    const std::string sent = numbered_bytes(endpoint::high_water);
    co_await pair.ours.write(sent);
    drop(std::move(pair.ours));
    EXPECT_EQ(co_await pair.theirs.receive_all(100), sent);
    EXPECT_EQ(this_endpoints().size(), 1u) << "the peer has not ended its side: it may still send";
    pair.theirs.close();
    while (this_endpoints().size() != 0) co_await turn();
    EXPECT_EQ(this_endpoints().stats().lingers_passed, 0u);
  });
}

TEST(close, unread_input_and_more_that_comes_meanwhile_reset_nothing) {
  run_and_count([]() -> task<> {
    for (int i = 0; i < 10; ++i) {
      connected pair = co_await connect_pair();
      const std::string upload = numbered_bytes(8'000'000);
      const std::string answer = numbered_bytes(endpoint::high_water);
      std::string_view left = upload;
      for (int turns = 0; turns < i % 5; ++turns) {
        left.remove_prefix(pair.theirs.try_send(left));
        co_await turn();
      }
      co_await pair.ours.write(answer);
      drop(std::move(pair.ours));
      // Nobody wants the upload any more; an impolite close would answer it with a reset.
      co_await pair.theirs.send(left);
      EXPECT_TRUE(co_await pair.theirs.receive_all() == answer);
    }
  });
}

// Receiving again, now to drop what has waited with the kernel, it must hear of the end behind it, however much that
// is.
TEST(close, a_reset_behind_what_nobody_has_read_ends_it_at_once) {
  run_and_count([]() -> task<> {
    const std::string sent = numbered_bytes(900'000);
    for (std::size_t size = 50'000; size < sent.size(); size += 30'000) {
      connected pair = co_await connect_pair(0, 4 << 20);
      int large = 4 << 20;
      ::setsockopt(pair.ours.fd(), SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
      std::string_view left = std::string_view(sent).substr(0, size);
      for (int full = 0; full < 50; full = left.empty() || queued_bytes(pair.ours.fd(), SIOCINQ) > 0 ? full + 1 : 0) {
        left.remove_prefix(pair.theirs.try_send(left));
        co_await turn();
      }
      pair.theirs.reset();
      drop(std::move(pair.ours));
      while (this_endpoints().size() != 0) co_await turn();
      EXPECT_EQ(this_endpoints().stats().lingers_passed, 0u) << "with " << size << " bytes";
    }
  });
}

TEST(close, a_dropped_handle_gives_its_unread_buffers_back_at_once) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    pair.theirs.try_send(numbered_bytes(100'000));
    while (resource<buffer_pool>().stats().taken < endpoint::buffers_max) co_await turn();
    drop(std::move(pair.ours));
    EXPECT_EQ(resource<buffer_pool>().stats().taken, 0u);
  });
}

// ---- the bounds, under a clock that the test moves ----

void run_with_clock(const std::function<task<>(manual_clock&)>& body) {
  manual_clock time;
  const std::ptrdiff_t before = test_support::open_descriptors();
  run_shards(quiet_options(1), [&]() -> task<> { return body(time); }, time);
  EXPECT_EQ(test_support::open_descriptors(), before);
}

TEST(close, of_a_stream_that_was_reset_waits_for_nobody_and_the_peer_hears_a_reset) {
  for (const bool unsent : {true, false}) {
    run_and_count([unsent]() -> task<> {
      connected pair = co_await connect_pair(1);
      set_send_buffer(pair.ours, 1);
      const std::string written = numbered_bytes(unsent ? endpoint::high_water : 10);
      co_await pair.ours.write(written);
      for (int i = 0; i < 20; ++i) co_await turn();  // a send is under way, and the peer does not read
      while (!unsent && !pair.ours.output_empty()) co_await turn();
      EXPECT_EQ(pair.ours.output_empty(), !unsent);
      pair.ours.reset();
      EXPECT_THROW(pair.ours.try_write(std::as_bytes(std::span("x"))), std::system_error);
      drop(std::move(pair.ours));
      while (this_endpoints().size() != 0) co_await turn();
      EXPECT_EQ(this_endpoints().stats().rests_dropped, 0u);
      int error = 0;
      try {
        (void)co_await pair.theirs.receive_all();
      } catch (const std::system_error& broken) {
        error = broken.code().value();
      }
      EXPECT_EQ(error, ECONNRESET);
    });
  }
}

TEST(close, a_peer_that_takes_only_a_part_is_given_up_and_counted) {
  run_with_clock([](manual_clock& time) -> task<> {
    for (bool takes_some : {false, true}) {
      connected pair = co_await connect_pair(1);
      set_send_buffer(pair.ours, 1);
      co_await pair.ours.write(numbered_bytes(endpoint::high_water));
      co_await turn();
      const std::uint64_t before = this_endpoints().stats().rests_dropped;
      drop(std::move(pair.ours));
      if (takes_some) co_await pair.theirs.receive_exactly(5000);
      time.pass(endpoint::linger);
      co_await turn();
      EXPECT_EQ(this_endpoints().stats().rests_dropped, before) << "too early";
      while (this_endpoints().size() != 0) {
        time.pass(endpoint::send_rest_max / 4);
        co_await turn();
      }
      EXPECT_EQ(this_endpoints().stats().rests_dropped, before + 1);
      EXPECT_EQ(net::this_bytes().bytes_in_use(), 0u);
    }
  });
}

TEST(close, a_peer_that_does_not_end_its_side_is_left_after_the_linger_and_counted) {
  run_with_clock([](manual_clock& time) -> task<> {
    connected pair = co_await connect_pair();
    co_await pair.ours.write("bye");
    drop(std::move(pair.ours));
    EXPECT_EQ(co_await pair.theirs.receive_all(), "bye");
    time.pass(endpoint::linger / 2);
    co_await turn();
    EXPECT_EQ(this_endpoints().size(), 1u);
    while (this_endpoints().size() != 0) {
      time.pass(endpoint::linger);
      co_await turn();
    }
    EXPECT_EQ(this_endpoints().stats().lingers_passed, 1u);
    EXPECT_EQ(this_endpoints().stats().rests_dropped, 0u);
  });
}

// ---- drains ----

TEST(drain, readers_get_what_has_arrived_and_then_the_end_whatever_comes) {
  run_with_clock([](manual_clock&) -> task<> {
    connected pair = co_await connect_pair();
    co_await pair.theirs.send("early");
    while (resource<buffer_pool>().stats().taken == 0) co_await turn();
    this_assembled_shard().begin_drain();
    co_await pair.theirs.send("late");
    for (int i = 0; i < 3; ++i) co_await turn();
    EXPECT_EQ(co_await test_support::read_all(pair.ours), "early");
  });
}

TEST(drain, closes_at_once_only_where_that_loses_nothing) {
  if (test_support::simulating()) GTEST_SKIP() << "there bytes are on their way for a while";
  run_with_clock([](manual_clock& time) -> task<> {
    constexpr int turns = 20;  // more than any number of completions in a row needs
    connected idle = co_await connect_pair();
    connected sending = co_await connect_pair();
    connected slow = co_await connect_pair(1);
    co_await slow.ours.write(numbered_bytes(20'000));
    co_await slow.ours.flush();
    const int slow_fd = slow.ours.fd();
    co_await sending.theirs.send("unread");
    while (resource<buffer_pool>().stats().taken == 0) co_await turn();
    this_assembled_shard().begin_drain();
    drop(std::move(idle.ours));
    drop(std::move(sending.ours));
    drop(std::move(slow.ours));
    while (this_endpoints().size() > 2) co_await turn();  // the idle one needs no time at all
    for (int i = 0; i < turns; ++i) co_await turn();
    for (int looks = 0; looks < endpoint::quiet_looks; ++looks) {
      EXPECT_EQ(this_endpoints().size(), 2u) << "the peer was heard lately";
      time.pass(endpoint::drain_look);
      for (int i = 0; i < turns; ++i) co_await turn();
    }
    while (this_endpoints().size() > 1) co_await turn();
    EXPECT_EQ(this_endpoints().size(), 1u) << "the peer of the last one has not got all";
    EXPECT_EQ((co_await slow.theirs.receive_all()).size(), 20'000u);
    while (queued_bytes(slow_fd, SIOCOUTQ) > 1) co_await turn();
    time.pass(endpoint::drain_look);
    while (this_endpoints().size() != 0) co_await turn();
    EXPECT_EQ(this_endpoints().stats().lingers_passed, 0u);
  });
}

/// Made after the endpoints, so destroyed before them: keeps what they had come to at the end of the shard.
struct stats_at_end {
  explicit stats_at_end(net::endpoint_stats& to) : out(to) {}
  ~stats_at_end() { out = this_endpoints().stats(); }
  net::endpoint_stats& out;
};

/// Runs `main` with a listener that says "ready" to everybody and "done" when its peer, or the server, has ended.
net::endpoint_stats drain_with(const std::function<task<>(net::address)>& main) {
  net::endpoint_stats at_end;
  run_shards(quiet_options(1), [&]() -> task<> {
    this_endpoints();
    resources().emplace<stats_at_end>(at_end);
    auto serve = [](net::stream client) -> task<> {
      co_await client.write("ready");
      while (true) {
        buffer bytes = co_await client.read();
        if (bytes.empty()) break;
      }
      co_await client.write("done");
    };
    const net::address at = co_await net::listen_on_all_shards(loopback(), serve);
    co_await main(at);
  });
  return at_end;
}

TEST(drain, does_not_wait_for_peers_that_are_idle) {
  if (test_support::simulating()) GTEST_SKIP() << "its peers outlive the host";
  std::vector<raw_peer> idle;
  net::endpoint_stats at_end = drain_with([&](net::address at) -> task<> {
    for (int i = 0; i < 20; ++i) {
      idle.emplace_back(at);
      EXPECT_EQ(co_await idle.back().receive_exactly(5), "ready");
    }
    app::shutdown();
  });
  EXPECT_EQ(at_end.lingers_passed, 0u);
  EXPECT_EQ(at_end.rests_dropped, 0u);
  block_on([&]() -> task<> {
    for (raw_peer& peer : idle) EXPECT_EQ(co_await peer.receive_all(), "done") << "nothing may be lost by that";
  });
}

/// In a thread of its own: sends all the time until it has read the end. What it has read: a reset, which a peer that
/// pauses for long enough may get, takes nothing away of that.
std::string flood_until_the_end(const net::address& at) {
  raw_peer peer(at);
  const std::string upload(50'000, 'u');
  std::string got;
  bool open = true;
  while (true) {
    if (open) {
      try {
        peer.try_send(upload);
      } catch (const std::system_error&) {
        open = false;
      }
    }
    char bytes[100];
    ssize_t size = ::recv(peer.fd(), bytes, sizeof bytes, 0);
    if (size == 0 || (size < 0 && errno != EAGAIN)) return got;
    if (size > 0) got.append(bytes, static_cast<std::size_t>(size));
  }
}

TEST(drain, ends_under_a_flood_and_lets_the_peers_read_the_last_answer) {
  if (test_support::simulating()) GTEST_SKIP() << "its peers are threads";
  std::vector<std::future<std::string>> peers;
  net::endpoint_stats at_end = drain_with([&](net::address at) -> task<> {
    for (int i = 0; i < 10; ++i) peers.push_back(std::async(std::launch::async, flood_until_the_end, at));
    while (this_endpoints().size() < 10) co_await turn();
    while (resource<buffer_pool>().stats().taken == 0) co_await turn();
    app::shutdown();
  });
  for (std::future<std::string>& peer : peers) EXPECT_EQ(peer.get(), "readydone");
  EXPECT_EQ(at_end.endpoints, 0u);
}

}  // namespace
}  // namespace skerry
