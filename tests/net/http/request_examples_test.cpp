// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/detail/request_examples.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace skerry::net::http::detail {
namespace {

using namespace std::chrono_literals;

TEST(request_examples, each_range_wants_one_until_they_are_taken) {
  request_examples some;
  EXPECT_TRUE(some.wants(1000));
  some.keep(1000, "trace_id", "a", 1s);
  EXPECT_FALSE(some.wants(1000));
  EXPECT_FALSE(some.wants(300)) << "the same two powers of two";
  EXPECT_TRUE(some.wants(100));
  EXPECT_TRUE(some.wants(5000));
  some.keep(5000, "request_id", "b", 2s);
  const auto taken = some.take();
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken[0].id, "a");
  EXPECT_EQ(taken[1].kind, "request_id");
  EXPECT_EQ(taken[1].took_ns, 5000u);
  EXPECT_TRUE(some.wants(1000));
  some.keep(1001, "trace_id", "c", 3s);
  EXPECT_EQ(some.take()[0].id, "c");
}

TEST(request_examples, one_without_a_usable_name_uses_its_turn_up_and_replaces_nothing) {
  request_examples some;
  some.keep(1000, "trace_id", "a", 1s);
  some.take();
  some.keep(1000, "trace_id", "", 2s);
  EXPECT_FALSE(some.wants(1000));
  EXPECT_EQ(some.take()[0].id, "a");
  some.keep(1000, "trace_id", std::string(request_examples::id_bytes_max + 1, 'x'), 3s);
  EXPECT_EQ(some.take()[0].id, "a");
}

TEST(request_examples, every_duration_has_a_range) {
  request_examples some;
  for (const std::uint64_t ns : {std::uint64_t{0}, std::uint64_t{1}, std::numeric_limits<std::uint64_t>::max()}) {
    EXPECT_TRUE(some.wants(ns));
    some.keep(ns, "trace_id", std::to_string(ns), 1s);
  }
  EXPECT_EQ(some.take().size(), 3u);
}

}  // namespace
}  // namespace skerry::net::http::detail
