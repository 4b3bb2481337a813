// SPDX-License-Identifier: Apache-2.0
/// parallel_for_each, max_concurrent_for_each, map and reduce: how many run, in which order, and what ends them.

#include <skerry/toolkit/generator/for_each.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <support/heap_count.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;

std::vector<int> count_up(int n) {
  std::vector<int> numbers(static_cast<std::size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

TEST(max_concurrent_for_each, runs_each_once_in_order_and_never_more_than_the_limit) {
  for (std::size_t limit : {1u, 2u, 7u, 100u, 1'000'000u}) {
    run_with_all_frames_back([limit]() -> task<> {
      const std::vector<int> numbers = count_up(100);
      std::vector<int> begun;
      std::size_t running = 0, most = 0;
      auto visit = [&](int n) -> task<> {
        begun.push_back(n);
        most = std::max(most, ++running);
        for (int i = 0; i < 200 + n % 3; ++i) co_await yield();
        --running;
      };
      co_await max_concurrent_for_each(numbers, limit, visit);
      EXPECT_EQ(begun, numbers);
      EXPECT_EQ(most, std::min<std::size_t>(limit, 100));
      EXPECT_EQ(running, 0u);
    });
  }
}

TEST(max_concurrent_for_each, a_range_without_a_name_is_kept_and_elements_may_be_changed) {
  run_with_all_frames_back([]() -> task<> {
    int sum = 0;
    task<> later = max_concurrent_for_each(count_up(10), 3, [&sum](int& n) -> task<> {
      co_await yield();
      sum += n;
    });
    co_await std::move(later);
    EXPECT_EQ(sum, 45);
    std::vector<int> numbers = count_up(4);
    co_await parallel_for_each(numbers, [](int& n) -> task<> {
      n *= 2;
      co_return;
    });
    EXPECT_EQ(numbers, (std::vector<int>{0, 2, 4, 6}));
    co_await parallel_for_each(std::vector<int>(), [](int) -> task<> {
      ADD_FAILURE();
      co_return;
    });
  });
}

TEST(parallel_for_each, all_run_at_a_time) {
  run_with_all_frames_back([]() -> task<> {
    std::vector<door> doors(50);
    tally seen;
    auto handle = spawn(
        [&]() -> task<> { co_await parallel_for_each(doors, [&](door& d) -> task<> { co_await pass(d, 1, seen); }); });
    while (seen.started < 50) co_await yield();
    for (door& d : doors) d.open();
    co_await handle;
    EXPECT_EQ(seen.finished, 50);
  });
}

TEST(max_concurrent_for_each, the_first_failure_ends_the_others_and_begins_no_more) {
  run_with_all_frames_back([]() -> task<> {
    std::vector<door> doors(10);
    tally seen;
    auto all = [&]() -> task<> {
      co_await max_concurrent_for_each(doors, 4, [&](door& d) -> task<> {
        if (&d == &doors[3]) {
          co_await fail_after(d, 9, seen);
        } else {
          co_await pass(d, 1, seen);
        }
      });
    };
    auto handle = spawn(failure_of(all()));
    while (seen.started < 4) co_await yield();
    doors[3].open();
    EXPECT_EQ(co_await handle, 9);
    EXPECT_EQ(seen.started, 4);
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(max_concurrent_for_each, a_cancel_ends_it_at_every_step) {
  for (int steps = 0; steps < 12; ++steps) {
    run_with_all_frames_back([steps]() -> task<> {
      std::vector<door> doors(3);
      doors[0].ajar = true;
      tally seen;
      auto handle = spawn([&]() -> task<> {
        co_await max_concurrent_for_each(doors, 2, [&](door& d) -> task<> { co_await pass(d, 1, seen); });
      });
      for (int i = 0; i < steps; ++i) co_await yield();
      handle.abort();
      EXPECT_TRUE(co_await ends_cancelled(handle));
      EXPECT_EQ(seen.running(), 0);
    });
  }
}

TEST(map, gives_results_in_the_order_of_the_elements) {
  run_with_all_frames_back([]() -> task<> {
    const std::vector<int> numbers = count_up(20);
    const std::vector<std::string> words = co_await map(numbers, 6, [](int n) -> task<std::string> {
      for (int i = 20; i > n; --i) co_await yield();
      co_return std::to_string(n);
    });
    EXPECT_EQ(words.size(), 20u);
    for (int n = 0; n < 20; ++n) EXPECT_EQ(words[static_cast<std::size_t>(n)], std::to_string(n));
    auto pointers =
        co_await map(count_up(3), 2, [](int n) -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(n); });
    EXPECT_EQ(*pointers[2], 2);
  });
}

TEST(reduce, combines_results_as_they_come) {
  run_with_all_frames_back([]() -> task<> {
    std::string order;
    const long sum = co_await reduce(
        count_up(4), 4,
        [](int n) -> task<int> {
          for (int i = 10; i > n; --i) co_await yield();
          co_return n;
        },
        100L,
        [&order](long so_far, int n) {
          order += static_cast<char>('0' + n);
          return so_far + n;
        });
    EXPECT_EQ(sum, 106);
    EXPECT_EQ(order, "3210");
  });
}

TEST(reduce, a_failure_leaves_and_a_cancel_ends_it) {
  run_with_all_frames_back([]() -> task<> {
    auto fails = []() -> task<> {
      co_await reduce(
          count_up(4), 2, [](int n) { return n == 2 ? fail_with<int>(8) : ready(n); }, 0,
          [](int a, int b) { return a + b; });
    };
    EXPECT_EQ(co_await failure_of(fails()), 8);
    std::vector<door> doors(3);
    tally seen;
    auto handle = spawn([&]() -> task<> { co_await map(doors, 3, [&](door& d) { return pass(d, 1, seen); }); });
    while (seen.started < 3) co_await yield();
    doors[1].open();
    handle.abort();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(max_concurrent_for_each, takes_nothing_from_the_heap) {
  run_with_all_frames_back([]() -> task<> {
    const std::vector<int> numbers = count_up(20);
    std::uint64_t before = 0;
    for (int i = 0; i < 20; ++i) {
      if (i == 1) before = heap_allocations();
      co_await max_concurrent_for_each(numbers, 5, [](int) { return yield(); });
      co_await parallel_for_each(numbers, [](int n) { return as_void(ready(n)); });
      co_await reduce(numbers, 5, [](int n) { return ready(n); }, 0, [](int a, int b) { return a + b; });
    }
    EXPECT_EQ(heap_allocations(), before);
  });
}

}  // namespace
}  // namespace skerry
