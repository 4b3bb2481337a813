// SPDX-License-Identifier: Apache-2.0
/// work_deque: against a std::deque, and against thieves. It links no layer.

#include <skerry/framework/random.hpp>
#include <skerry/toolkit/pool/work_deque.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <support/long_test.hpp>
#include <support/test_seed.hpp>

namespace skerry::detail {
namespace {

TEST(work_deque, one_thread_sees_a_deque_with_a_bound) {
  random_source random(test_support::test_seed());
  work_deque<int, 8> tested;
  std::deque<int*> model;
  std::vector<int> items(100'000);
  for (int& item : items) {
    switch (random.uniform(4)) {
      case 0:
      case 1: {
        const bool fits = model.size() < tested.capacity;
        ASSERT_EQ(tested.push(item), fits);
        if (fits) model.push_back(&item);
        break;
      }
      case 2:
        ASSERT_EQ(tested.pop(), model.empty() ? nullptr : model.back());
        if (!model.empty()) model.pop_back();
        break;
      default:
        ASSERT_EQ(tested.steal(), model.empty() ? nullptr : model.front());
        if (!model.empty()) model.pop_front();
    }
    ASSERT_EQ(tested.looks_empty(), model.empty());
  }
}

/// Each item is taken once, by whomever; and whoever steals sees what the owner wrote into it. The owner draws how many
/// it pushes before it pops, so that most of the time the deque is about empty, where owner and thieves meet.
template <std::size_t Capacity>
void fight_over_items(std::uint64_t seed, int rounds) {
  struct item {
    int written = 0;  // by the owner, before the push
    std::atomic<int> taken{0};
  };
  work_deque<item, Capacity> tested;
  std::vector<item> items(static_cast<std::size_t>(rounds));
  std::atomic<bool> over{false};
  auto take = [](item& got) {
    EXPECT_EQ(got.written, 1);
    got.taken.fetch_add(1, std::memory_order_relaxed);
  };
  std::vector<std::thread> thieves;
  for (int i = 0; i < 2; ++i) {
    thieves.emplace_back([&] {
      while (!over.load(std::memory_order_relaxed)) {
        if (item* got = tested.steal()) take(*got);
      }
    });
  }
  random_source random(seed);
  for (std::size_t next = 0; next < items.size();) {
    for (std::uint64_t count = random.uniform(4); count > 0 && next < items.size(); --count) {
      items[next].written = 1;
      if (!tested.push(items[next])) break;
      ++next;
    }
    for (std::uint64_t count = random.uniform(4); count > 0; --count) {
      if (item* got = tested.pop()) take(*got);
    }
  }
  while (item* got = tested.pop()) take(*got);
  over.store(true);
  for (std::thread& each : thieves) each.join();
  EXPECT_EQ(std::ranges::count_if(items, [](const item& each) { return each.taken.load() != 1; }), 0);
}

TEST(work_deque, each_item_goes_to_exactly_one_thread) {
  const std::uint64_t seed = test_support::test_seed();
  fight_over_items<1024>(seed, test::rounds(2'000'000));
  fight_over_items<2>(seed + 1, test::rounds(2'000'000));
}

}  // namespace
}  // namespace skerry::detail
