// SPDX-License-Identifier: Apache-2.0
/// The doorbell between threads: no ring is lost, what was written before a ring is seen after the take, and a sleeper
/// is woken once. The data that passes is plain, so ThreadSanitizer checks the ordering.

#include <skerry/framework/reactor/doorbell.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace skerry {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t rounds = 5'000;
#else
constexpr std::uint64_t rounds = 20'000;
#endif

TEST(doorbell, take_gives_every_bit_once) {
  doorbell bell;
  EXPECT_FALSE(bell.rung());
  EXPECT_EQ(bell.take(), 0u);
  EXPECT_FALSE(bell.ring(doorbell::inbox_bit(3)));
  EXPECT_FALSE(bell.ring(doorbell::inbox_bit(5)));
  EXPECT_FALSE(bell.ring(doorbell::inbox_bit(3)));
  EXPECT_TRUE(bell.rung());
  EXPECT_EQ(bell.take(), doorbell::inbox_bit(3) | doorbell::inbox_bit(5));
  EXPECT_EQ(bell.take(), 0u);
}

TEST(doorbell, only_the_first_ring_of_a_sleeper_must_wake_it) {
  doorbell bell;
  EXPECT_TRUE(bell.announce_sleep());
  EXPECT_FALSE(bell.rung());
  EXPECT_TRUE(bell.ring(doorbell::inbox_bit(1)));
  EXPECT_FALSE(bell.ring(doorbell::inbox_bit(2)));
  EXPECT_FALSE(bell.ring(doorbell::outside));
  bell.woken();
  EXPECT_EQ(bell.take(), doorbell::inbox_bit(1) | doorbell::inbox_bit(2) | doorbell::outside);
}

TEST(doorbell, nobody_falls_asleep_after_a_ring) {
  doorbell bell;
  EXPECT_FALSE(bell.ring(doorbell::inbox_bit(0)));
  EXPECT_FALSE(bell.announce_sleep());
  bell.woken();
  EXPECT_EQ(bell.take(), doorbell::inbox_bit(0));
}

TEST(doorbell, inbox_bits_never_touch_the_two_bits_below) {
  for (std::uint32_t sender = 0; sender < 1024; ++sender) {
    EXPECT_EQ(doorbell::inbox_bit(sender) & (doorbell::asleep | doorbell::outside), 0u);
  }
}

/// A sleeping place with the doorbell in front, as a shard has.
struct bed {
  void ring(std::uint64_t bit) noexcept {
    if (!bell.ring(bit)) return;
    kicks.fetch_add(1, std::memory_order_release);
    kicks.notify_one();
  }
  /// Waits until somebody has rung and takes the bits; counts its sleeps.
  std::uint64_t wait() noexcept {
    for (;;) {
      if (const std::uint64_t bits = bell.take(); bits != 0) return bits;
      const std::uint64_t before = sleeps;
      if (bell.announce_sleep()) {
        ++sleeps;
        kicks.wait(before, std::memory_order_acquire);
      }
      bell.woken();
    }
  }

  doorbell bell;
  std::atomic<std::uint64_t> kicks{0};
  std::uint64_t sleeps = 0;
};

TEST(doorbell, two_threads_hand_plain_data_back_and_forth) {
  bed left, right;
  std::uint64_t value = 0;
  std::thread other([&] {
    for (std::uint64_t i = 0; i < rounds; ++i) {
      right.wait();
      ++value;
      left.ring(doorbell::inbox_bit(1));
    }
  });
  for (std::uint64_t i = 0; i < rounds; ++i) {
    ++value;
    right.ring(doorbell::inbox_bit(0));
    left.wait();
  }
  other.join();
  EXPECT_EQ(value, 2 * rounds);
  EXPECT_EQ(left.sleeps, left.kicks.load());
  EXPECT_EQ(right.sleeps, right.kicks.load());
}

/// One sender's counter: pushed by the sender, read by the owner after a ring.
struct alignas(64) inbox {
  std::atomic<std::uint64_t> pushed{0};
};

TEST(doorbell, no_ring_of_several_senders_is_lost_and_each_sleep_is_ended_by_one_kick) {
  constexpr std::uint32_t senders = 3;
  bed owner;
  std::array<inbox, senders> inboxes;
  std::vector<std::thread> threads;
  for (std::uint32_t s = 0; s < senders; ++s) {
    threads.emplace_back([&owner, &box = inboxes[s], s] {
      for (std::uint64_t i = 1; i <= rounds; ++i) {
        box.pushed.store(i, std::memory_order_relaxed);
        owner.ring(doorbell::inbox_bit(s));
        if (i % 16 == 0) std::this_thread::yield();
      }
    });
  }
  std::array<std::uint64_t, senders> seen{};
  auto all_seen = [&] {
    for (std::uint64_t count : seen) {
      if (count != rounds) return false;
    }
    return true;
  };
  // Looks only where a bit is set: a lost bit makes this wait for ever.
  while (!all_seen()) {
    const std::uint64_t bits = owner.wait();
    for (std::uint32_t s = 0; s < senders; ++s) {
      if ((bits & doorbell::inbox_bit(s)) != 0) seen[s] = inboxes[s].pushed.load(std::memory_order_relaxed);
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(owner.sleeps, owner.kicks.load());
}

}  // namespace
}  // namespace skerry
