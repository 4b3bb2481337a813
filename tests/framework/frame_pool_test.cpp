// SPDX-License-Identifier: Apache-2.0
/// The frame pool against a list of what is handed out.
///
/// Replay a failing random test with the line it prints: SKERRY_TEST_SEED=<seed> frame_pool_test

#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/task/frame_pool.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

TEST(frame_pool, the_frame_given_back_last_is_handed_out_next) {
  frame_pool pool;
  void* first = pool.allocate(100);
  void* second = pool.allocate(100);
  pool.release(first, 100);
  pool.release(second, 100);
  EXPECT_EQ(pool.allocate(97), second) << "97 and 100 bytes are one class";
  EXPECT_EQ(pool.allocate(112), first);
  pool.release(first, 112);
  pool.release(second, 97);
}

#ifdef __SANITIZE_ADDRESS__

/// How many of the bytes AddressSanitizer lets nobody touch.
std::size_t poisoned(const void* memory, std::size_t bytes) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    count += __asan_address_is_poisoned(static_cast<const std::byte*>(memory) + i) != 0 ? 1 : 0;
  }
  return count;
}

TEST(frame_pool, a_frame_is_poisoned_while_it_is_free) {
  frame_pool pool;
  for (const std::size_t bytes : {16u, 112u, 4096u}) {
    void* first = pool.allocate(bytes);
    void* second = pool.allocate(bytes);
    EXPECT_EQ(poisoned(first, bytes), 0u);
    pool.release(first, bytes);
    EXPECT_EQ(poisoned(first, bytes), bytes);
    EXPECT_EQ(poisoned(second, bytes), 0u);
    pool.release(second, bytes);
    EXPECT_EQ(poisoned(first, bytes), bytes) << "the list of free frames leaves nothing open";
    EXPECT_EQ(poisoned(second, bytes), bytes);
    EXPECT_EQ(pool.allocate(bytes), second);
    EXPECT_EQ(poisoned(second, bytes), 0u);
    EXPECT_EQ(poisoned(first, bytes), bytes);
    pool.release(second, bytes);
  }
}

/// Those that nobody has had yet lie behind the ones in use.
TEST(frame_pool, memory_that_is_no_frame_yet_is_poisoned) {
  frame_pool pool;
  auto* frame = static_cast<std::byte*>(pool.allocate(64));
  EXPECT_EQ(poisoned(frame + 64, 64), 64u);
  pool.release(frame, 64);
}

#endif

TEST(frame_pool, classes_do_not_share_frames) {
  frame_pool pool;
  void* small = pool.allocate(16);
  pool.release(small, 16);
  void* other = pool.allocate(17);
  EXPECT_NE(other, small);
  pool.release(other, 17);
}

TEST(frame_pool, large_frames_are_counted_and_leave_at_once) {
  frame_pool pool;
  void* frame = pool.allocate(frame_pool::pooled_bytes_max + 1);
  EXPECT_GE(pool.bytes_reserved(), frame_pool::slab_bytes);
  std::memset(frame, 1, frame_pool::pooled_bytes_max + 1);
  void* huge = pool.allocate(1'000'000);
  std::memset(huge, 1, 1'000'000);
  pool.release(huge, 1'000'000);
  pool.release(frame, frame_pool::pooled_bytes_max + 1);
  EXPECT_EQ(pool.bytes_reserved(), 0u);
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(frame_pool, past_its_limit_it_throws_bad_alloc_and_goes_on_after_a_release) {
  frame_pool pool(1 << 20);
  std::vector<void*> frames;
  EXPECT_THROW(
      {
        for (;;) frames.push_back(pool.allocate(4096));
      },
      std::bad_alloc);
  EXPECT_GE(frames.size(), 200u);
  EXPECT_LE(pool.bytes_reserved(), std::size_t{1} << 20);
  EXPECT_THROW(pool.allocate(5000), std::bad_alloc);
  EXPECT_EQ(pool.in_use(), frames.size());
  pool.release(frames.back(), 4096);
  frames.back() = pool.allocate(4096);
  for (void* frame : frames) pool.release(frame, 4096);
}

TEST(frame_pool, a_frame_made_off_a_shard_may_be_freed_by_any_thread) {
  void* frame = frame_pool::allocate_frame(200);
  std::thread([frame] { frame_pool::release_frame(frame, 200); }).join();
}

TEST(frame_pool_death, a_frame_freed_on_another_shard_is_refused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  frame_pool home_pool, other_pool;
  shard_core home, other;
  home.frames = &home_pool;
  other.frames = &other_pool;
  detail::current_shard = &home;
  void* frame = frame_pool::allocate_frame(64);
  detail::current_shard = &other;
  EXPECT_DEATH(frame_pool::release_frame(frame, 64), "destroyed on the shard that made it");
  detail::current_shard = nullptr;
  EXPECT_DEATH(frame_pool::release_frame(frame, 64), "this thread runs none");
  detail::current_shard = &home;
  frame_pool::release_frame(frame, 64);
  detail::current_shard = nullptr;
}

struct held {
  unsigned char* memory;
  std::size_t bytes;
  unsigned char fill;
};

bool still_filled(const held& frame) {
  return std::all_of(frame.memory, frame.memory + frame.bytes, [&](unsigned char c) { return c == frame.fill; });
}

TEST(frame_pool, frames_never_overlap_over_random_use) {
  std::mt19937_64 random(skerry::test_support::test_seed());
  frame_pool pool;
  std::vector<held> frames;
  for (int i = 0; i < 100'000; ++i) {
    if (frames.size() < 500 && random() % 2 == 0) {
      const std::size_t bytes = 1 + random() % (random() % 50 == 0 ? 70'000 : 4096);
      held frame{static_cast<unsigned char*>(pool.allocate(bytes)), bytes, static_cast<unsigned char>(random())};
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(frame.memory) % frame_pool::class_bytes, 0u);
      std::memset(frame.memory, frame.fill, bytes);
      frames.push_back(frame);
    } else if (!frames.empty()) {
      std::swap(frames[random() % frames.size()], frames.back());
      ASSERT_TRUE(still_filled(frames.back())) << "operation " << i;
      pool.release(frames.back().memory, frames.back().bytes);
      frames.pop_back();
    }
    ASSERT_EQ(pool.in_use(), frames.size());
  }
  for (const held& frame : frames) pool.release(frame.memory, frame.bytes);
  EXPECT_EQ(pool.in_use(), 0u);
}

}  // namespace
}  // namespace skerry
