// SPDX-License-Identifier: Apache-2.0
/// Sends that the kernel does not copy: when one is tried, what becomes of one that is refused, and what is kept until
/// the kernel lets go. Other suites run with them as <name>@zc; who does not acknowledge is in zero_copy_sim_test.
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/stream.hpp>

#include <cerrno>
#include <functional>
#include <string>
#include <system_error>

#include <gtest/gtest.h>
#include <support/fault_run.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using net::endpoint;
using net::endpoint_stats;
using net::this_bytes;
using net::this_endpoints;
using test_support::connect_pair;
using test_support::connected;
using test_support::fail_all;
using test_support::fail_nth;
using test_support::numbered_bytes;
using test_support::run_and_count;
using test_support::run_with;
using test_support::turn;

constexpr std::uint32_t threshold = 20'000;

backend& kernel() { return this_assembled_shard().loop().kernel(); }

/// Sends so many bytes, which the peer has before it returns.
task<> converse(connected& pair, std::size_t size) {
  const std::string sent = numbered_bytes(size);
  co_await pair.ours.write(sent);
  EXPECT_TRUE(co_await pair.theirs.receive_exactly(size) == sent) << size;
}

task<> until_all_is_back() {
  while (this_bytes().bytes_in_use() != 0) co_await turn();
}

TEST(zero_copy_send, is_tried_from_the_threshold_on) {
  run_and_count([]() -> task<> {
    kernel().zero_copy_from = threshold;
    kernel().zero_copy_anywhere = true;
    connected pair = co_await connect_pair();
    co_await converse(pair, 1);
    co_await converse(pair, threshold - 1);
    EXPECT_EQ(this_endpoints().stats().zero_copy_sends, 0u);
    co_await converse(pair, threshold);
    co_await converse(pair, 1);
    co_await converse(pair, endpoint::high_water);
    EXPECT_GE(this_endpoints().stats().zero_copy_sends, 2u);
    co_await until_all_is_back();
    const endpoint_stats& stats = this_endpoints().stats();
    if (stats.zero_copy_copied != 0 && !test_support::simulating()) {  // the kernel's loopback copies, and says so
      EXPECT_EQ(stats.zero_copy_copied, stats.zero_copy_sends);
    }
  });
}

TEST(zero_copy_send, is_not_tried_where_both_ends_are_on_this_host) {
  run_and_count([]() -> task<> {
    kernel().zero_copy_from = 1;
    connected pair = co_await connect_pair();
    co_await converse(pair, endpoint::high_water);
    co_await converse(pair, 1);
    co_await converse(pair, endpoint::high_water);
    EXPECT_EQ(this_endpoints().stats().zero_copy_sends, 0u);
  });
}

TEST(zero_copy_send, is_not_tried_where_nobody_asked_for_it) {
  run_and_count([]() -> task<> {
    EXPECT_EQ(kernel().zero_copy_from, 0u);
    kernel().zero_copy_anywhere = true;
    connected pair = co_await connect_pair();
    co_await converse(pair, endpoint::high_water);
    EXPECT_EQ(this_endpoints().stats().zero_copy_sends, 0u);
  });
}

TEST(zero_copy_send, that_is_refused_for_want_of_memory_goes_as_a_copy_and_so_do_all_later_ones) {
  for (const int error : {ENOMEM, ENOBUFS, EOPNOTSUPP, EINVAL}) {
    const bool struck = run_with(fail_nth(IORING_OP_SEND_ZC, 2, error), []() -> task<> {
      kernel().zero_copy_from = 1;
      kernel().zero_copy_anywhere = true;
      connected pair = co_await connect_pair();
      co_await converse(pair, endpoint::high_water);
      co_await converse(pair, endpoint::high_water);
      co_await converse(pair, 1);
      co_await converse(pair, endpoint::high_water);
      EXPECT_EQ(this_endpoints().stats().zero_copy_sends, 2u);
      co_await until_all_is_back();
    });
    EXPECT_TRUE(struck) << error;
  }
}

TEST(zero_copy_send, that_fails_breaks_the_connection_as_a_copy_does) {
  for (const int error : {ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH}) {
    const bool struck = run_with(fail_all(IORING_OP_SEND_ZC, error), [error]() -> task<> {
      kernel().zero_copy_from = 1;
      kernel().zero_copy_anywhere = true;
      connected pair = co_await connect_pair();
      co_await pair.ours.write("lost");
      int told = 0;
      try {
        while (true) {
          co_await pair.ours.write("after");
          co_await turn();
        }
      } catch (const std::system_error& broken) {
        told = broken.code().value();
      }
      EXPECT_EQ(told, error);
    });
    EXPECT_TRUE(struck) << error;
  }
}

TEST(zero_copy_send, that_is_interrupted_is_tried_again) {
  const bool struck = run_with(fail_nth(IORING_OP_SEND_ZC, 1, EINTR), []() -> task<> {
    kernel().zero_copy_from = 1;
    kernel().zero_copy_anywhere = true;
    connected pair = co_await connect_pair();
    co_await converse(pair, endpoint::high_water);
    EXPECT_EQ(this_endpoints().stats().zero_copy_sends, 2u);
    co_await until_all_is_back();
  });
  EXPECT_TRUE(struck);
}

}  // namespace
}  // namespace skerry
