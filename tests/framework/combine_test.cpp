// SPDX-License-Identifier: Apache-2.0
/// when_all, when_any and select: results, failures, and a cancel at every point where they can be suspended.

#include <skerry/framework/task/combine.hpp>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <support/heap_count.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;

task<> wait_at(door& d) { co_await d.wait(); }

TEST(when_all, gives_every_result_in_order_and_unit_for_none) {
  run_with_all_frames_back([]() -> task<> {
    int target = 1;
    auto refer = [&target]() -> task<int&> { co_return target; };
    auto unique = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(4); };
    door d;
    d.ajar = true;
    auto [two, nothing, reference, pointer, also_nothing] =
        co_await when_all(ready(2), wait_at(d), refer, unique(), yield());
    EXPECT_EQ(two, 2);
    EXPECT_EQ(nothing, unit());
    static_assert(std::is_same_v<decltype(also_nothing), unit>);
    reference.get() = 3;
    EXPECT_EQ(target, 3);
    EXPECT_EQ(*pointer, 4);
    EXPECT_EQ(d.passed, 1);
  });
}

TEST(when_all, branches_run_side_by_side) {
  run_with_all_frames_back([]() -> task<> {
    door first, second;
    tally seen;
    auto handle = spawn([&]() -> task<int> {
      auto [a, b] = co_await when_all(pass(first, 1, seen), pass(second, 2, seen));
      co_return a * 10 + b;
    });
    co_await let_others_run();
    EXPECT_EQ(seen.started, 2);
    second.open();
    co_await let_others_run();
    EXPECT_FALSE(handle.is_finished());
    first.open();
    EXPECT_EQ(co_await handle, 12);
  });
}

TEST(when_all, a_vector_of_tasks_gives_a_vector_of_results) {
  run_with_all_frames_back([]() -> task<> {
    std::vector<task<int>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(ready(i));
    const std::vector<int> results = co_await when_all(std::move(tasks));
    EXPECT_EQ(results, (std::vector<int>{0, 1, 2, 3, 4}));
    const std::vector<unit> none = co_await when_all(std::vector<task<>>());
    EXPECT_TRUE(none.empty());
  });
}

task<> two_of_three_fail(door& early, door& late, door& never, tally& seen) {
  co_await when_all(fail_after(late, 1, seen), fail_after(early, 2, seen), pass(never, 0, seen));
}

TEST(when_all, the_first_failure_is_rethrown_after_all_others_have_let_go) {
  run_with_all_frames_back([]() -> task<> {
    door early, late, never;
    never.late = true;
    tally seen;
    auto handle = spawn(failure_of(two_of_three_fail(early, late, never, seen)));
    co_await let_others_run();
    early.open();
    co_await let_others_run();
    EXPECT_EQ(late.let_go_calls, 1);
    EXPECT_EQ(never.let_go_calls, 1);
    EXPECT_EQ(seen.destroyed, 2);
    EXPECT_FALSE(handle.is_finished()) << "a branch has not acknowledged yet";
    never.open();
    EXPECT_EQ(co_await handle, 2);
    EXPECT_EQ(seen.destroyed, 3);
    EXPECT_EQ(seen.finished, 1);
    EXPECT_EQ(unseen_errors(), 0u);
  });
}

TEST(when_all, failures_of_one_turn_are_counted_but_for_the_first) {
  run_with_all_frames_back([]() -> task<> {
    door early, late, never;
    tally seen;
    auto handle = spawn(failure_of(two_of_three_fail(early, late, never, seen)));
    co_await let_others_run();
    late.open();
    early.open();
    EXPECT_EQ(co_await handle, 1);
    EXPECT_EQ(unseen_errors(), 1u);
    EXPECT_EQ(seen.destroyed, 3);
  });
}

TEST(when_all, a_failure_in_a_vector_ends_the_others) {
  run_with_all_frames_back([]() -> task<> {
    door never;
    auto all = [&]() -> task<> {
      std::vector<task<>> tasks;
      tasks.push_back(wait_at(never));
      tasks.push_back(fail_now(6));
      co_await when_all(std::move(tasks));
    };
    EXPECT_EQ(co_await failure_of(all()), 6);
    EXPECT_EQ(never.let_go_calls, 1);
  });
}

task<> all_of_two(door& a, door& b, tally& seen) { co_await when_all(pass(a, 1, seen), pass(b, 2, seen)); }
task<> all_of_vector(door& a, door& b, tally& seen) {
  std::vector<task<int>> tasks;
  tasks.push_back(pass(a, 1, seen));
  tasks.push_back(pass(b, 2, seen));
  co_await when_all(std::move(tasks));
}
task<> any_of_two(door& a, door& b, tally& seen) { co_await when_any(pass(a, 1, seen), pass(b, 2, seen)); }
task<> any_of_vector(door& a, door& b, tally& seen) {
  std::vector<task<int>> tasks;
  tasks.push_back(pass(a, 1, seen));
  tasks.push_back(pass(b, 2, seen));
  co_await when_any(std::move(tasks));
}
task<> select_of_two(door& a, door& b, tally& seen) {
  auto ignore = [](int) {};
  co_await select(on(pass(a, 1, seen), ignore), on(pass(b, 2, seen), ignore));
}

