// SPDX-License-Identifier: Apache-2.0
/// What local primitives promise when nobody is cancelled, what they cost in memory, and how misuse is reported.
/// Cancellation: sync_cancel_test; at random: sync_model_test.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/sync/gate.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <support/heap_count.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace test_support;

/// Waits for what `wait()` gives, writes its name and keeps what it got over a turn.
template <class Wait>
task<> note(std::string& out, char name, Wait wait) {
  [[maybe_unused]] auto held = co_await wait();
  out += name;
  co_await yield();
}

template <class Wait>
task<> note_passing(std::string& out, char name, Wait wait) {
  co_await wait();
  out += name;
}

task<> join_all(std::vector<join_handle<>> tasks) {
  for (auto& each : tasks) co_await each;
}

TEST(mutex, is_held_by_one_at_a_time_in_the_order_they_came) {
  block_on([]() -> task<> {
    mutex m;
    std::string out;
    int inside = 0;
    std::vector<join_handle<>> tasks;
    for (char name : {'a', 'b', 'c', 'd'}) {
      tasks.push_back(spawn([&, name]() -> task<> {
        units held = co_await m.lock();
        EXPECT_EQ(++inside, 1);
        co_await yield();
        --inside;
        out += name;
      }));
    }
    co_await join_all(std::move(tasks));
    EXPECT_EQ(out, "abcd");
    EXPECT_FALSE(m.is_locked());
  });
}

TEST(mutex, a_newcomer_does_not_overtake_one_that_was_woken) {
  block_on([]() -> task<> {
    mutex m;
    std::string out;
    std::optional<units> held = m.try_lock();
    EXPECT_FALSE(m.try_lock());
    auto waits = spawn(note(out, 'w', [&] { return m.lock(); }));
    co_await let_others_run();
    held->release();
    EXPECT_FALSE(m.try_lock()) << "it is reserved";
    units mine = co_await m.lock();
    EXPECT_EQ(out, "w");
  });
}

TEST(mutex, a_ready_lock_does_not_let_others_run) {
  block_on([]() -> task<> {
    mutex m;
    semaphore s(1);
    bool ran = false;
    auto other = spawn([&]() -> task<> {
      ran = true;
      co_return;
    });
    for (int i = 0; i < 1000; ++i) {
      units lock = co_await m.lock();
      units unit = co_await s.acquire();
    }
    EXPECT_FALSE(ran);
    co_await other;
  });
}

TEST(units, move_with_their_guard_and_are_given_back_once) {
  block_on([]() -> task<> {
    semaphore s(3);
    units a = co_await s.acquire(2);
    units b = std::move(a);
    EXPECT_EQ(a.count(), 0u);
    EXPECT_EQ(b.count(), 2u);
    EXPECT_EQ(s.available(), 1u);
    b = co_await s.acquire();
    EXPECT_EQ(s.available(), 2u);
    b.release();
    EXPECT_FALSE(b);
    EXPECT_EQ(s.available(), 3u);
  });
}

TEST(semaphore, who_wants_many_is_not_overtaken_by_who_wants_few) {
  block_on([]() -> task<> {
    semaphore s(4);
    std::string out;
    units held = co_await s.acquire(3);
    auto many = spawn(note(out, 'm', [&] { return s.acquire(2); }));
    auto few = spawn(note(out, 'f', [&] { return s.acquire(1); }));
    co_await let_others_run();
    EXPECT_EQ(out, "") << "one unit is free, but the first wants two";
    EXPECT_FALSE(s.try_acquire());
    held.release();
    co_await many;
    co_await few;
    EXPECT_EQ(out, "mf");
  });
}

TEST(semaphore, those_behind_one_that_goes_are_served) {
  block_on([]() -> task<> {
    semaphore s(4);
    std::string out;
    units held = co_await s.acquire(3);
    auto many = spawn(note(out, 'm', [&] { return s.acquire(2); }));
    auto few = spawn(note(out, 'f', [&] { return s.acquire(1); }));
    co_await let_others_run();
    many.abort();
    co_await let_others_run();
    EXPECT_TRUE(few.is_finished());
    held.release();
    co_await few;
    EXPECT_EQ(out, "f");
  });
}

TEST(semaphore, units_can_be_made_later) {
  block_on([]() -> task<> {
    semaphore s(0);
    std::string out;
    auto waits = spawn(note(out, 'w', [&] { return s.acquire(2); }));
    co_await let_others_run();
    s.add(1);
    co_await let_others_run();
    EXPECT_EQ(out, "");
    s.add(1);
    co_await waits;
    EXPECT_EQ(s.available(), 2u);
  });
}

