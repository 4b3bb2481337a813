// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/trace.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace skerry::observe;

std::uint64_t test_seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 20261121;
  std::cout << "replay with SKERRY_TEST_SEED=" << seed << '\n';
  return seed;
}

trace_event random_event(std::mt19937_64& draw) {
  return {draw() % 1000, static_cast<trace_kind>(1 + draw() % 8), static_cast<std::uint32_t>(draw() % 4), draw() % 16,
          draw() % 4};
}

class on_a_shard : public testing::Test {
 protected:
  on_a_shard() { skerry::detail::current_shard = &core; }
  ~on_a_shard() override { skerry::detail::current_shard = nullptr; }
  skerry::shard_core core;
};

TEST(trace, keeps_the_latest_events_oldest_first) {
  std::mt19937_64 draw(test_seed());
  for (std::size_t capacity : {1u, 2u, 8u, 64u}) {
    trace_buffer buffer(capacity);
    std::deque<trace_event> model;
    for (std::uint64_t i = 0; i < 300; ++i) {
      ASSERT_EQ(buffer.events(), std::vector<trace_event>(model.begin(), model.end()));
      ASSERT_EQ(buffer.total(), i);
      model.push_back(random_event(draw));
      buffer.record(model.back());
      if (model.size() > capacity) model.pop_front();
    }
  }
}

TEST(trace, hash_does_not_depend_on_the_capacity) {
  std::mt19937_64 draw(test_seed());
  trace_buffer small(2), large(4096);
  for (int i = 0; i < 1000; ++i) {
    const trace_event event = random_event(draw);
    small.record(event);
    large.record(event);
    ASSERT_EQ(small.hash(), large.hash());
  }
}

TEST(trace, every_field_and_the_order_change_the_hash) {
  const trace_event base{100, trace_kind::timer, 3, 4, 5};
  std::vector<trace_event> variants(6, base);
  variants[1].time_ns ^= 1;
  variants[2].kind = trace_kind::completion;
  variants[3].arg ^= 1;
  variants[4].a ^= 1ull << 63;
  variants[5].b ^= 1;
  std::set<std::uint64_t> hashes;
  for (const trace_event& first : variants) {
    for (const trace_event& second : variants) {
      trace_buffer buffer(4);
      buffer.record(first);
      buffer.record(second);
      hashes.insert(buffer.hash());
    }
  }
  EXPECT_EQ(hashes.size(), variants.size() * variants.size());
  trace_buffer empty(4), one(4);
  one.record(base);
  hashes.insert(empty.hash());
  hashes.insert(one.hash());
  EXPECT_EQ(hashes.size(), variants.size() * variants.size() + 2);
}

TEST(trace, no_two_of_a_million_prefixes_share_a_hash) {
  std::mt19937_64 draw(test_seed());
  trace_buffer buffer(2);
  std::vector<std::uint64_t> hashes;
  for (int i = 0; i < 1'000'000; ++i) {
    buffer.record(random_event(draw));
    hashes.push_back(buffer.hash());
  }
  std::sort(hashes.begin(), hashes.end());
  EXPECT_EQ(std::adjacent_find(hashes.begin(), hashes.end()), hashes.end());
}

TEST(trace, hash_of_a_trace_is_the_same_in_every_process) {
  trace_buffer buffer(8);
  buffer.record({1, trace_kind::task_begin, 2, 3, 4});
  buffer.record({5, trace_kind::message_sent, 6, 7, 8});
  EXPECT_EQ(buffer.hash(), 8171126279066543917u);
}

TEST_F(on_a_shard, without_a_buffer_tracing_is_nothing) {
  trace(trace_kind::task_begin, 1);
  EXPECT_EQ(core.trace, nullptr);
  trace_buffer late(4);
  core.trace = &late;
  EXPECT_EQ(late.hash(), trace_buffer(4).hash()) << "nothing was kept for later";
}

TEST_F(on_a_shard, event_carries_the_latest_reading_of_the_clock) {
  trace_buffer buffer(4);
  core.trace = &buffer;
  core.now = skerry::clock::time_point(std::chrono::nanoseconds(77));
  trace(trace_kind::message_sent, 1, 2, 3);
  EXPECT_EQ(buffer.events(), (std::vector<trace_event>{{77, trace_kind::message_sent, 3, 1, 2}}));
}

TEST(trace_death, a_capacity_that_is_no_power_of_two_is_a_bug) {
  EXPECT_DEATH(trace_buffer(100), "power of two");
  EXPECT_DEATH(trace_buffer(0), "power of two");
}

TEST(trace_death, tracing_off_a_shard_is_a_bug) { EXPECT_DEATH(trace(trace_kind::timer, 1), "runs on a shard"); }

}  // namespace