using two_doors = task<> (*)(door&, door&, tally&);
class cancelled : public testing::TestWithParam<two_doors> {};
INSTANTIATE_TEST_SUITE_P(every, cancelled,
                         testing::Values(&all_of_two, &all_of_vector, &any_of_two, &any_of_vector, &select_of_two));

/// Runs `wait`, lets `steps` steps pass, then aborts it.
void cancel_after(two_doors wait, int steps, bool late) {
  run_with_all_frames_back([=]() -> task<> {
    door a, b;
    a.late = late;
    tally seen;
    auto handle = spawn(wait(a, b, seen));
    for (int i = 0; i < steps; ++i) co_await yield();
    handle.abort();
    co_await let_others_run();
    if (late) {
      EXPECT_FALSE(handle.is_finished()) << "a branch has not acknowledged yet";
      EXPECT_EQ(seen.running(), 1);
      a.open();
    }
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(seen.finished, 0);
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST_P(cancelled, before_it_starts) { cancel_after(GetParam(), 0, false); }
TEST_P(cancelled, before_its_branches_start) { cancel_after(GetParam(), 1, false); }
TEST_P(cancelled, while_its_branches_wait) { cancel_after(GetParam(), 8, false); }
TEST_P(cancelled, while_one_branch_acknowledges_late) { cancel_after(GetParam(), 8, true); }

TEST_P(cancelled, in_the_step_that_begins_to_wait) {
  run_with_all_frames_back([wait = GetParam()]() -> task<> {
    door a, b;
    tally seen;
    join_handle<> handle;
    handle = spawn([&]() -> task<> {
      handle.abort();
      co_await wait(a, b, seen);
      ADD_FAILURE() << "went on after a cancelled wait";
    });
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(seen.started, 0);
  });
}

TEST_P(cancelled, in_the_turn_in_which_all_branches_complete) {
  run_with_all_frames_back([wait = GetParam()]() -> task<> {
    door a, b;
    tally seen;
    auto handle = spawn(wait(a, b, seen));
    co_await let_others_run();
    a.open();
    b.open();
    handle.abort();
    EXPECT_TRUE(co_await ends_cancelled(handle)) << "the caller itself was still waiting";
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST_P(cancelled, after_its_last_branch_has_ended_it_goes_on) {
  run_with_all_frames_back([wait = GetParam()]() -> task<> {
    door a, b;
    a.ajar = b.ajar = true;
    tally seen;
    auto handle = spawn(wait(a, b, seen));
    while (seen.destroyed < 2) co_await yield();
    EXPECT_FALSE(handle.is_finished());
    handle.abort();
    co_await handle;
  });
}

TEST_P(cancelled, never_when_it_is_not_awaited) {
  run_with_all_frames_back([wait = GetParam()]() -> task<> {
    door a, b;
    tally seen;
    {
      task<> never = wait(a, b, seen);
      auto neither = when_all(pass(a, 1, seen), pass(b, 1, seen));
    }
    EXPECT_EQ(seen.started, 0);
    co_return;
  });
}

TEST(when_any, gives_the_first_after_the_others_have_let_go) {
  run_with_all_frames_back([]() -> task<> {
    door never, opened, also_never;
    never.late = true;
    tally seen;
    auto handle = spawn([&]() -> task<std::size_t> {
      auto [first, results] = co_await when_any(pass(never, 1, seen), pass(opened, 2, seen), wait_at(also_never));
      EXPECT_FALSE(std::get<0>(results).has_value());
      EXPECT_EQ(std::get<1>(results), 2);
      EXPECT_FALSE(std::get<2>(results).has_value());
      co_return first;
    });
    co_await let_others_run();
    opened.open();
    co_await let_others_run();
    EXPECT_EQ(also_never.let_go_calls, 1);
    EXPECT_FALSE(handle.is_finished()) << "a branch has not acknowledged yet";
    EXPECT_EQ(seen.destroyed, 1);
    never.open();
    EXPECT_EQ(co_await handle, 1u);
    EXPECT_EQ(seen.destroyed, 2);
    EXPECT_EQ(seen.finished, 1);
  });
}

TEST(when_any, what_completes_in_the_same_turn_is_not_lost) {
  run_with_all_frames_back([]() -> task<> {
    door a, b;
    auto unique = [&](door& d, int n) -> task<std::unique_ptr<int>> {
      co_await d.wait();
      co_return std::make_unique<int>(n);
    };
    auto handle = spawn([&]() -> task<> {
      auto [first, results] = co_await when_any(unique(a, 1), unique(b, 2));
      EXPECT_EQ(first, 1u);
      EXPECT_EQ(**std::get<0>(results), 1);
      EXPECT_EQ(**std::get<1>(results), 2);
    });
    co_await let_others_run();
    b.open();
    a.open();
    co_await handle;
  });
}

TEST(when_any, a_branch_that_has_not_started_never_runs) {
  run_with_all_frames_back([]() -> task<> {
    door d;
    tally seen;
    auto [first, results] = co_await when_any(ready(5), pass(d, 1, seen));
    EXPECT_EQ(first, 0u);
    EXPECT_EQ(std::get<0>(results), 5);
    EXPECT_EQ(seen.started, 0);
  });
}

TEST(when_any, a_vector_gives_the_index_and_what_completed) {
  run_with_all_frames_back([]() -> task<> {
    door never;
    tally seen;
    std::vector<task<int>> tasks;
    tasks.push_back(pass(never, 1, seen));
    tasks.push_back(ready(7));
    tasks.push_back(ready(8));
    auto [first, results] = co_await when_any(std::move(tasks));
    EXPECT_EQ(first, 1u);
    EXPECT_EQ(results, (std::vector<std::optional<int>>{std::nullopt, 7, std::nullopt}));
  });
}

TEST(when_any, the_first_may_be_a_failure_and_a_late_failure_is_counted) {
  run_with_all_frames_back([]() -> task<> {
    door a, b, never;
    tally seen;
    auto any = [&]() -> task<> {
      co_await when_any(fail_after(a, 1, seen), fail_after(b, 2, seen), pass(never, 3, seen));
    };
    auto handle = spawn(failure_of(any()));
    co_await let_others_run();
    b.open();
    a.open();
    EXPECT_EQ(co_await handle, 2);
    EXPECT_EQ(unseen_errors(), 1u);
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(when_any, a_failure_while_the_caller_is_cancelled_is_counted) {
  run_with_all_frames_back([]() -> task<> {
    door a, never;
    tally seen;
    auto handle = spawn([&]() -> task<> { co_await when_any(fail_after(a, 1, seen), pass(never, 3, seen)); });
    co_await let_others_run();
    a.open();
    handle.abort();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(unseen_errors(), 1u);
  });
}

TEST(select, runs_the_handler_of_the_first_and_gives_its_result) {
  run_with_all_frames_back([]() -> task<> {
    door never;
    tally seen;
    const long result = co_await select(on(pass(never, 1, seen), [](int) { return 1; }),
                                        on(ready(20),
                                           [](int n) -> task<long> {
                                             co_await yield();
                                             co_return n + 1;
                                           }),
                                        on(yield(), [] { return 3; }));
    EXPECT_EQ(result, 21);
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(select, a_loser_whose_wait_is_over_takes_nothing) {
  run_with_all_frames_back([]() -> task<> {
    door a, b;
    std::string ran;
    auto handle = spawn(
        [&]() -> task<> { co_await select(on(a.wait(), [&] { ran += 'a'; }), on(b.wait(), [&] { ran += 'b'; })); });
    co_await let_others_run();
    b.open();
    a.open();
    co_await handle;
    EXPECT_EQ(ran, "b");
    EXPECT_EQ(b.passed, 1);
    EXPECT_EQ(a.passed, 0) << "what the loser would have got stays where it was";
  });
}

TEST(select, a_failure_runs_no_handler) {
  run_with_all_frames_back([]() -> task<> {
    door never;
    tally seen;
    auto choose = [&]() -> task<> {
      co_await select(on(pass(never, 1, seen), [](int) { ADD_FAILURE(); }), on(fail_now(4), [] { ADD_FAILURE(); }));
    };
    EXPECT_EQ(co_await failure_of(choose()), 4);
  });
}

TEST(select, a_handler_that_waits_is_cancelled_with_the_caller) {
  run_with_all_frames_back([]() -> task<> {
    door in_handler;
    tally seen;
    auto handle = spawn([&]() -> task<int> {
      co_return co_await select(on(ready(1), [&](int n) { return pass(in_handler, n, seen); }));
    });
    co_await let_others_run();
    EXPECT_TRUE(in_handler.waited_for());
    handle.abort();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(combining, takes_nothing_from_the_heap) {
  run_with_all_frames_back([]() -> task<> {
    door never;
    tally seen;
    std::uint64_t before = 0;
    for (int i = 0; i < 100; ++i) {
      if (i == 1) before = heap_allocations();
      co_await when_all(ready(1), ready(2), yield());
      co_await when_any(pass(never, 1, seen), ready(2));
      co_await select(on(pass(never, 1, seen), [](int) {}), on(ready(2), [](int) {}));
    }
    EXPECT_EQ(heap_allocations(), before);
  });
}

}  // namespace
}  // namespace skerry