TEST(shared_mutex, readers_share_and_queue_behind_a_writer_that_waits) {
  block_on([]() -> task<> {
    shared_mutex m;
    std::string out;
    std::optional<units> reader = m.try_lock_shared();
    EXPECT_TRUE(m.try_lock_shared());
    EXPECT_FALSE(m.try_lock());
    auto writer = spawn(note(out, 'w', [&] { return m.lock(); }));
    co_await let_others_run();
    EXPECT_FALSE(m.try_lock_shared()) << "a writer waits";
    auto second = spawn(note(out, 'r', [&] { return m.lock_shared(); }));
    auto third = spawn(note(out, 's', [&] { return m.lock_shared(); }));
    co_await let_others_run();
    EXPECT_EQ(out, "");
    reader.reset();
    co_await writer;
    co_await yield();
    EXPECT_EQ(out, "wrs") << "both readers in one turn";
    co_await second;
    co_await third;
    EXPECT_TRUE(m.try_lock());
  });
}

TEST(condition, notify_wakes_who_waits_longest_with_the_lock) {
  block_on([]() -> task<> {
    mutex m;
    condition c;
    std::string out;
    auto wait = [&](char name) -> task<> {
      units held = co_await m.lock();
      co_await c.wait(held);
      EXPECT_TRUE(held && m.is_locked());
      out += name;
      co_await yield();
    };
    std::vector<join_handle<>> tasks;
    for (char name : {'a', 'b', 'c', 'd'}) tasks.push_back(spawn(wait(name)));
    c.notify_one();  // nobody waits yet: nothing
    co_await let_others_run();
    EXPECT_FALSE(m.is_locked());
    c.notify_one();
    co_await let_others_run();
    EXPECT_EQ(out, "a");
    units held = co_await m.lock();
    c.notify_all();
    co_await let_others_run();
    EXPECT_EQ(out, "a") << "the lock is taken";
    held.release();
    co_await join_all(std::move(tasks));
    EXPECT_EQ(out, "abcd");
  });
}

TEST(event, stays_set_until_it_is_reset) {
  block_on([]() -> task<> {
    event e;
    std::string out;
    auto a = spawn(note_passing(out, 'a', [&] { return e.wait(); }));
    auto b = spawn(note_passing(out, 'b', [&] { return e.wait(); }));
    co_await let_others_run();
    e.set();
    co_await e.wait();
    EXPECT_EQ(out, "") << "a wait for what is so already lets nobody run";
    e.reset();
    EXPECT_FALSE(e.is_set());
    co_await a;
    co_await b;
    EXPECT_EQ(out, "ab");
  });
}

TEST(event, may_go_as_soon_as_it_is_set) {
  block_on([]() -> task<> {
    auto e = std::make_unique<event>();
    auto l = std::make_unique<latch>(1);
    std::string out;
    auto a = spawn(note_passing(out, 'a', [&] { return e->wait(); }));
    auto b = spawn(note_passing(out, 'b', [&] { return l->wait(); }));
    co_await let_others_run();
    e->set();
    l->count_down();
    e.reset();
    l.reset();
    co_await a;
    co_await b;
    EXPECT_EQ(out, "ab");
  });
}

TEST(auto_reset_event, each_set_lets_one_pass_and_unused_sets_are_one) {
  block_on([]() -> task<> {
    auto_reset_event e;
    e.set();
    e.set();
    EXPECT_TRUE(e.try_wait());
    EXPECT_FALSE(e.try_wait());
    std::string out;
    auto a = spawn(note_passing(out, 'a', [&] { return e.wait(); }));
    auto b = spawn(note_passing(out, 'b', [&] { return e.wait(); }));
    co_await let_others_run();
    e.set();
    co_await let_others_run();
    EXPECT_EQ(out, "a");
    e.set();
    co_await b;
    co_await a;
  });
}

TEST(auto_reset_event, a_reservation_that_comes_back_beside_a_later_set_is_one_with_it) {
  block_on([]() -> task<> {
    auto_reset_event e;
    join_handle<> gone;
    gone = spawn([&]() -> task<> {
      gone.abort();
      co_await when_suspended([&] { return e.wait(); }, [&] { e.set(); });
    });
    co_await yield();
    e.set();
    EXPECT_TRUE(co_await was_cancelled(gone));
    EXPECT_TRUE(e.try_wait());
    EXPECT_FALSE(e.try_wait());
  });
}

