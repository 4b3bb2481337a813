// SPDX-License-Identifier: Apache-2.0
/// Tasks, their handles and the states of a chain, on a shard of their own.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/waiting.hpp>

namespace skerry {
namespace {

constexpr std::uint64_t many = 10'000'000;

using test_support::door;
using test_support::guard;

struct record {
  int started = 0;
  int finished = 0;
  int destroyed = 0;
};

task<> pass(door& g, record& seen) {
  guard here(seen.destroyed);
  ++seen.started;
  co_await g.wait();
  ++seen.finished;
}

task<> pass_nested(door& g, record& outer, record& inner) {
  guard here(outer.destroyed);
  ++outer.started;
  co_await pass(g, inner);
  ++outer.finished;
}

task<std::uint64_t> ready(std::uint64_t n) { co_return n; }

task<int> fails() {
  throw std::runtime_error("as it should");
  co_return 0;
}

template <class T>
task<bool> join_says_cancelled(join_handle<T>& handle) {
  try {
    co_await handle;
  } catch (const std::system_error& error) {
    co_return error.code() == std::errc::operation_canceled;
  }
  co_return false;
}

task<> let_others_run() {
  for (int i = 0; i < 4; ++i) co_await yield();
}

TEST(task, millions_of_awaits_that_are_ready_do_not_grow_the_stack) {
  const std::uint64_t sum = block_on([]() -> task<std::uint64_t> {
    std::uint64_t total = 0;
    for (std::uint64_t i = 0; i < many; ++i) total += co_await ready(i);
    co_return total;
  });
  EXPECT_EQ(sum, many * (many - 1) / 2);
}

TEST(task, frame_memory_is_reused_over_many_awaits) {
  block_on([]() -> task<> {
    co_await ready(1);
    const std::size_t before = this_shard().loop->frames().bytes_reserved();
    const std::size_t in_use = this_shard().loop->frames().in_use();
    for (std::uint64_t i = 0; i < 100'000; ++i) co_await ready(i);
    EXPECT_EQ(this_shard().loop->frames().bytes_reserved(), before);
    EXPECT_EQ(this_shard().loop->frames().in_use(), in_use);
  });
}

task<int> descend(int depth) {
  if (depth == 0) {
    co_await yield();
    co_return 0;
  }
  co_return 1 + co_await descend(depth - 1);
}

TEST(task, a_deep_chain_that_waited_hands_over_frame_by_frame) { EXPECT_EQ(block_on(descend(1000)), 1000); }

TEST(task, an_exception_leaves_through_co_await) {
  EXPECT_TRUE(block_on([]() -> task<bool> {
    try {
      co_await fails();
    } catch (const std::runtime_error& error) {
      co_return std::string(error.what()) == "as it should";
    }
    co_return false;
  }));
  EXPECT_THROW(block_on(fails()), std::runtime_error);
}

task<> yield_then_throw() {
  co_await yield();
  throw std::logic_error("late");
}

TEST(task, an_exception_after_a_wait_leaves_through_co_await) {
  EXPECT_THROW(block_on(yield_then_throw()), std::logic_error);
}

TEST(task, results_may_be_moved_only_and_references) {
  block_on([]() -> task<> {
    auto make = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
    EXPECT_EQ(*co_await make(), 7);
    int target = 1;
    auto refer = [&target]() -> task<int&> { co_return target; };
    (co_await refer()) = 5;
    EXPECT_EQ(target, 5);
  });
}

TEST(spawn, a_task_starts_from_the_run_queue_and_its_result_is_joined) {
  block_on([]() -> task<> {
    bool ran = false;
    auto handle = spawn([&ran]() -> task<int> {
      ran = true;
      co_return 3;
    });
    EXPECT_FALSE(ran);
    EXPECT_FALSE(handle.is_finished());
    EXPECT_EQ(co_await handle, 3);
    EXPECT_TRUE(ran);
    EXPECT_TRUE(handle.is_finished());
  });
}

task<> write(std::string& out, char c) {
  out += c;
  co_return;
}

TEST(spawn, a_joiner_goes_on_behind_who_was_ready_before_it) {
  block_on([]() -> task<> {
    std::string out;
    auto first = spawn(write(out, 'a'));
    auto second = spawn(write(out, 'b'));
    co_await first;
    out += '1';
    co_await second;
    co_await spawn(write(out, 'c'));
    out += '2';
    EXPECT_EQ(out, "ab1c2");
  });
}

TEST(spawn, joining_a_task_that_ended_long_ago_gives_its_result) {
  block_on([]() -> task<> {
    auto handle = spawn(ready(9));
    co_await let_others_run();
    EXPECT_TRUE(handle.is_finished());
    EXPECT_EQ(co_await handle, 9u);
  });
}

TEST(spawn, joining_rethrows_and_does_not_count_the_exception) {
  block_on([]() -> task<> {
    auto handle = spawn(fails());
    bool thrown = false;
    try {
      co_await handle;
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    handle = {};
    EXPECT_TRUE(thrown);
    EXPECT_EQ(this_shard().loop->stats().unseen_errors, 0u);
  });
}

TEST(spawn, an_exception_that_nobody_awaits_is_counted_once) {
  block_on([]() -> task<> {
    {
      auto dropped_first = spawn(fails(), "dropped before it ran");
    }
    co_await let_others_run();
    EXPECT_EQ(this_shard().loop->stats().unseen_errors, 1u);
    {
      auto dropped_last = spawn(fails(), "dropped after it ran");
      co_await let_others_run();
    }
    EXPECT_EQ(this_shard().loop->stats().unseen_errors, 2u);
  });
}

TEST(spawn, dropping_the_handle_leaves_the_task_running) {
  block_on([]() -> task<> {
    door g;
    record seen;
    {
      auto dropped = spawn(pass(g, seen));
    }
    co_await let_others_run();
    EXPECT_TRUE(g.waited_for());
    g.open();
    co_await let_others_run();
    EXPECT_EQ(seen.finished, 1);
    EXPECT_EQ(seen.destroyed, 1);
  });
}

TEST(spawn, frames_and_nodes_are_all_given_back) {
  block_on([]() -> task<> {
    const std::size_t before = this_shard().loop->frames().in_use();
    for (int i = 0; i < 100; ++i) {
      auto joined = spawn(ready(1));
      auto aborted = spawn(ready(2));
      auto dropped = spawn(ready(3));
      aborted.abort();
      co_await joined;
    }
    co_await let_others_run();
    EXPECT_EQ(this_shard().loop->frames().in_use(), before);
  });
}

task<int> holds(std::unique_ptr<guard> held, door* g) {
  if (g != nullptr) co_await g->wait();
  co_return held != nullptr ? 7 : 0;
}

TEST(spawn, what_a_task_holds_goes_when_it_ends_and_not_when_it_is_joined) {
  block_on([]() -> task<> {
    int destroyed = 0;
    const std::size_t before = this_shard().loop->frames().in_use();
    auto handle = spawn(holds(std::make_unique<guard>(destroyed), nullptr));
    co_await let_others_run();
    EXPECT_TRUE(handle.is_finished());
    EXPECT_EQ(destroyed, 1);
    EXPECT_EQ(this_shard().loop->frames().in_use(), before + 1) << "the node with the result";
    EXPECT_EQ(co_await handle, 7);
  });
}

TEST(spawn, what_a_function_has_captured_goes_when_its_task_ends) {
  block_on([]() -> task<> {
    int destroyed = 0;
    auto captured = std::make_shared<guard>(destroyed);
    auto function = [captured]() -> task<int> {
      co_await yield();
      co_return captured != nullptr ? 7 : 0;
    };
    auto handle = spawn(std::move(function));
    captured.reset();
    co_await yield();
    EXPECT_EQ(destroyed, 0);
    co_await let_others_run();
    EXPECT_TRUE(handle.is_finished());
    EXPECT_EQ(destroyed, 1);
    EXPECT_EQ(co_await handle, 7);
  });
}

task<int> sees_them_gone(door& g, const int& destroyed) {
  const int result = co_await holds(std::make_unique<guard>(const_cast<int&>(destroyed)), &g);
  co_return result * 10 + destroyed;
}

TEST(task, arguments_are_destroyed_before_the_caller_goes_on) {
  block_on([]() -> task<> {
    door g;
    int destroyed = 0;
    auto handle = spawn(sees_them_gone(g, destroyed));
    co_await let_others_run();
    EXPECT_EQ(destroyed, 0);
    g.open();
    EXPECT_EQ(co_await handle, 71);
  });
}

TEST(task, a_task_that_is_never_awaited_gives_its_frame_back) {
  block_on([]() -> task<> {
    int destroyed = 0;
    const std::size_t before = this_shard().loop->frames().in_use();
    {
      task<int> never = holds(std::make_unique<guard>(destroyed), nullptr);
    }
    EXPECT_EQ(destroyed, 1);
    EXPECT_EQ(this_shard().loop->frames().in_use(), before);
    co_return;
  });
}

TEST(cancel, an_unstarted_task_never_runs) {
  block_on([]() -> task<> {
    door g;
    record seen;
    auto handle = spawn(pass(g, seen));
    handle.abort();
    EXPECT_FALSE(handle.is_finished());
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_EQ(seen.started, 0);
  });
}

TEST(cancel, a_running_task_that_finishes_without_waiting_keeps_its_result) {
  block_on([]() -> task<> {
    join_handle<int> handle;
    handle = spawn([&handle]() -> task<int> {
      handle.abort();
      co_return 4;
    });
    EXPECT_EQ(co_await handle, 4);
  });
}

TEST(cancel, a_running_task_ends_at_its_next_suspension) {
  block_on([]() -> task<> {
    door g;
    record seen;
    join_handle<> handle;
    handle = spawn([&]() -> task<> {
      handle.abort();
      co_await pass(g, seen);
      ADD_FAILURE() << "went on after a cancelled wait";
    });
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_EQ(seen.started, 1);
    EXPECT_EQ(seen.finished, 0);
    EXPECT_EQ(seen.destroyed, 1);
    EXPECT_EQ(g.let_go_calls, 1);
  });
}

TEST(cancel, yield_is_a_cancellation_point_for_a_running_task) {
  block_on([]() -> task<> {
    join_handle<> handle;
    handle = spawn([&]() -> task<> {
      handle.abort();
      co_await yield();
      ADD_FAILURE() << "went on after a cancelled yield";
    });
    EXPECT_TRUE(co_await join_says_cancelled(handle));
  });
}

TEST(cancel, a_suspended_chain_is_destroyed_with_all_its_frames) {
  block_on([]() -> task<> {
    door g;
    record outer, inner;
    auto handle = spawn(pass_nested(g, outer, inner));
    co_await let_others_run();
    EXPECT_TRUE(g.waited_for());
    handle.abort();
    EXPECT_EQ(inner.destroyed, 0) << "abort must not destroy frames itself";
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_EQ(outer.destroyed, 1);
    EXPECT_EQ(inner.destroyed, 1);
    EXPECT_EQ(outer.finished + inner.finished, 0);
  });
}

TEST(cancel, a_queued_task_whose_wait_is_over_completes) {
  block_on([]() -> task<> {
    door g;
    record seen;
    auto handle = spawn(pass(g, seen));
    co_await let_others_run();
    g.open();
    handle.abort();
    co_await handle;
    EXPECT_EQ(seen.finished, 1);
    EXPECT_EQ(g.let_go_calls, 0);
  });
}

TEST(cancel, a_queued_task_that_waits_again_ends_there) {
  block_on([]() -> task<> {
    door first, second;
    int between = 0;
    auto handle = spawn([&]() -> task<> {
      co_await first.wait();
      ++between;
      co_await second.wait();
      ADD_FAILURE() << "went on after a cancelled wait";
    });
    co_await let_others_run();
    first.open();
    handle.abort();
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_EQ(between, 1);
  });
}

/// Asks its own task to end once it has suspended.
struct ends_itself final : detail::leaf {
  explicit ends_itself(join_handle<>& own) noexcept : self(own) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    self.abort();
    suspended = true;
  }
  void await_resume() const noexcept {}
  void let_go() noexcept override {
    EXPECT_TRUE(suspended) << "asked before it waits for anything";
    wake();
  }
  const char* describe() const noexcept override { return "its own end"; }

  join_handle<>& self;
  bool suspended = false;
};

TEST(cancel, a_task_that_ends_itself_while_it_suspends_is_asked_after_the_step) {
  block_on([]() -> task<> {
    join_handle<> handle;
    record seen;
    handle = spawn([&]() -> task<> {
      guard here(seen.destroyed);
      co_await ends_itself(handle);
      ++seen.finished;
    });
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_EQ(seen.destroyed, 1);
    EXPECT_EQ(seen.finished, 0);
  });
}

TEST(cancel, frames_live_until_the_leaf_has_acknowledged) {
  block_on([]() -> task<> {
    door g;
    g.late = true;
    record seen;
    auto handle = spawn(pass(g, seen));
    co_await let_others_run();
    handle.abort();
    handle.abort();
    co_await let_others_run();
    EXPECT_EQ(g.let_go_calls, 1) << "a second cancel must do nothing";
    EXPECT_EQ(seen.destroyed, 0);
    EXPECT_FALSE(handle.is_finished());
    g.open();
    handle.abort();
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_EQ(seen.finished, 0);
    EXPECT_EQ(seen.destroyed, 1);
  });
}

TEST(cancel, a_task_that_is_done_keeps_its_result) {
  block_on([]() -> task<> {
    auto handle = spawn(ready(6));
    co_await let_others_run();
    handle.abort();
    EXPECT_EQ(co_await handle, 6u);
  });
}

TEST(cancel, a_cancelled_joiner_leaves_the_task_alone) {
  block_on([]() -> task<> {
    door g;
    record seen;
    auto joined = spawn(pass(g, seen));
    auto joiner = spawn([&joined]() -> task<> { co_await joined; });
    co_await let_others_run();
    joiner.abort();
    EXPECT_TRUE(co_await join_says_cancelled(joiner));
    EXPECT_TRUE(g.waited_for());
    g.open();
    co_await joined;
    EXPECT_EQ(seen.finished, 1);
  });
}

TEST(cancel, no_catch_block_sees_a_cancellation) {
  block_on([]() -> task<> {
    door g;
    bool caught = false;
    auto handle = spawn([&]() -> task<> {
      try {
        co_await g.wait();
      } catch (...) {
        caught = true;
      }
    });
    co_await let_others_run();
    handle.abort();
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_FALSE(caught);
  });
}

TEST(cancel, what_main_left_behind_is_cancelled_at_the_end_of_block_on) {
  door g;
  record seen;
  block_on([&]() -> task<> {
    {
      auto dropped = spawn(pass(g, seen));
    }
    co_await let_others_run();
  });
  EXPECT_EQ(seen.started, 1);
  EXPECT_EQ(seen.finished, 0);
  EXPECT_EQ(seen.destroyed, 1);
}

task<> write_thrice(std::string& out, char name) {
  for (int i = 0; i < 3; ++i) {
    out += name;
    co_await yield();
  }
}

TEST(yield, tasks_take_turns_in_the_order_they_were_spawned) {
  block_on([]() -> task<> {
    std::string out;
    auto a = spawn(write_thrice(out, 'a'));
    auto b = spawn(write_thrice(out, 'b'));
    auto c = spawn(write_thrice(out, 'c'));
    co_await a;
    co_await b;
    co_await c;
    EXPECT_EQ(out, "abcabcabc");
  });
}

TEST(yield, maybe_yield_lets_others_run_within_the_time_slice) {
  block_on([]() -> task<> {
    bool stop = false;
    auto other = spawn([&stop]() -> task<> {
      stop = true;
      co_return;
    });
    while (!stop) co_await maybe_yield();
    co_await other;
  });
}

TEST(scope, cancel_ends_every_task_and_until_empty_waits_for_the_last) {
  block_on([]() -> task<> {
    scope group;
    std::vector<door> gates(5);
    gates[2].late = true;
    record seen;
    for (door& g : gates) detail::spawn_in(group, pass(g, seen), "member", scheduling_group::main);
    co_await let_others_run();
    EXPECT_EQ(group.size(), 5u);
    group.cancel();
    EXPECT_TRUE(group.closing());
    EXPECT_EQ(seen.destroyed, 0);
    co_await let_others_run();
    EXPECT_EQ(group.size(), 1u);
    auto late = spawn([&]() -> task<> {
      gates[2].open();
      co_return;
    });
    co_await group.until_empty();
    EXPECT_TRUE(group.empty());
    EXPECT_EQ(seen.destroyed, 5);
    EXPECT_EQ(seen.finished, 0);
    EXPECT_EQ(group.added_total(), 5u);
    co_await late;
  });
}

TEST(scope, a_task_that_comes_while_the_scope_closes_never_runs) {
  block_on([]() -> task<> {
    scope group;
    door g, unused;
    g.late = true;
    record first, second;
    detail::spawn_in(group, pass(g, first), "first", scheduling_group::main);
    co_await let_others_run();
    group.cancel();
    auto handle = detail::spawn_in(group, pass(unused, second), "second", scheduling_group::main);
    EXPECT_TRUE(co_await join_says_cancelled(handle));
    EXPECT_EQ(second.started, 0);
    g.open();
    co_await group.until_empty();
  });
}

}  // namespace
}  // namespace skerry
