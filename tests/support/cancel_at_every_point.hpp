// SPDX-License-Identifier: Apache-2.0
#pragma once

/// cancel_at_every_point: a suite for whatever a task can wait for: a waiter is cancelled at each point where it can be
/// suspended, nothing is lost, and the next waiter is served.
///
/// A case (tests/support/sync_cases.hpp, channel_cases.hpp) is one such thing with wait() and what serves it:
///
///     INSTANTIATE_TYPED_TEST_SUITE_P(channels, cancel_at_every_point, cases)
///
/// In one source of a program.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/shards/block_on.hpp>

#include <cstddef>
#include <list>

#include <gtest/gtest.h>
#include <support/task_steps.hpp>

namespace skerry::test_support {

template <class Case>
task<> pass(Case& c) {
  (void)co_await when_suspended([&c] { return c.wait(); }, [] {});
}

template <class Case>
class cancel_at_every_point : public testing::Test {};
TYPED_TEST_SUITE_P(cancel_at_every_point);

/// Runs `body(case)` on a shard and holds it against the frames it leaves behind.
template <class Case, class Body>
void on_a_shard(Body body) {
  block_on([&]() -> task<> {
    const std::size_t before = this_shard().loop->frames().in_use();
    {
      Case c;
      co_await body(c);
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), before);
  });
}

template <class Case>
task<> expect_served(Case& c, join_handle<>& next) {
  co_await let_others_run();
  if (!next.is_finished()) c.serve();
  co_await next;
}

TYPED_TEST_P(cancel_at_every_point, while_it_waits) {
  on_a_shard<TypeParam>([](TypeParam& c) -> task<> {
    auto first = spawn(pass(c));
    auto second = spawn(pass(c));
    co_await let_others_run();
    EXPECT_FALSE(first.is_finished());
    first.abort();
    EXPECT_TRUE(co_await was_cancelled(first));
    EXPECT_FALSE(second.is_finished());
    c.serve();
    co_await let_others_run();
    EXPECT_TRUE(second.is_finished()) << "what was there went to one that is gone";
    co_await second;
  });
}

TYPED_TEST_P(cancel_at_every_point, and_what_it_waits_for_comes_in_the_same_turn) {
  on_a_shard<TypeParam>([](TypeParam& c) -> task<> {
    auto first = spawn(pass(c));
    auto second = spawn(pass(c));
    co_await let_others_run();
    first.abort();
    c.serve();
    EXPECT_TRUE(co_await was_cancelled(first));
    co_await let_others_run();
    EXPECT_TRUE(second.is_finished()) << "what was there went to one that is gone";
    co_await second;
  });
}

TYPED_TEST_P(cancel_at_every_point, after_it_was_woken_and_it_completes) {
  on_a_shard<TypeParam>([](TypeParam& c) -> task<> {
    auto first = spawn(pass(c));
    auto second = spawn(pass(c));
    co_await let_others_run();
    c.serve();
    first.abort();
    EXPECT_FALSE(co_await was_cancelled(first));
    co_await expect_served(c, second);
  });
}

TYPED_TEST_P(cancel_at_every_point, after_it_was_woken_and_it_is_destroyed) {
  on_a_shard<TypeParam>([](TypeParam& c) -> task<> {
    join_handle<> first;
    first = spawn([&]() -> task<> {
      first.abort();
      (void)co_await when_suspended([&c] { return c.wait(); }, [&c] { c.serve(); });
      ADD_FAILURE() << "went on after a cancelled wait";
    });
    auto second = spawn(pass(c));  // comes while the reservation is on its way
    EXPECT_TRUE(co_await was_cancelled(first));
    co_await let_others_run();
    EXPECT_TRUE(second.is_finished()) << "the reservation of one that is gone was not passed on";
    co_await second;
  });
}

TYPED_TEST_P(cancel_at_every_point, when_many_wait_and_every_second_one_goes) {
  on_a_shard<TypeParam>([](TypeParam& c) -> task<> {
    std::list<join_handle<>> tasks;
    for (int i = 0; i < 20; ++i) tasks.push_back(spawn(pass(c)));
    co_await let_others_run();
    int i = 0;
    for (auto& each : tasks) {
      if (i++ % 2 == 0) each.abort();
    }
    i = 0;
    for (auto& each : tasks) {
      if (i++ % 2 == 0) {
        EXPECT_TRUE(co_await was_cancelled(each));
      } else {
        co_await expect_served(c, each);
      }
    }
  });
}

REGISTER_TYPED_TEST_SUITE_P(cancel_at_every_point, while_it_waits, and_what_it_waits_for_comes_in_the_same_turn,
                            after_it_was_woken_and_it_completes, after_it_was_woken_and_it_is_destroyed,
                            when_many_wait_and_every_second_one_goes);

}  // namespace skerry::test_support