TEST(latch, opens_for_good_at_zero) {
  block_on([]() -> task<> {
    latch l(3);
    std::string out;
    auto a = spawn(note_passing(out, 'a', [&] { return l.wait(); }));
    l.count_down(2);
    co_await let_others_run();
    EXPECT_FALSE(l.try_wait());
    EXPECT_EQ(out, "");
    l.count_down();
    co_await a;
    co_await l.wait();
    latch none(0);
    co_await none.wait();
  });
}

TEST(barrier, opens_each_time_all_have_come) {
  block_on([]() -> task<> {
    barrier b(3);
    std::string out;
    auto go = [&](char name) -> task<> {
      for (int phase = 0; phase < 3; ++phase) {
        out += name;
        co_await b.arrive_and_wait();
      }
    };
    auto x = spawn(go('x'));
    auto y = spawn(go('y'));
    auto z = spawn(go('z'));
    co_await x;
    co_await y;
    co_await z;
    EXPECT_EQ(out.size(), 9u);
    for (std::size_t phase = 0; phase < 9; phase += 3) {
      std::string sorted = out.substr(phase, 3);
      std::ranges::sort(sorted);
      EXPECT_EQ(sorted, "xyz") << out;
    }
  });
}

TEST(barrier, an_arrival_that_is_cancelled_is_withdrawn) {
  block_on([]() -> task<> {
    barrier b(3);
    std::string out;
    auto wait = [&] { return b.arrive_and_wait(); };
    auto gone = spawn(note_passing(out, 'g', wait));
    auto stays = spawn(note_passing(out, 's', wait));
    co_await let_others_run();
    gone.abort();
    auto third = spawn(note_passing(out, 't', wait));
    EXPECT_TRUE(co_await was_cancelled(gone));
    co_await let_others_run();
    EXPECT_EQ(out, "");
    co_await b.arrive_and_wait();
    EXPECT_EQ(out, "") << "the last one does not wait";
    co_await stays;
    co_await third;
    EXPECT_EQ(out, "st");
  });
}

TEST(barrier, one_that_is_cancelled_after_the_phase_takes_nothing_back) {
  block_on([]() -> task<> {
    barrier b(2);
    std::string out;
    join_handle<> gone;
    auto partner = b.arrive_and_wait();
    gone = spawn([&]() -> task<> {
      gone.abort();
      co_await when_suspended([&] { return b.arrive_and_wait(); }, [&] { EXPECT_TRUE(partner.await_ready()); });
    });
    EXPECT_TRUE(co_await was_cancelled(gone));
    auto a = spawn(note_passing(out, 'a', [&] { return b.arrive_and_wait(); }));
    co_await let_others_run();
    EXPECT_EQ(out, "") << "the next phase needs two";
    co_await b.arrive_and_wait();
    co_await a;
  });
}

TEST(gate, close_refuses_newcomers_and_waits_for_those_inside) {
  block_on([]() -> task<> {
    gate g;
    std::string out;
    std::optional<gate::holder> first = g.enter();
    gate::holder second = g.enter();
    gate::holder moved = std::move(second);
    auto a = spawn(note_passing(out, 'a', [&] { return g.close(); }));
    auto b = spawn(note_passing(out, 'b', [&] { return g.close(); }));
    co_await let_others_run();
    EXPECT_TRUE(g.is_closed());
    EXPECT_FALSE(g.try_enter());
    EXPECT_THROW((void)g.enter(), gate_closed);
    first.reset();
    co_await let_others_run();
    EXPECT_EQ(out, "");
    {
      gate::holder last = std::move(moved);
    }
    co_await a;
    co_await b;
    co_await g.close();
  });
}

