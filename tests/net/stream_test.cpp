// SPDX-License-Identifier: Apache-2.0
/// Streams on the real kernel: bytes cut anywhere, resets, half-closes, back-pressure.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/detail/zero_copy_send.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <sys/socket.h>

namespace skerry {
namespace {

using test_support::connect_pair;
using test_support::connected;
using test_support::loopback;
using test_support::numbered_bytes;
using test_support::queued_bytes;
using test_support::read_all;
using test_support::run_and_count;
using test_support::run_shards;
using test_support::text_of;
using test_support::turn;

/// The error that `wait` ends with; 0 when it ends without.
task<int> error_of(task<> wait) {
  try {
    co_await std::move(wait);
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

task<> read_nothing(net::stream& from) {
  buffer bytes = co_await from.read();
  EXPECT_EQ(bytes.size(), 0u);
}

task<> write_until_refused(net::stream& to) {
  const std::string block(100'000, 'b');
  while (true) co_await to.write(block);
}

/// What the first task called `name` waits for; empty when there is none or it does not wait.
std::string_view waits_for(std::string_view name) {
  std::string_view wait;
  this_shard().root->for_each([&](const detail::chain& task) {
    if (task.name() == name && task.waits_for() != nullptr) wait = task.waits_for()->describe();
  });
  return wait;
}

TEST(stream, bytes_that_come_one_at_a_time_are_read_in_order) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    const std::string sent = numbered_bytes(5000);
    auto sender = spawn([&]() -> task<> {
      for (char byte : sent) {
        co_await pair.theirs.send(std::string_view(&byte, 1));
        co_await yield();
      }
      pair.theirs.shut_down_output();
    });
    EXPECT_EQ(co_await read_all(pair.ours), sent);
    co_await sender;
  });
}

TEST(stream, everything_arrives_at_a_peer_with_a_tiny_window_that_takes_one_byte_at_a_time) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair(1);
    int tiny = 1;
    ::setsockopt(pair.ours.fd(), SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    const std::string sent = numbered_bytes(20'000);
    auto writer = spawn([&]() -> task<> {
      co_await pair.ours.write(sent);
      pair.ours.shutdown_output();
    });
    EXPECT_EQ(co_await pair.theirs.receive_all(1), sent);
    co_await writer;
  });
}

TEST(stream, many_small_writes_and_few_large_ones_arrive_as_one_sequence) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    const std::string sent = numbered_bytes(3'000'000);
    auto writer = spawn([&]() -> task<> {
      std::string_view left = sent;
      for (std::size_t size = 1; !left.empty(); size = size * 7 % 500'009) {
        co_await pair.ours.write(left.substr(0, size));
        left.remove_prefix(std::min(size, left.size()));
      }
      co_await pair.ours.flush();
      EXPECT_TRUE(pair.ours.output_empty());
      pair.ours.shutdown_output();
    });
    EXPECT_TRUE(co_await pair.theirs.receive_all() == sent);
    co_await writer;
  });
}

// ---- resets ----

TEST(stream, reset_by_the_peer_ends_a_waiting_read_and_everything_after_it) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    auto reader = spawn(error_of(read_nothing(pair.ours)), "reader");
    while (waits_for("reader") != "read") co_await yield();
    pair.theirs.reset();
    EXPECT_EQ(co_await reader, ECONNRESET);
    EXPECT_EQ(co_await error_of(read_nothing(pair.ours)), ECONNRESET) << "a broken stream stays broken";
    EXPECT_EQ(co_await error_of(pair.ours.write("x")), ECONNRESET) << "a reset breaks both ways";
    EXPECT_EQ(co_await error_of(pair.ours.flush()), ECONNRESET);
    EXPECT_THROW(pair.ours.try_write({}), std::system_error);
    pair.ours.shutdown_output();
  });
}

TEST(stream, reset_by_the_peer_ends_a_write_that_waits_for_room) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair(1);
    auto writer = spawn(error_of(write_until_refused(pair.ours)), "writer");
    while (waits_for("writer") != "write") co_await yield();
    pair.theirs.reset();
    const int told = co_await writer;
    // The kernel tells the reset once, to whichever operation comes first.
    const bool in_another_order = test_support::disturbed() || test_support::simulation != nullptr;
    EXPECT_TRUE(told == ECONNRESET || (told == EPIPE && in_another_order)) << told;
    while (!pair.ours.output_empty()) co_await turn();  // what cannot be sent is kept until the kernel lets go of it
    EXPECT_EQ(co_await error_of(pair.ours.write("x")), told);
  });
}

