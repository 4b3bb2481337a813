// SPDX-License-Identifier: Apache-2.0
/// The calls beside submit_to: one-way messages, many shards at once, deadlines that cross.

#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/shards/sharded.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/flow/deadline.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>
#include <skerry/toolkit/flow/post_to.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <support/run_shards.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;
using std::chrono::hours;
using std::chrono::milliseconds;

/// What handlers saw; each test begins anew.
struct {
  std::atomic<int> count{0};
  std::atomic<bool> go{false};
  std::vector<int> order;  // shard 1's
} seen;

void begin_anew() {
  seen.count = 0;
  seen.go = false;
  seen.order.clear();
}

task<> until_seen(int count) {
  while (seen.count != count) co_await yield();
}

/// Handlers that wait until they may end.
task<> hold() {
  ++seen.count;
  while (!seen.go) co_await yield();
}

TEST(post_to, runs_there_in_order_with_submit_to_and_frees_its_memory) {
  begin_anew();
  run_shards(2, []() -> task<> {
    const std::size_t before = frames_in_use();
    for (int n = 0; n < 3000; ++n) {
      auto note = [](int m, std::unique_ptr<int> same) {
        EXPECT_EQ(m, *same);
        EXPECT_EQ(this_shard_id(), 1u);
        seen.order.push_back(m);
      };
      co_await post_to(1, note, n, std::make_unique<int>(n));
    }
    const std::size_t noted = co_await submit_to(1, [] { return seen.order.size(); });
    EXPECT_EQ(noted, 3000u) << "a call does not overtake";
    for (int n = 0; n < 3000; ++n) EXPECT_EQ(seen.order[static_cast<std::size_t>(n)], n);
    co_await detail::this_mailboxes().until_home();
    EXPECT_EQ(frames_in_use(), before);
  });
}

TEST(post_to, to_the_own_shard_has_run_when_it_goes_on) {
  begin_anew();
  run_shards(1, []() -> task<> {
    co_await post_to(0, [] { ++seen.count; });
    EXPECT_EQ(seen.count, 1);
    EXPECT_TRUE(try_post_to(0, [] { ++seen.count; }));
    EXPECT_EQ(seen.count, 2);
  });
}

TEST(post_to, a_full_outbox_suspends_until_a_handler_has_ended) {
  begin_anew();
  run_shards(3, []() -> task<> {
    for (std::uint64_t i = 0; i < posts_max; ++i) co_await post_to(1, [] { return hold(); });
    co_await until_seen(static_cast<int>(posts_max));
    EXPECT_FALSE(try_post_to(1, [] {}));
    EXPECT_TRUE(try_post_to(2, [] {})) << "another shard has an outbox of its own";
    auto waits = spawn([]() -> task<> { co_await post_to(1, [] { ++seen.count; }); });
    auto cancelled = spawn([]() -> task<> { co_await post_to(1, [] { ++seen.count; }); });
    co_await let_others_run();
    EXPECT_FALSE(waits.is_finished());
    cancelled.abort();
    EXPECT_TRUE(co_await ends_cancelled(cancelled));
    seen.go = true;
    co_await waits;
    co_await until_seen(static_cast<int>(posts_max) + 1);
    co_await detail::this_mailboxes().until_home();
    EXPECT_TRUE(try_post_to(1, [] {}));
  });
}

TEST(post_to, what_a_handler_throws_is_counted_on_the_target) {
  run_shards(2, []() -> task<> {
    auto errors = [] { return unseen_errors(); };
    const auto before = co_await submit_to(1, errors);
    co_await post_to(1, [] { throw std::runtime_error("expected in this test"); });
    co_await post_to(1, []() -> task<> {
      co_await yield();
      throw std::runtime_error("expected in this test, too");
    });
    co_await detail::this_mailboxes().until_home();
    EXPECT_EQ(co_await submit_to(1, errors), before + 2);
    EXPECT_EQ(unseen_errors(), 0u);
  });
}

TEST(post_to, the_end_of_an_app_waits_for_what_is_on_its_way) {
  begin_anew();
  run_shards(3, []() -> task<> {
    for (int i = 0; i < 500; ++i) co_await post_to(1 + static_cast<shard_id>(i % 2), [] { ++seen.count; });
  });
  EXPECT_EQ(seen.count, 500);
}

TEST(everywhere, all_others_results_and_reductions) {
  begin_anew();
  run_shards(4, []() -> task<> {
    co_await invoke_on_all([](int n) { seen.count += n; }, 1);
    EXPECT_EQ(seen.count, 4);
    co_await invoke_on_others(
        [](int n) -> task<> {
          co_await yield();
          EXPECT_NE(this_shard_id(), 0u);
          seen.count += n;
        },
        10);
    EXPECT_EQ(seen.count, 34);
    const std::vector<shard_id> ids = co_await map_all([] { return this_shard_id(); });
    EXPECT_THAT(ids, testing::ElementsAre(0, 1, 2, 3));
    auto letter = [](char first) {
      return std::string(1, static_cast<char>(first + static_cast<char>(this_shard_id())));
    };
    EXPECT_EQ(co_await map_reduce(letter, std::string(">"), std::plus<>(), 'a'), ">abcd") << "in order";
    co_await post_to_all([](int n) { seen.count += n; }, 100);
    co_await until_seen(434);
  });
}

