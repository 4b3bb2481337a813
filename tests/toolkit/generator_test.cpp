// SPDX-License-Identifier: Apache-2.0
/// Generators: items that are ready and items that are waited for, ends, failures and cancels between any two.

#include <skerry/framework/task/combine.hpp>
#include <skerry/toolkit/generator/generator.hpp>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <support/heap_count.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int many = 100'000;
#else
constexpr int many = 1'000'000;
#endif

generator<int> count_up(int end) {
  for (int i = 0; i < end; ++i) co_yield i;
}

generator<int> count_up_slowly(int end, tally& seen) {
  guard here(seen.destroyed);
  ++seen.started;
  for (int i = 0; i < end; ++i) {
    if (i % 2 == 0) co_await yield();
    co_yield i;
    if (i % 3 == 0) co_await yield();
  }
  ++seen.finished;
}

TEST(generator, gives_items_until_it_ends_and_null_for_ever_after) {
  run_with_all_frames_back([]() -> task<> {
    auto numbers = count_up(3);
    std::vector<int> seen;
    while (int* n = co_await numbers.next()) seen.push_back(*n);
    EXPECT_EQ(seen, (std::vector<int>{0, 1, 2}));
    EXPECT_EQ(co_await numbers.next(), nullptr);
  });
}

TEST(generator, may_wait_before_and_after_an_item) {
  run_with_all_frames_back([]() -> task<> {
    tally seen;
    auto numbers = count_up_slowly(10, seen);
    int expected = 0;
    for (auto it = co_await numbers.begin(); it != numbers.end(); co_await ++it) EXPECT_EQ(*it, expected++);
    EXPECT_EQ(expected, 10);
    EXPECT_EQ(seen.finished, 1);
    EXPECT_EQ(seen.destroyed, 1) << "the frame goes when the end has been seen";
  });
}

generator<std::unique_ptr<int>> pointers(int end) {
  for (int i = 0; i < end; ++i) co_yield std::make_unique<int>(i);
}

TEST(generator, an_item_is_a_reference_that_may_be_moved_from) {
  run_with_all_frames_back([]() -> task<> {
    std::vector<std::unique_ptr<int>> kept;
    auto all = pointers(3);
    while (auto* item = co_await all.next()) kept.push_back(std::move(*item));
    EXPECT_EQ(*kept[2], 2);
    int own = 1;
    auto refer = [](int& target) -> generator<int> {
      co_yield target;
      co_yield target;
    };
    auto same = refer(own);
    *co_await same.next() = 5;
    EXPECT_EQ(own, 5);
    auto constants = [](const std::string& text) -> generator<const std::string> { co_yield text; };
    auto texts = constants(std::string("a text that is not short"));
    (void)texts;
  });
}

TEST(generator, a_million_ready_items_use_neither_stack_nor_memory) {
  run_with_all_frames_back([]() -> task<> {
    auto numbers = count_up(many);
    co_await numbers.next();
    const std::uint64_t heap = heap_allocations();
    const std::size_t frames = frames_in_use();
    std::int64_t sum = 0;
    while (int* n = co_await numbers.next()) {
      sum += *n;
      if (*n == many - 1) {
        EXPECT_EQ(frames_in_use(), frames);
      }
    }
    EXPECT_EQ(sum, std::int64_t{many} * (many - 1) / 2);
    EXPECT_EQ(heap_allocations(), heap);
  });
}

generator<int> fails_after(int items, bool waits) {
  for (int i = 0; i < items; ++i) co_yield i;
  if (waits) co_await yield();
  throw failure(4);
}

TEST(generator, an_exception_leaves_through_next_and_ends_it) {
  for (bool waits : {false, true}) {
    run_with_all_frames_back([waits]() -> task<> {
      auto numbers = fails_after(2, waits);
      int items = 0;
      auto take_all = [&]() -> task<> {
        while (auto* item = co_await numbers.next()) items += *item >= 0;
      };
      EXPECT_EQ(co_await failure_of(take_all()), 4);
      EXPECT_EQ(items, 2);
      EXPECT_EQ(co_await numbers.next(), nullptr);
    });
  }
}

TEST(generator, dropped_between_items_or_before_the_first_it_is_destroyed) {
  run_with_all_frames_back([]() -> task<> {
    tally seen;
    {
      auto never_started = count_up_slowly(3, seen);
      auto numbers = count_up_slowly(3, seen);
      co_await numbers.next();
      auto moved = std::move(numbers);
      EXPECT_EQ(*co_await moved.next(), 1);
      EXPECT_EQ(co_await numbers.next(), nullptr);
      moved = count_up_slowly(1, seen);
      EXPECT_EQ(seen.destroyed, 1);
    }
    EXPECT_EQ(seen.started, 1);
    EXPECT_EQ(seen.finished, 0);
    EXPECT_EQ(seen.destroyed, 1);
  });
}

generator<int> items_of(door& d, tally& seen) {
  guard here(seen.destroyed);
  ++seen.started;
  for (int i = 0;; ++i) co_yield co_await pass(d, i, seen);
}

TEST(generator, a_cancelled_wait_inside_it_unwinds_it_with_its_caller) {
  for (bool late : {false, true}) {
    for (int opened : {0, 1, 2}) {
      run_with_all_frames_back([=]() -> task<> {
        door d;
        tally seen;
        auto handle = spawn([&]() -> task<> {
          auto numbers = items_of(d, seen);
          while (auto* item = co_await numbers.next()) EXPECT_GE(*item, 0);
        });
        co_await let_others_run();
        for (int i = 0; i < opened; ++i) {
          d.open();
          co_await let_others_run();
        }
        d.late = late;
        handle.abort();
        co_await let_others_run();
        if (late) {
          EXPECT_EQ(seen.running(), 2) << "nothing goes before the wait has acknowledged";
          d.open();
        }
        EXPECT_TRUE(co_await ends_cancelled(handle));
        EXPECT_EQ(seen.running(), 0);
        EXPECT_EQ(d.passed, opened);
      });
    }
  }
}

TEST(generator, an_item_that_comes_in_the_turn_of_the_cancel_is_given_and_the_next_wait_ends_it) {
  run_with_all_frames_back([]() -> task<> {
    door d;
    tally seen;
    int items = 0;
    auto handle = spawn([&]() -> task<> {
      auto numbers = items_of(d, seen);
      while (auto* item = co_await numbers.next()) items += *item >= 0;
    });
    co_await let_others_run();
    d.open();
    handle.abort();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(items, 1);
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(generator, one_whose_next_lost_a_select_has_ended) {
  run_with_all_frames_back([]() -> task<> {
    door d;
    tally seen;
    auto numbers = items_of(d, seen);
    co_await select(on(numbers.next(), [](int*) { ADD_FAILURE(); }), on(yield(), [] {}));
    EXPECT_EQ(seen.running(), 0);
    EXPECT_EQ(co_await numbers.next(), nullptr);
  });
}

TEST(generatorDeathTest, items_are_awaited_by_one_task_at_a_time) {
  EXPECT_DEATH(block_on([]() -> task<> {
                 door d;
                 tally seen;
                 auto numbers = items_of(d, seen);
                 auto first = spawn([&]() -> task<> { co_await numbers.next(); });
                 auto second = spawn([&]() -> task<> { co_await numbers.next(); });
                 co_await second;
               }),
               "a generator's items are awaited one at a time");
}

}  // namespace
}  // namespace skerry