TEST(stream, reset_by_the_peer_while_nobody_waits_is_told_to_the_next_one) {
  if (test_support::simulation != nullptr) GTEST_SKIP() << "there a reset overtakes bytes that are on their way";
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    co_await pair.theirs.send("last words");
    while (resource<buffer_pool>().stats().taken == 0) co_await turn();
    pair.theirs.reset();
    co_await turn();
    buffer bytes = co_await pair.ours.read();
    EXPECT_EQ(text_of(bytes), "last words") << "what came before the reset is read first";
    EXPECT_EQ(co_await error_of(read_nothing(pair.ours)), ECONNRESET);
  });
}

TEST(stream, dropped_after_a_reset_is_closed) {
  run_and_count([]() -> task<> {
    for (int i = 0; i < 100; ++i) {
      connected pair = co_await connect_pair();
      co_await pair.ours.write(numbered_bytes(1000));
      pair.theirs.reset();
      if (i % 2 == 0) co_await turn();
    }
    while (net::this_endpoints().size() != 0) co_await turn();
  });
}

// ---- half-closes ----

TEST(stream, a_peer_that_has_ended_its_side_still_receives_everything) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    co_await pair.theirs.send("request");
    pair.theirs.shut_down_output();
    EXPECT_EQ(co_await read_all(pair.ours), "request");
    const std::string reply = numbered_bytes(1'000'000);
    auto writer = spawn([&]() -> task<> {
      co_await pair.ours.write(reply);
      pair.ours.shutdown_output();
    });
    EXPECT_TRUE(co_await pair.theirs.receive_all() == reply);
    co_await writer;
  });
}

TEST(stream, after_its_own_side_has_ended_it_still_reads_everything) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    co_await pair.ours.write("request");
    pair.ours.shutdown_output();
    pair.ours.shutdown_output();
    EXPECT_EQ(co_await pair.theirs.receive_all(), "request");
    const std::string reply = numbered_bytes(1'000'000);
    auto sender = spawn([&]() -> task<> {
      co_await pair.theirs.send(reply);
      pair.theirs.shut_down_output();
    });
    EXPECT_TRUE(co_await read_all(pair.ours) == reply);
    co_await sender;
  });
}

// ---- back-pressure ----

TEST(stream, a_write_past_the_high_water_mark_waits_until_the_peer_reads) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair(8192);
    int small = 8192;
    ::setsockopt(pair.ours.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    const std::string sent = numbered_bytes(4'000'000);
    constexpr std::size_t step = 1024;
    std::size_t taken = 0;
    auto writer = spawn(
        [&]() -> task<> {
          for (; taken < sent.size(); taken += std::min(step, sent.size() - taken)) {
            co_await pair.ours.write(std::string_view(sent).substr(taken, step));
          }
          pair.ours.shutdown_output();
        },
        "writer");
    // It waits, and none of the turns in which the kernel could take more lets it go on.
    for (std::size_t still = 0, before = 1; still < 20; still = taken == before ? still + 1 : 0) {
      before = taken;
      co_await turn();
    }
    EXPECT_EQ(waits_for("writer"), "write");
    // One block with the kernel in part, and one that waits, both full.
    const std::size_t with_the_kernel = static_cast<std::size_t>(queued_bytes(pair.ours.fd(), SIOCOUTQ)) +
                                        static_cast<std::size_t>(queued_bytes(pair.theirs.fd(), SIOCINQ));
    EXPECT_GE(taken, 2 * net::endpoint::high_water);
    EXPECT_LE(taken, 2 * net::endpoint::high_water + with_the_kernel);
    const unsigned held_max = test_support::zero_copy_wanted() ? net::detail::zero_copy_send::held_max : 0;
    EXPECT_GE(net::this_bytes().bytes_in_use(), 2 * net::endpoint::high_water);
    EXPECT_LE(net::this_bytes().bytes_in_use(), (2 + held_max) * net::endpoint::high_water);
    EXPECT_EQ(pair.ours.try_write(std::as_bytes(std::span(sent))), 0u);
    EXPECT_TRUE(co_await pair.theirs.receive_all() == sent);
    co_await writer;
    while (net::this_bytes().bytes_in_use() != 0)
      co_await turn();  // of a send that is not copied, the kernel tells later
  });
}

