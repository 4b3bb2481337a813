// SPDX-License-Identifier: Apache-2.0
// What perf/instructions counts: N times one operation, and nothing that depends on the time or on chance. The shards'
// clock moves on by the same step each time it is read, because a loop reads it after as many steps of tasks as should
// take 10 us, and looks at its pollers when it says that the tasks' budget is over. There is no kernel below, and two
// shards run in one thread.
//
//     build/release/perf/instructions_driver --list
//     build/release/perf/instructions_driver spawn_join 10000         prints nothing; run it under callgrind
//     build/release/perf/instructions_driver spawn_join 10000 20000   two runs, each with shards of its own
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/placement.hpp>

#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include <framework/instructions_driver.hpp>
#include <framework/no_kernel.hpp>

void perf::on_one_shard(skerry::task<> (*operation)(int count), int count) {
  skerry::app_options options;
  options.shards = 1;
  options.seed = 1;
  options.log_level = "error";
  skerry::placement where;
  where.shards.resize(1);
  where.count_reason = "instructions";
  stepping_clock time;
  skerry::host machine(options, where, time, no_kernels(1));
  machine.run([&] { return operation(count); }, true);
}

/// Called before each run and after the last: there perf/instructions has callgrind begin a new sum.
extern "C" [[gnu::noinline]] void next_run() { asm volatile(""); }

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  const bool list = argc == 2 && name == "--list";
  for (const auto& group : {perf::counted_tasks(), perf::counted_messages(), perf::counted_bytes()}) {
    for (const perf::counted& each : group) {
      if (list) std::puts(each.name.data());
      if (argc < 3 || each.name != name) continue;
      for (int i = 2; i < argc; ++i) {
        next_run();
        each.run(std::atoi(argv[i]));
      }
      next_run();
      return 0;
    }
  }
  if (list) return 0;
  std::fprintf(stderr, "usage: instructions_driver --list | OPERATION COUNT...\n");
  return 1;
}
