// SPDX-License-Identifier: Apache-2.0
// Calls between two to eight shards whose queues hold one to four entries: plain functions, tasks, batches, objects
// that go home; cancelled at any moment, and the host stopped under it all for half of the seeds.
//
// What must hold: a call runs once at most, and exactly once when it returns; its handler has ended when its caller
// goes on; calls of a pair of shards begin in the order they were sent; whoever is cancelled ends; every object is
// destroyed at home, once; and everything comes to an end.
#include <skerry/framework/resources.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/foreign_ptr.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;

constexpr unsigned shards_max = 8;
constexpr unsigned callers_per_shard = 3;
constexpr unsigned rounds = 12;
/// No shard stands still longer than 20 ms at a time, so no call takes as long as this.
constexpr std::chrono::nanoseconds too_long = 5s;

using counts = std::array<std::array<std::uint64_t, shards_max>, shards_max>;

/// What has been seen on all shards.
struct book {
  std::vector<std::uint8_t> begun;  // by call
  std::vector<std::uint8_t> inside;
  // Plain functions and tasks begin in different phases: each kind is in order.
  counts sent_functions{}, seen_functions{}, sent_tasks{}, seen_tasks{};
  std::uint64_t objects = 0;
  std::uint64_t callers = 0;  // that have begun and not ended
  std::uint64_t returned = 0, cancelled = 0;

  std::uint64_t next() {
    begun.push_back(0);
    inside.push_back(0);
    return begun.size() - 1;
  }
};

book* seen = nullptr;

void begin_call(std::uint64_t id, shard_id from, std::uint64_t number, counts& last) {
  if (++seen->begun[id] > 1) sim::fail("a call began twice");
  std::uint64_t& before = last[from][this_shard_id()];
  if (number <= before) sim::fail("calls of a pair of shards began out of order");
  before = number;
}

void must_be(bool so, const char* what) {
  if (!so) sim::fail(what);
}

/// An object that is used and destroyed at home.
struct resident {
  const shard_id home = this_shard_id();
  resident() { ++seen->objects; }
  ~resident() {
    must_be(this_shard_id() == home, "an object was destroyed away from home");
    must_be(seen->objects > 0, "an object was destroyed twice");
    --seen->objects;
  }
};

/// What a shard keeps of others' objects until it ends: they go home as it is taken down.
struct keeper {
  std::vector<foreign_ptr<resident>> kept;
};

struct inside_handler {
  std::uint64_t id;
  explicit inside_handler(std::uint64_t which) : id(which) { seen->inside[id] = 1; }
  ~inside_handler() { seen->inside[id] = 0; }
};

constexpr auto function = [](std::uint64_t id, shard_id from, std::uint64_t number) {
  begin_call(id, from, number, seen->seen_functions);
  return id * 3;
};

task<std::uint64_t> call_function(shard_id to) {
  const std::uint64_t id = seen->next();
  const std::uint64_t number = ++seen->sent_functions[this_shard_id()][to];
  const std::uint64_t back = co_await submit_to(to, function, id, this_shard_id(), number);
  must_be(back == id * 3, "another call's result came back");
  must_be(seen->begun[id] == 1, "a call returned that did not run");
  co_return back;
}

enum class behaviour : unsigned { at_once, yields, sleeps, asks_on, throws, for_ever };

task<std::uint64_t> handle(std::uint64_t id, shard_id from, std::uint64_t number, behaviour how) {
  begin_call(id, from, number, seen->seen_tasks);
  const inside_handler here(id);
  switch (how) {
    case behaviour::at_once: break;
    case behaviour::yields:
      for (std::uint64_t n = sim::draw(4); n > 0; --n) co_await yield();
      break;
    case behaviour::sleeps: co_await sleep_for(std::chrono::milliseconds(sim::draw(4))); break;
    case behaviour::asks_on: co_await call_function(static_cast<shard_id>(sim::draw(shard_count()))); break;
    case behaviour::throws: throw std::out_of_range("as agreed");
    case behaviour::for_ever: {
      event never("never");
      co_await never.wait();
    }
  }
  co_return id * 3;
}

/// Its frame goes when the call is home: then the handler has ended, however it ended.
struct watched_call {
  std::uint64_t id;
  bool sent = false;
  explicit watched_call(std::uint64_t which) : id(which) {}
  ~watched_call() { must_be(seen->inside[id] == 0, "a caller went on while its handler was there"); }
};

task<> call_task(shard_id to, behaviour how) {
  const watched_call call(seen->next());
  const std::uint64_t number = ++seen->sent_tasks[this_shard_id()][to];
  try {
    const auto work = [](std::uint64_t id, shard_id from, std::uint64_t n, behaviour what) {
      return handle(id, from, n, what);
    };
    const std::uint64_t back = co_await submit_to(to, work, call.id, this_shard_id(), number, how);
    must_be(back == call.id * 3, "another call's result came back");
    must_be(how != behaviour::throws, "an exception was lost on its way");
  } catch (const std::out_of_range&) {
    must_be(how == behaviour::throws, "another call's exception came back");
  }
  must_be(seen->begun[call.id] == 1, "a call returned that did not run");
}

behaviour drawn_behaviour() { return static_cast<behaviour>(sim::draw(static_cast<unsigned>(behaviour::for_ever))); }
shard_id drawn_shard() { return static_cast<shard_id>(sim::draw(shard_count())); }

