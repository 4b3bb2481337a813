// SPDX-License-Identifier: Apache-2.0
/// Every local primitive's waiter is cancelled at each point where it can be suspended: nothing may be lost, and the
/// next waiter is served.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/shards/block_on.hpp>

#include <list>
#include <string>

#include <gtest/gtest.h>
#include <support/cancel_at_every_point.hpp>
#include <support/sync_cases.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace test_support;

using cases = testing::Types<mutex_case, shared_mutex_writer_case, shared_mutex_reader_case, semaphore_case,
                             condition_case, event_case, auto_reset_event_case, latch_case, gate_case>;
INSTANTIATE_TYPED_TEST_SUITE_P(local, cancel_at_every_point, cases);

/// A task that waits for the condition with the lock of `c`, and holds it over a turn.
struct shared_lock {
  mutex m;
  condition c;
  std::string out;
  task<> wait(char name) {
    units held = co_await m.lock();
    co_await c.wait(held);
    out += name;
    co_await yield();
  }
};

TEST(cancel, one_that_was_notified_and_waits_for_the_lock_notifies_the_next) {
  on_a_shard<shared_lock>([](shared_lock& s) -> task<> {
    auto first = spawn(s.wait('a'));
    auto second = spawn(s.wait('b'));
    co_await let_others_run();
    units held = co_await s.m.lock();
    s.c.notify_one();
    co_await let_others_run();
    first.abort();
    EXPECT_TRUE(co_await was_cancelled(first));
    held.release();
    co_await let_others_run();
    EXPECT_EQ(s.out, "b");
    EXPECT_FALSE(s.m.is_locked());
    co_await second;
  });
}

TEST(cancel, one_that_waits_for_a_condition_holds_no_lock) {
  on_a_shard<shared_lock>([](shared_lock& s) -> task<> {
    auto first = spawn(s.wait('a'));
    auto second = spawn(s.wait('b'));
    co_await let_others_run();
    first.abort();
    units held = co_await s.m.lock();
    EXPECT_TRUE(co_await was_cancelled(first));
    EXPECT_TRUE(s.m.is_locked());
    held.release();
    s.c.notify_one();
    co_await second;
    EXPECT_EQ(s.out, "b");
  });
}

TEST(cancel, a_pulse_lets_pass_who_waited_and_nobody_else) {
  on_a_shard<event_pulse_case>([](event_pulse_case& c) -> task<> {
    auto aborted = spawn(pass(c));
    auto waited = spawn(pass(c));
    co_await let_others_run();
    aborted.abort();
    c.serve();
    auto late = spawn(pass(c));
    co_await waited;
    EXPECT_TRUE(co_await was_cancelled(aborted));
    co_await let_others_run();
    EXPECT_FALSE(late.is_finished());
    c.serve();
    co_await late;
  });
}

}  // namespace
}  // namespace skerry
