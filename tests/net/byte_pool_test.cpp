// SPDX-License-Identifier: Apache-2.0
/// Blocks of bytes, and the byte_queue on top of them against a std::string.
///
/// Replay a failing random test with the line it prints: SKERRY_TEST_SEED=<seed> byte_pool_test

#include <skerry/net/byte_pool.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>
#include <support/test_seed.hpp>

namespace skerry::net {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string_view text_of(const byte_queue& queue) {
  return {reinterpret_cast<const char*>(queue.bytes().data()), queue.size()};
}

TEST(byte_pool, a_block_has_the_next_power_of_two) {
  byte_pool pool;
  for (const auto& [wanted, given] : {std::pair{1u, 512u}, {512u, 512u}, {513u, 1024u}, {200'000u, 262'144u}}) {
    const auto block = pool.allocate(wanted);
    EXPECT_EQ(block.size(), given);
    EXPECT_EQ(pool.bytes_in_use(), given);
    pool.release(block);
  }
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(byte_pool, the_block_given_back_last_is_handed_out_next) {
  byte_pool pool;
  const auto first = pool.allocate(600);
  const auto second = pool.allocate(600);
  pool.release(first);
  pool.release(second);
  const auto again = pool.allocate(1024);
  EXPECT_EQ(again.data(), second.data());
  pool.release(again);
}

TEST(byte_queue, holds_no_block_when_it_is_empty) {
  byte_pool pool;
  byte_queue queue;
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  queue.append(pool, bytes_of("hello"));
  EXPECT_EQ(pool.bytes_in_use(), 512u);
  queue.consume(pool, 2);
  EXPECT_EQ(text_of(queue), "llo");
  queue.consume(pool, 3);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(byte_queue, appending_nothing_to_an_empty_queue_takes_no_block) {
  byte_pool pool;
  byte_queue queue;
  queue.append(pool, {});
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(byte_queue, swap_exchanges_contents) {
  byte_pool pool;
  byte_queue one, two;
  one.append(pool, bytes_of("one"));
  one.swap(two);
  EXPECT_TRUE(one.empty());
  EXPECT_EQ(text_of(two), "one");
  two.clear(pool);
}

TEST(byte_queue, behaves_like_a_string_over_random_operations) {
  std::mt19937_64 random(skerry::test_support::test_seed());
  byte_pool pool(64 * 1024);
  byte_queue queue, other;
  std::string model, other_model;
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t what = random() % 100;
    if (what < 55) {
      const std::size_t room = byte_pool::block_bytes_max - model.size();
      const std::size_t size = std::min<std::size_t>(room, random() % (random() % 20 == 0 ? 20'000 : 400));
      std::string more(size, '\0');
      for (char& c : more) c = static_cast<char>(random());
      queue.append(pool, bytes_of(more));
      model += more;
    } else if (what < 97) {
      const std::size_t size = random() % (model.size() + 1);
      queue.consume(pool, size);
      model.erase(0, size);
    } else if (what < 98) {
      queue.clear(pool);
      model.clear();
    } else {
      queue.swap(other);
      model.swap(other_model);
    }
    ASSERT_EQ(queue.size(), model.size()) << "operation " << i;
    ASSERT_EQ(text_of(queue), model) << "operation " << i;
    ASSERT_EQ(pool.bytes_in_use() == 0, model.empty() && other_model.empty()) << "operation " << i;
  }
  queue.clear(pool);
  other.clear(pool);
}

}  // namespace
}  // namespace skerry::net
