// SPDX-License-Identifier: Apache-2.0
// Waiting for several things at once: two events and a timer. Exactly one handler runs per select, and what the others
// waited for stays where it was. Run it with: build/release/apps/09_select
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>

#include <fmt/core.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

/// Each set lets one wait pass, now or later.
task<> ring(auto_reset_event& bell, clock::duration after, int times) {
  for (; times > 0; --times) {
    co_await sleep_for(after);
    bell.set();
  }
}

task<> run() {
  auto_reset_event door, telephone;
  auto guests = spawn([&door] { return ring(door, 10ms, 2); }, "guests");
  auto caller = spawn([&telephone] { return ring(telephone, 15ms, 1); }, "caller");

  bool silence = false;
  while (!silence) {
    co_await select(on(door.wait(), [] { fmt::print("somebody at the door\n"); }),
                    on(telephone.wait(), [] { fmt::print("somebody on the telephone\n"); }),
                    on(sleep_for(100ms), [&silence] { silence = true; }));
  }
  fmt::print("silence\n");
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("09_select").run(argc, argv, run); }
