// SPDX-License-Identifier: Apache-2.0
// Sleeps across every level of the timer wheel: around multiples of 256 ms, 65.536 s and 4.66 h, many in one slot, some
// at its very begin; others are given up. Nobody wakes early or more than a few ticks late, and everybody wakes.
#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <cstdint>
#include <system_error>
#include <vector>

#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;
using ticks = std::chrono::milliseconds;

constexpr unsigned sleepers = 150;
/// A tick of rounding up, and the loop's own time.
constexpr std::chrono::nanoseconds late_max = 4ms;

/// A moment near the begin of a slot of some level.
clock::time_point drawn_moment() {
  const unsigned level = static_cast<unsigned>(sim::draw(4));
  const auto slot = ticks(std::int64_t{1} << (8 * level));
  const auto now = std::chrono::duration_cast<ticks>(clock::now().time_since_epoch());
  const auto slots = static_cast<std::int64_t>(1 + sim::draw(sim::draw(2) == 0 ? 4 : 300));
  ticks at = (now / slot + slots) * slot;
  switch (sim::draw(4)) {
    case 0: break;
    case 1: at += ticks(static_cast<std::int64_t>(sim::draw(5)) - 2); break;
    case 2: at += ticks(static_cast<std::int64_t>(sim::draw(static_cast<std::uint64_t>(slot.count())))); break;
    default: at += ticks(static_cast<std::int64_t>(sim::draw(300))); break;
  }
  return clock::time_point(at);
}

task<> sleep_and_look(clock::time_point until) {
  const clock::time_point due = std::max(until, clock::now());
  co_await sleep_until(until);
  const clock::time_point now = clock::now();
  if (now < until) sim::fail("a sleep ended early");
  if (now > due + late_max) sim::fail("a sleep ended late");
}

task<> test_timers() {
  const auto all = [](group& g) -> task<> {
    std::vector<join_handle<void>> may_go;
    for (unsigned n = 0; n < sleepers; ++n) {
      const clock::time_point until = drawn_moment();
      if (sim::draw(4) == 0) {
        may_go.push_back(spawn(sleep_and_look(until), "given up"));
      } else {
        g.spawn(sleep_and_look(until), "sleeper");
      }
      switch (sim::draw(12)) {
        case 0: co_await sleep_and_look(drawn_moment()); break;
        case 1: co_await sleep_for(ticks(sim::draw(2000))); break;
        case 2:
          if (!may_go.empty()) may_go[sim::draw(may_go.size())].abort();
          break;
        default: break;
      }
    }
    for (join_handle<void>& each : may_go) {
      if (sim::draw(2) == 0) each.abort();
      try {
        co_await each;
      } catch (const std::system_error& given_up) {
        if (given_up.code() != std::errc::operation_canceled) throw;
      }
    }
  };
  co_await with_group(all);
}

}  // namespace

sim::test_case timers() {
  const auto configure = [](sim::options& o) {
    o.steps_max = 2'000'000;
    o.time_max = std::chrono::hours(24 * 365 * 10);
  };
  return {"timers", configure, test_timers};
}

}  // namespace scenarios
