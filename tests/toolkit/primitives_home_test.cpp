// SPDX-License-Identifier: Apache-2.0
/// Local primitives, touched on another shard than the one that made them: each operation stops the process and names
/// the task.

#include <skerry/framework/sync/event.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/channel/broadcast.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/channel/oneshot.hpp>
#include <skerry/toolkit/sync/gate.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using test_support::run_shards;

constexpr const char* refused = "only on the shard that made it\n.*shard 1, task \"submit_to\"";

/// Calls `Touch` on shard `where` with a T of shard 0.
template <class T, class Touch>
void touch_on(shard_id where) {
  run_shards(2, [where]() -> task<> {
    const auto made = std::make_unique<T>();
    const auto touch = [](borrowed<T> theirs) -> task<> {
      if constexpr (detail::any_task<std::invoke_result_t<Touch&, T&>>) {
        co_await Touch{}(*theirs);
      } else {
        static_cast<void>(Touch{}(*theirs));
      }
    };
    co_await submit_to(where, touch, borrowed(*made));
  });
}

/// Each of the operations is right at home and refused elsewhere.
template <class T, class... Touch>
void expect_refused_elsewhere(Touch...) {
  (touch_on<T, Touch>(0), ...);
  const auto refuse = []<class One>(std::type_identity<One>) { EXPECT_DEATH((touch_on<T, One>(1)), refused); };
  (refuse(std::type_identity<Touch>()), ...);
}

TEST(home, of_an_event) {
  expect_refused_elsewhere<event>([](event& theirs) { theirs.set(); }, [](event& theirs) { theirs.reset(); },
                                  [](event& theirs) { return theirs.is_set(); });
  struct set_event : event {
    set_event() { set(); }
  };
  expect_refused_elsewhere<set_event>([](event& theirs) -> task<> { co_await theirs.wait(); });
}

TEST(home, of_an_auto_reset_event) {
  struct set_event : auto_reset_event {
    set_event() { set(); }
  };
  expect_refused_elsewhere<auto_reset_event>([](auto_reset_event& theirs) { theirs.set(); },
                                             [](auto_reset_event& theirs) { return theirs.try_wait(); });
  expect_refused_elsewhere<set_event>([](auto_reset_event& theirs) { theirs.set(); },
                                      [](auto_reset_event& theirs) -> task<> { co_await theirs.wait(); });
}

struct two : semaphore {
  two() : semaphore(2) {}
};

TEST(home, of_a_semaphore) {
  expect_refused_elsewhere<two>([](two& theirs) -> task<> { const units held = co_await theirs.acquire(); },
                                [](two& theirs) { return theirs.try_acquire().has_value(); },
                                [](two& theirs) { theirs.add(1); }, [](two& theirs) { return theirs.available(); });
}

/// Units of a semaphore, given back elsewhere.
struct held_units : two {
  std::optional<units> held = try_acquire();
};

TEST(home, of_units) {
  expect_refused_elsewhere<held_units>([](held_units& theirs) { theirs.held->release(); },
                                       [](held_units& theirs) { theirs.held.reset(); });
}

TEST(home, of_a_mutex) {
  expect_refused_elsewhere<mutex>([](mutex& theirs) -> task<> { const units held = co_await theirs.lock(); },
                                  [](mutex& theirs) { return theirs.try_lock().has_value(); },
                                  [](mutex& theirs) { return theirs.is_locked(); });
}

TEST(home, of_a_shared_mutex) {
  expect_refused_elsewhere<shared_mutex>(
      [](shared_mutex& theirs) -> task<> { const units held = co_await theirs.lock(); },
      [](shared_mutex& theirs) -> task<> { const units held = co_await theirs.lock_shared(); },
      [](shared_mutex& theirs) { return theirs.try_lock().has_value(); },
      [](shared_mutex& theirs) { return theirs.try_lock_shared().has_value(); });
}

/// With a lock of the shard that waits, so that the condition is what is refused.
task<> wait_with_own_lock(condition& theirs, bool alone) {
  mutex own;
  units held = co_await own.lock();
  if (!alone) co_await theirs.wait(held);
}

TEST(home, of_a_condition) {
  expect_refused_elsewhere<condition>(
      [](condition& theirs) { theirs.notify_one(); }, [](condition& theirs) { theirs.notify_all(); },
      [](condition& theirs) { return wait_with_own_lock(theirs, this_shard_id() == 0); });
}

task<> nothing() { co_return; }

TEST(home, of_once) {
  expect_refused_elsewhere<once>([](once& theirs) { return theirs.call(nothing); },
                                 [](once& theirs) { return theirs.is_done(); });
  const auto when_done = [](shard_id where) {
    run_shards(2, [where]() -> task<> {
      once made;
      co_await made.call(nothing);
      co_await submit_to(where, [](borrowed<once> theirs) { return theirs->call(nothing); }, borrowed(made));
    });
  };
  when_done(0);
  EXPECT_DEATH(when_done(1), refused);
}

struct of_two : latch {
  of_two() : latch(2) {}
};