TEST(stream, a_reader_that_never_reads_holds_what_is_documented_and_loses_nothing) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair(0, 4 << 20);
    int large = 4 << 20;
    ::setsockopt(pair.ours.fd(), SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
    const std::string sent = numbered_bytes(16 << 20);
    std::string_view left = sent;
    std::uint32_t held_max = 0;
    // Until the peer's kernel takes no more, and what it has sent waits in ours.
    for (int full = 0; full < 50 || held_max < net::endpoint::buffers_max;) {
      const std::size_t taken = pair.theirs.try_send(left);
      left.remove_prefix(taken);
      full = taken == 0 && queued_bytes(pair.ours.fd(), SIOCINQ) > 0 ? full + 1 : 0;
      co_await turn();
      held_max = std::max(held_max, resource<buffer_pool>().stats().taken);
    }
    EXPECT_FALSE(left.empty());
    EXPECT_GE(held_max, net::endpoint::buffers_max);
    EXPECT_LE(held_max, net::endpoint::buffers_max - 1 + net::endpoint::buffers_per_entry);
    auto sender = spawn([&]() -> task<> {
      co_await pair.theirs.send(left);
      pair.theirs.shut_down_output();
    });
    EXPECT_TRUE(co_await read_all(pair.ours) == sent);
    co_await sender;
    EXPECT_EQ(resource<buffer_pool>().stats().taken, 0u);
  });
}

TEST(stream, what_waits_in_the_kernel_comes_with_one_completion_where_buffers_come_in_bundles) {
  run_and_count([]() -> task<> {
    backend& kernel = this_shard().loop->kernel();
    const std::string sent = numbered_bytes(net::endpoint::bundle_bytes);
    for (const bool bundles : {kernel.bundles, false}) {
      kernel.bundles = bundles;
      connected pair = co_await connect_pair();
      const std::uint64_t before = kernel.stats().completions;
      EXPECT_EQ(pair.theirs.try_send(sent), sent.size());
      std::string got;
      while (got.size() < sent.size()) {
        const buffer bytes = co_await pair.ours.read();
        got += text_of(bytes);
      }
      EXPECT_TRUE(got == sent);
      const std::uint64_t completions = kernel.stats().completions - before;
      if (test_support::disturbed()) continue;
      EXPECT_EQ(completions < sent.size() / buffer_pool::buffer_bytes, bundles) << completions;
    }
  });
}

TEST(stream, readers_that_wait_for_buffers_get_them_in_turn_and_lose_nothing) {
  run_and_count([]() -> task<> {
    // More streams with unread bytes than the shard has buffers for.
    constexpr std::size_t streams = buffer_pool::buffers_max / net::endpoint::buffers_max + 20;
    std::vector<connected> pairs;
    const std::string sent = numbered_bytes(200'000);
    for (std::size_t i = 0; i < streams; ++i) pairs.push_back(co_await connect_pair());
    std::vector<std::size_t> taken(streams);
    while (resource<buffer_pool>().stats().exhausted == 0) {
      for (std::size_t i = 0; i < streams; ++i) {
        taken[i] += pairs[i].theirs.try_send(std::string_view(sent).substr(taken[i]));
      }
      co_await turn();
    }
    EXPECT_EQ(resource<buffer_pool>().stats().taken, buffer_pool::buffers_max);
    std::vector<join_handle<>> ends;
    for (std::size_t i = 0; i < streams; ++i) {
      ends.push_back(spawn([&, i]() -> task<> {
        co_await pairs[i].theirs.send(std::string_view(sent).substr(taken[i]));
        pairs[i].theirs.shut_down_output();
      }));
      ends.push_back(spawn([&, i]() -> task<> { EXPECT_TRUE(co_await read_all(pairs[i].ours) == sent); }));
    }
    for (join_handle<>& end : ends) co_await end;
    EXPECT_EQ(resource<buffer_pool>().stats().taken, 0u);
  });
}

}  // namespace
}  // namespace skerry
