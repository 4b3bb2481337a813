// SPDX-License-Identifier: Apache-2.0
/// What the core has of a shard, and what waits on its lists, touched on another: local primitives stop the process in
/// every build, spawned tasks, timers and cancel sources in debug builds. The task that touches is named.

#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/toolkit/sync/gate.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using test_support::run_shards;

/// Runs `touch` on shard `where` with what was made on shard 0.
template <class T, class Touch>
void touch_on(shard_id where, T (*make)(), Touch) {
  run_shards(2, [where, make]() -> task<> {
    T owned = make();
    co_await submit_to(where, [](borrowed<T> theirs) -> task<> { co_await Touch{}(*theirs); }, borrowed(owned));
  });
}

std::string told(const char* rule) { return std::string(rule) + "\n.*shard 1, task \"submit_to\""; }

TEST(core_home, latches_and_gates_are_used_on_the_shard_that_made_them) {
  const std::string where = told("only on the shard that made it");
  using latches = std::unique_ptr<latch>;
  const auto make_latch = [] { return std::make_unique<latch>(2u); };
  const auto count = [](latches& theirs) -> task<> {
    theirs->count_down();
    co_return;
  };
  touch_on<latches>(0, make_latch, count);
  EXPECT_DEATH(touch_on<latches>(1, make_latch, count), where);
  struct gates {
    std::unique_ptr<gate> door = std::make_unique<gate>();
    gate::holder inside = door->enter();
  };
  const auto make_gate = [] { return gates(); };
  const auto enter = [](gates& theirs) -> task<> {
    const auto second = theirs.door->enter();
    co_return;
  };
  const auto leave = [](gates& theirs) -> task<> {
    theirs.inside.reset();
    co_return;
  };
  touch_on<gates>(0, make_gate, enter);
  touch_on<gates>(0, make_gate, leave);
  EXPECT_DEATH(touch_on<gates>(1, make_gate, enter), where);
  EXPECT_DEATH(touch_on<gates>(1, make_gate, leave), where);
}

struct silent_timer final : timers::timer {
  ~silent_timer() { timers::this_timers().cancel(*this); }
  void expired() noexcept override {}
};
using timer_here = std::unique_ptr<silent_timer>;

timer_here armed_timer() {
  auto made = std::make_unique<silent_timer>();
  timers::this_timers().arm(*made, clock::now() + std::chrono::hours(1));
  return made;
}

task<> cancel(timer_here& theirs) {
  timers::this_timers().cancel(*theirs);
  co_return;
}

TEST(core_home, an_armed_timer_is_cancelled_on_its_shard_in_every_build) {
  touch_on(0, armed_timer, [](timer_here& theirs) { return cancel(theirs); });
  EXPECT_DEATH(touch_on(1, armed_timer, [](timer_here& theirs) { return cancel(theirs); }),
               "a timer is .*\n.*shard 1, task \"submit_to\"");
}

#ifdef SKERRY_HOME_STAMPS

TEST(core_home, a_join_handle_is_awaited_aborted_asked_and_dropped_on_the_shard_that_spawned) {
  const std::string where = told("a join_handle stays on its shard");
  const auto make = [] { return spawn([]() -> task<> { co_await sleep_for(std::chrono::milliseconds(1)); }); };
  const auto await = [](join_handle<>& theirs) -> task<> { co_await theirs; };
  const auto abort = [](join_handle<>& theirs) -> task<> {
    theirs.abort();
    co_return;
  };
  const auto ask = [](join_handle<>& theirs) -> task<> {
    static_cast<void>(theirs.is_finished());
    co_return;
  };
  const auto drop = [](join_handle<>& theirs) -> task<> {
    const join_handle<> mine = std::move(theirs);
    co_return;
  };
  touch_on<join_handle<>>(0, make, await);
  touch_on<join_handle<>>(0, make, ask);
  touch_on<join_handle<>>(0, make, drop);
  EXPECT_DEATH(touch_on<join_handle<>>(1, make, await), where);
  EXPECT_DEATH(touch_on<join_handle<>>(1, make, abort), where);
  EXPECT_DEATH(touch_on<join_handle<>>(1, make, ask), where);
  EXPECT_DEATH(touch_on<join_handle<>>(1, make, drop), where);
}

TEST(core_home, a_timer_is_armed_on_the_shard_that_made_it) {
  const auto arm = [](timer_here& theirs) -> task<> {
    timers::this_timers().arm(*theirs, clock::now() + std::chrono::hours(1));
    co_return;
  };
  const auto make = [] { return std::make_unique<silent_timer>(); };
  touch_on<timer_here>(0, make, arm);
  EXPECT_DEATH(touch_on<timer_here>(1, make, arm), told("a timer is used on the shard that made it"));
}

TEST(core_home, a_cancel_source_and_its_tokens_are_used_on_one_shard) {
  const std::string where = told("a cancel_source and its tokens stay on one shard");
  using sources = std::unique_ptr<cancel_source>;
  const auto make = [] { return std::make_unique<cancel_source>(); };
  const auto cancel_it = [](sources& theirs) -> task<> {
    theirs->cancel();
    co_return;
  };
  const auto listen = [](sources& theirs) -> task<> {
    const cancel_token token = theirs->token();
    co_return;
  };
  struct listened {
    std::unique_ptr<cancel_source> source = std::make_unique<cancel_source>();
    cancel_token token = source->token();
  };
  const auto make_token = [] { return listened(); };
  const auto ask = [](listened& theirs) -> task<> {
    static_cast<void>(theirs.token.cancelled());
    co_return;
  };
  touch_on<sources>(0, make, cancel_it);
  touch_on<sources>(0, make, listen);
  touch_on<listened>(0, make_token, ask);
  EXPECT_DEATH(touch_on<sources>(1, make, cancel_it), where);
  EXPECT_DEATH(touch_on<sources>(1, make, listen), where);
  EXPECT_DEATH(touch_on<listened>(1, make_token, ask), where);
}

#endif

}  // namespace
}  // namespace skerry
