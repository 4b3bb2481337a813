// SPDX-License-Identifier: Apache-2.0
/// The hand-shake of two shards, many times and with random pauses: once with the wait stubbed, so that only the words
/// count, once through the kernel. A lost ring or wake-up makes either side wait for ever. tests/models has the same in
/// every interleaving of a model; here are real CPUs. `scripts/test --long`: 100 million and a million hand-shakes.
///
/// Replay with the line that a test prints: SKERRY_TEST_SEED=<seed> hand_shake_stress_test

#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/doorbell.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/shards/submit_to.hpp>

#include <atomic>
#include <cstdint>
#include <thread>

#include <gtest/gtest.h>
#include <support/long_test.hpp>
#include <support/run_shards.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

/// Mostly none, else some hundred steps at most: as long as a ring takes to be seen.
unsigned draw_pause(random_source& random) {
  return random.uniform(4) == 0 ? static_cast<unsigned>(random.uniform(400)) : 0;
}

void pause_for(unsigned steps) noexcept {
  for (unsigned i = 0; i < steps; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);  // a loop that stays
}

/// A shard's doorbell in front of a wait that counts instead of entering the kernel.
class stubbed_shard {
 public:
  void ring() noexcept {
    if (!bell_.ring(doorbell::inbox_bit(0))) return;
    wakes_.fetch_add(1, std::memory_order_seq_cst);
  }
  /// Until somebody has rung.
  void wait(random_source& random) noexcept {
    while (bell_.take() == 0) {
      pause_for(draw_pause(random));
      if (bell_.announce_sleep()) {
        ++sleeps_;
        for (unsigned looks = 0; wakes_.load(std::memory_order_seq_cst) != sleeps_; ++looks) {
          if (looks % 1024 == 1023) std::this_thread::yield();  // one CPU for both sides
        }
      }
      pause_for(draw_pause(random));
      bell_.woken();
    }
  }
  std::uint64_t sleeps() const noexcept { return sleeps_; }
  std::uint64_t wakes() const noexcept { return wakes_; }

 private:
  doorbell bell_;
  alignas(64) std::atomic<std::uint64_t> wakes_{0};
  std::uint64_t sleeps_ = 0;
};

TEST(hand_shake, none_is_lost_with_the_wait_stubbed_and_each_sleep_is_ended_by_one_wake_up) {
  const std::uint64_t seed = test_support::test_seed();
  const std::uint64_t round_trips = test::is_long_run() ? 50'000'000 : 100'000;
  stubbed_shard left, right;
  std::uint64_t value = 0;  // plain: the hand-shake alone orders the two sides
  std::thread other([&] {
    random_source random(seed, 1);
    for (std::uint64_t i = 0; i < round_trips; ++i) {
      right.wait(random);
      ++value;
      left.ring();
    }
  });
  random_source random(seed, 0);
  for (std::uint64_t i = 0; i < round_trips; ++i) {
    ++value;
    right.ring();
    left.wait(random);
  }
  other.join();
  EXPECT_EQ(value, 2 * round_trips);
  EXPECT_EQ(left.sleeps(), left.wakes());
  EXPECT_EQ(right.sleeps(), right.wakes());
  EXPECT_GT(left.sleeps() + right.sleeps(), 0u);
}

TEST(hand_shake, none_is_lost_through_the_kernel) {
  test_support::run_shards(2, []() -> task<> {
    random_source random(test_support::test_seed());
    const int round_trips = test::is_long_run() ? 500'000 : 2'000;
    for (int i = 0; i < round_trips; ++i) {
      const unsigned there = draw_pause(random);
      const unsigned back = co_await submit_to(
          1,
          [](unsigned steps) {
            pause_for(steps);
            return steps;
          },
          unsigned{there});
      EXPECT_EQ(back, there);
      pause_for(draw_pause(random));
    }
    auto wakes_received = [] { return this_shard().loop->stats().wakes_received; };
    const std::uint64_t wakes = wakes_received() + co_await submit_to(1, wakes_received);
    EXPECT_GT(wakes, 0u);
  });
}

}  // namespace
}  // namespace skerry