task<> call_batch_of_functions() {
  call_batch<decltype(function), std::uint64_t, shard_id, std::uint64_t> calls(8);
  std::vector<std::uint64_t> ids;
  for (std::uint64_t n = 1 + sim::draw(8); n > 0; --n) {
    const shard_id to = drawn_shard();
    ids.push_back(seen->next());
    calls.add(to, function, ids.back(), this_shard_id(), ++seen->sent_functions[this_shard_id()][to]);
  }
  co_await calls.all();
  for (std::size_t i = 0; i < ids.size(); ++i) must_be(calls.take(i) == ids[i] * 3, "a result is another call's");
}

/// More calls at once than the queues hold.
task<> call_many() {
  const auto all = [](group& g) -> task<> {
    const shard_id to = drawn_shard();
    for (std::uint64_t n = 2 + sim::draw(12); n > 0; --n) {
      if (sim::draw(2) == 0) {
        g.spawn(call_function(to), "function");
      } else {
        g.spawn(call_task(to, drawn_behaviour()), "task");
      }
    }
    co_return;
  };
  co_await with_group(all);
}

task<> call_in_a_drawn_way(bool may_wait_for_ever) {
  switch (sim::draw(4)) {
    case 0: co_await call_function(drawn_shard()); break;
    case 1: co_await call_batch_of_functions(); break;
    case 2: co_await call_many(); break;
    default: {
      const bool for_ever = may_wait_for_ever && sim::draw(2) == 0;
      const behaviour how = for_ever ? behaviour::for_ever : drawn_behaviour();
      co_await call_task(drawn_shard(), how);
    }
  }
}

/// Begins a call and gives it up after a drawn number of turns.
task<> call_and_give_up() {
  join_handle<void> call = spawn(call_in_a_drawn_way(true), "given up");
  for (std::uint64_t turns = sim::draw(30); turns > 0; --turns) co_await yield();
  call.abort();
  try {
    co_await call;
    ++seen->returned;
  } catch (const std::system_error& ended) {
    must_be(ended.code() == std::errc::operation_canceled, "a cancelled call ended with another error");
    ++seen->cancelled;
  }
}

task<> call_with_a_timeout() {
  try {
    co_await with_timeout(std::chrono::milliseconds(sim::draw(6)), call_in_a_drawn_way(true));
    ++seen->returned;
  } catch (const timeout_error&) {
    ++seen->cancelled;
  }
}

task<> send_an_object_away() {
  const auto drop_or_keep = [](foreign_ptr<resident> guest) {
    if (sim::draw(2) == 0) return;
    keeper* here = resources().find<keeper>();
    if (here == nullptr) here = &resources().emplace<keeper>();
    here->kept.push_back(std::move(guest));
  };
  co_await submit_to(drawn_shard(), drop_or_keep, foreign_ptr<resident>(std::make_unique<resident>()));
}

struct counted_caller {
  counted_caller() { ++seen->callers; }
  ~counted_caller() { --seen->callers; }
};

task<> be_caller() {
  const counted_caller here;
  for (unsigned round = 0; round < rounds; ++round) {
    const clock::time_point begun = clock::now();
    switch (sim::draw(6)) {
      case 0: co_await call_and_give_up(); break;
      case 1: co_await call_with_a_timeout(); break;
      case 2: co_await send_an_object_away(); break;
      case 3: co_await sleep_for(std::chrono::milliseconds(sim::draw(5))); break;
      default: co_await call_in_a_drawn_way(false);
    }
    must_be(clock::now() - begun < too_long, "a call took longer than it can");
  }
}

task<> all_callers() {
  const auto callers = [](group& g) -> task<> {
    for (unsigned n = 0; n < callers_per_shard; ++n) g.spawn(be_caller(), "caller");
    co_return;
  };
  co_await with_group(callers);
}

task<> everywhere() {
  const auto all = [](group& g) -> task<> {
    for (shard_id s = 0; s < shard_count(); ++s) {
      const auto there = [](shard_id where) -> task<> { co_await submit_to(where, [] { return all_callers(); }); };
      g.spawn(there(s), "shard");
    }
    co_return;
  };
  try {
    co_await with_group(all);
  } catch (const std::system_error& ended) {
    must_be(ended.code() == std::errc::operation_canceled, "a stop ends calls with another error");
  }
}

task<> test_mailboxes() {
  book all;
  seen = &all;
  const auto shards = static_cast<unsigned>(2 + sim::draw(shards_max - 1));
  sim::host_handle host = sim::host("calls", shards);
  host.settings().mailbox_capacity = static_cast<unsigned>(1 + sim::draw(4));
  host.start(everywhere, true);
  const bool stopped = sim::draw(2) == 0;
  if (stopped) {
    co_await sleep_for(std::chrono::microseconds(sim::draw(30'000)));
    host.stop();
  }
  const clock::time_point begun = clock::now();
  try {
    co_await with_timeout(60s, host.ended());
  } catch (const timeout_error&) {
    sim::fail("calls did not come to an end");
    co_return;
  }
  must_be(clock::now() - begun < 30s, "calls took longer than they can");
  must_be(all.callers == 0, "a caller was left");
  must_be(all.objects == 0, "an object never came home");
  for (const std::uint8_t each : all.inside) must_be(each == 0, "a handler was left");
  seen = nullptr;
}

}  // namespace

sim::test_case mailbox() {
  const auto configure = [](sim::options& o) {
    const bool fair = o.seed % 2 == 0;
    o.order = fair ? sim::schedule::fair : sim::schedule::adversarial;
    o.system.late_completion = fair ? 0 : 0.05;
    o.steps_max = 5'000'000;
    o.time_max = 10min;
  };
  return {"mailbox", configure, test_mailboxes};
}

}  // namespace scenarios