TEST(everywhere, the_first_error_is_rethrown_when_all_are_back) {
  begin_anew();
  run_shards(3, []() -> task<> {
    auto fails = []() -> task<> {
      for (shard_id i = 3; i > this_shard_id(); --i) co_await yield();
      ++seen.count;
      throw failure(static_cast<int>(this_shard_id()));
    };
    EXPECT_EQ(co_await failure_of(invoke_on_all(fails)), 0);
    EXPECT_EQ(seen.count, 3);
    EXPECT_EQ(co_await failure_of(invoke_on_others(fails)), 1);
    EXPECT_EQ(seen.count, 5);
  });
}

TEST(everywhere, instances_of_the_other_shards) {
  run_shards(3, []() -> task<> {
    struct counter {
      int n = 0;
    };
    sharded<counter> all;
    co_await all.start();
    co_await invoke_on_others(all, [](counter& c, int n) { c.n += n; }, 5);
    const std::vector<int> counts = co_await all.map([](counter& c) { return c.n; });
    EXPECT_THAT(counts, testing::ElementsAre(0, 5, 5));
    co_await all.stop();
  });
}

TEST(deadline, a_task_that_takes_too_long_is_cancelled_on_its_own_shard) {
  begin_anew();
  run_shards(2, []() -> task<> {
    auto sleeps = []() -> task<int> {
      struct at_end {
        ~at_end() { ++seen.count; }
      } const mark;
      co_await sleep_for(hours(1));
      co_return 1;
    };
    bool late = false;
    try {
      co_await submit_to(by(clock::now() + milliseconds(5)), 1, sleeps);
    } catch (const timeout_error&) {
      late = true;
    }
    EXPECT_TRUE(late);
    EXPECT_EQ(seen.count, 1);
  });
}

TEST(deadline, what_comes_too_late_is_not_begun) {
  begin_anew();
  run_shards(2, []() -> task<> {
    const by past(clock::now());
    int late = 0;
    for (int round = 0; round < 2; ++round) {
      try {
        if (round == 0) co_await submit_to(past, 1, [] { ++seen.count; });
        if (round == 1)
          co_await submit_to(past, 1, []() -> task<> {
            ++seen.count;
            co_return;
          });
      } catch (const timeout_error&) {
        ++late;
      }
    }
    EXPECT_EQ(late, 2);
    EXPECT_EQ(seen.count, 0);
  });
}

TEST(deadline, in_time_it_is_submit_to) {
  run_shards(2, []() -> task<> {
    const by later(clock::now() + hours(1));
    EXPECT_EQ(co_await submit_to(later, 1, [](int n) { return n + 1; }, 1), 2);
    EXPECT_EQ(co_await submit_to(later, 1, [](by, int n) -> task<int> { co_return n + 1; }, later, 2), 3);
    auto fails = [later]() -> task<> { co_await submit_to(later, 1, []() -> task<> { return fail_now(4); }); };
    EXPECT_EQ(co_await failure_of(fails()), 4);
  });
}

TEST(scheduling_group, crosses_with_the_call) {
  run_shards(2, []() -> task<> {
    const auto batch = co_await submit_to(1, [] { return this_shard().ready->add_group("batch", 100); });
    EXPECT_EQ(this_shard().ready->add_group("batch", 100), batch);
    auto group = []() -> task<int> {
      co_await yield();
      co_return static_cast<int>(current_scheduling_group());
    };
    auto asked = spawn([group]() -> task<int> { co_return co_await submit_to(1, group); }, "batch", batch);
    EXPECT_EQ(co_await asked, static_cast<int>(batch));
    EXPECT_EQ(co_await submit_to(1, group), 0);
  });
}

TEST(scheduling_group, crosses_with_a_post) {
  begin_anew();
  run_shards(2, []() -> task<> {
    const auto batch = co_await submit_to(1, [] { return this_shard().ready->add_group("batch", 100); });
    EXPECT_EQ(this_shard().ready->add_group("batch", 100), batch);
    auto note = [](scheduling_group expected) -> task<> {
      EXPECT_EQ(current_scheduling_group(), expected) << "first step";
      co_await yield();
      EXPECT_EQ(current_scheduling_group(), expected);
      ++seen.count;
    };
    auto post_both = [note](scheduling_group mine) -> task<> {
      for (shard_id target = 0; target < 2; ++target) {
        co_await post_to(target, note, mine);
        EXPECT_TRUE(try_post_to(target, note, mine));
      }
    };
    co_await spawn([post_both, batch] { return post_both(batch); }, "batch", batch);
    co_await post_both(scheduling_group::main);
    co_await until_seen(8);
  });
}

}  // namespace
}  // namespace skerry