TEST(once, is_done_by_the_first_that_succeeds) {
  block_on([]() -> task<> {
    once o;
    event go;
    std::string out;
    auto init = [&](char name, bool fails) {
      return [&out, &go, name, fails]() -> task<> {
        out += name;
        co_await go.wait();
        if (fails) throw std::runtime_error("not yet");
      };
    };
    auto cancelled = spawn(o.call(init('c', false)));
    auto failing = spawn(o.call(init('f', true)));
    auto succeeding = spawn(o.call(init('s', false)));
    auto idle = spawn(o.call(init('i', false)));
    co_await let_others_run();
    EXPECT_EQ(out, "c");
    cancelled.abort();
    EXPECT_TRUE(co_await was_cancelled(cancelled));
    co_await let_others_run();
    EXPECT_EQ(out, "cf");
    EXPECT_FALSE(o.is_done());
    go.set();
    bool thrown = false;
    try {
      co_await failing;
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    co_await succeeding;
    co_await idle;
    EXPECT_TRUE(o.is_done());
    co_await o.call(init('x', false));
    EXPECT_EQ(out, "cfs");
  });
}

TEST(sync, waiting_and_passing_on_allocates_nothing) {
  block_on([]() -> task<> {
    mutex m;
    semaphore s(2);
    shared_mutex rw;
    auto_reset_event e;
    barrier b(3);
    condition c;
    auto worker = [&]() -> task<> {
      for (int i = 0; i < 100; ++i) {
        {
          units held = co_await m.lock();
          co_await yield();
          units two = co_await s.acquire(2);
        }
        {
          units reading = co_await rw.lock_shared();
          co_await yield();
        }
        {
          units writing = co_await rw.lock();
        }
        e.set();
        co_await e.wait();
        {
          units held = co_await m.lock();
          c.notify_all();
          if (i % 3 != 0) c.notify_one();
        }
        co_await b.arrive_and_wait();
      }
    };
    for (int round = 0;; ++round) {
      const std::uint64_t before = heap_allocations();
      auto x = spawn(worker());
      auto y = spawn(worker());
      auto z = spawn(worker());
      co_await x;
      co_await y;
      co_await z;
      if (round == 0) continue;  // fills the frame pool
      EXPECT_EQ(heap_allocations(), before);
      break;
    }
  });
}

void unlock_twice() {
  block_on([]() -> task<> {
    mutex m;
    units held = co_await m.lock();
    held.release();
    held.release();
  });
}
void destroy_a_locked_mutex() {
  block_on([]() -> task<> {
    auto m = std::make_unique<mutex>();
    units held = co_await m->lock();
    m.reset();
  });
}
template <class Owner, class Wait>
void destroy_with_a_waiter(Wait wait) {
  block_on([wait]() -> task<> {
    auto owner = std::make_unique<Owner>();
    auto waits = spawn([&]() -> task<> { co_await wait(*owner); });
    co_await let_others_run();
    owner.reset();
  });
}
void destroy_a_semaphore_with_units_out() {
  block_on([]() -> task<> {
    auto s = std::make_unique<semaphore>(3);
    units held = co_await s->acquire();
    s.reset();
  });
}
void destroy_a_gate_with_holders() {
  block_on([]() -> task<> {
    auto g = std::make_unique<gate>();
    auto inside = g->enter();
    g.reset();
    co_return;
  });
}
void wait_for_a_condition_without_the_lock() {
  block_on([]() -> task<> {
    condition c;
    units nothing;
    co_await c.wait(nothing);
  });
}
void count_a_latch_past_zero() {
  block_on([]() -> task<> {
    latch l(1);
    l.count_down(2);
    co_return;
  });
}
void use_from_another_shard() {
  run_shards(2, []() -> task<> {
    mutex m;
    co_await submit_to(1, [](borrowed<mutex> there) { (void)there->try_lock(); }, borrowed(m));
  });
}

TEST(sync_death, misuse_names_what_is_wrong_and_the_task) {
  EXPECT_DEATH(unlock_twice(), "only what is held can be given back.*task \"");
  EXPECT_DEATH(destroy_a_locked_mutex(), "mutex must be unlocked.*task \"");
  EXPECT_DEATH(destroy_a_semaphore_with_units_out(), "must outlive the units.*task \"");
  EXPECT_DEATH(destroy_a_gate_with_holders(), "gate must be empty.*task \"");
  EXPECT_DEATH(wait_for_a_condition_without_the_lock(), "with the lock held.*task \"");
  EXPECT_DEATH(count_a_latch_past_zero(), "not past it.*task \"");
  EXPECT_DEATH(destroy_with_a_waiter<event>([](event& e) { return e.wait(); }), "must outlive their wait.*task \"");
  EXPECT_DEATH(destroy_with_a_waiter<auto_reset_event>([](auto_reset_event& e) { return e.wait(); }),
               "must outlive their wait.*task \"");
  EXPECT_DEATH(use_from_another_shard(), "only on the shard that made it.*shard 1");
}

}  // namespace
}  // namespace skerry