TEST(home, of_a_latch) {
  struct open : latch {
    open() : latch(0) {}
  };
  expect_refused_elsewhere<of_two>([](of_two& theirs) { theirs.count_down(); },
                                   [](of_two& theirs) { return theirs.try_wait(); });
  expect_refused_elsewhere<open>([](latch& theirs) -> task<> { co_await theirs.wait(); });
}

TEST(home, of_a_barrier) {
  struct for_one : barrier {
    for_one() : barrier(1) {}
  };
  expect_refused_elsewhere<for_one>([](barrier& theirs) -> task<> { co_await theirs.arrive_and_wait(); });
}

TEST(home, of_a_gate) {
  struct closed : gate {
    closed() { static_cast<void>(close()); }
  };
  expect_refused_elsewhere<gate>([](gate& theirs) { return theirs.enter() != nullptr; },
                                 [](gate& theirs) { return theirs.try_enter().has_value(); },
                                 [](gate& theirs) { return theirs.is_closed(); },
                                 [](gate& theirs) -> task<> { co_await theirs.close(); });
  expect_refused_elsewhere<closed>([](gate& theirs) { return theirs.try_enter().has_value(); },
                                   [](gate& theirs) -> task<> { co_await theirs.close(); });
  struct inside : gate {
    gate::holder held = enter();
  };
  expect_refused_elsewhere<inside>([](inside& theirs) { theirs.held.reset(); },
                                   [](inside& theirs) {  // nobody waits, nothing opens: a mark is all that is made
                                     static_cast<void>(theirs.close());
                                   });
}

struct ints : channel<int> {
  ints() : channel(4) { static_cast<void>(try_send(1)); }
};

TEST(home, of_a_channel) {
  expect_refused_elsewhere<ints>(
      [](ints& theirs) -> task<> { co_await theirs.send(2); }, [](ints& theirs) { return theirs.try_send(2); },
      [](ints& theirs) -> task<> { co_await theirs.recv(); }, [](ints& theirs) { return theirs.try_recv(); },
      [](ints& theirs) { theirs.close(); }, [](ints& theirs) { return theirs.size(); },
      [](ints& theirs) { return theirs.is_closed(); }, [](ints& theirs) { return theirs.is_drained(); });
}

TEST(home, of_a_channel_that_was_closed) {
  struct closed : ints {
    closed() { close(); }
  };
  expect_refused_elsewhere<closed>(
      [](ints& theirs) -> task<> { co_await theirs.send(2); }, [](ints& theirs) { return theirs.try_send(2); },
      [](ints& theirs) -> task<> { co_await theirs.recv(); }, [](ints& theirs) { theirs.close(); });
}

struct answer : oneshot<int> {
  std::optional<oneshot_sender<int>> to = sender();
};

TEST(home, of_a_oneshot) {
  struct answered : answer {
    answered() { to->send(1); }
  };
  expect_refused_elsewhere<answer>(
      [](answer& theirs) { theirs.to->send(1); }, [](answer& theirs) { theirs.to.reset(); },
      [](answer& theirs) { return theirs.try_recv(); }, [](answer& theirs) { return theirs.is_finished(); });
  expect_refused_elsewhere<answered>([](answer& theirs) { return theirs.try_recv(); },
                                     [](answer& theirs) -> task<> { co_await theirs.recv(); });
}

struct news : broadcast<int> {
  news() : broadcast(2) { send(1); }
  struct heard;
};
struct news::heard : news {
  std::optional<receiver> mine{std::in_place, *this};
  heard() { send(2); }
};

TEST(home, of_a_broadcast) {
  expect_refused_elsewhere<news>([](news& theirs) { return theirs.send(2); }, [](news& theirs) { theirs.close(); },
                                 [](news& theirs) { const news::receiver mine(theirs); });
  using heard = news::heard;
  expect_refused_elsewhere<heard>([](heard& theirs) -> task<> { co_await theirs.mine->recv(); },
                                  [](heard& theirs) { return theirs.mine->try_recv(); },
                                  [](heard& theirs) { return theirs.mine->size(); },
                                  [](heard& theirs) { theirs.mine.reset(); });
}

struct level : watch<int> {
  level() : watch(1) {}
};
struct seen_level : level {
  std::optional<receiver> mine{std::in_place, *this};
  seen_level() { set(2); }
};

TEST(home, of_a_watch) {
  expect_refused_elsewhere<level>([](level& theirs) { theirs.set(2); }, [](level& theirs) { return theirs.get(); },
                                  [](level& theirs) { theirs.close(); },
                                  [](level& theirs) { const level::receiver mine(theirs); });
  expect_refused_elsewhere<seen_level>([](seen_level& theirs) -> task<> { co_await theirs.mine->changed(); },
                                       [](seen_level& theirs) { return theirs.mine->has_changed(); },
                                       [](seen_level& theirs) { return theirs.mine->get(); },
                                       [](seen_level& theirs) { theirs.mine.reset(); });
}

}  // namespace
}  // namespace skerry
