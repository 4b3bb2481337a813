// SPDX-License-Identifier: Apache-2.0
// What 10 million tasks take that sleep at the same time: node, frame, promise and timer of each, with what slabs and
// the wheel leave unused. `resident` is what the kernel says of the process, in GiB, `bytes` the same per task. Timed
// is the life of a task: it is spawned, sleeps and is cancelled.
//
//     build/release/perf/sleepers_perf
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <fstream>

#include <benchmark/benchmark.h>
#include <unistd.h>

namespace {

using namespace skerry;

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

task<> nap() { co_await sleep_for(std::chrono::hours(1)); }

task<> sleep_and_end(benchmark::State& state) {
  const auto count = static_cast<benchmark::IterationCount>(state.range(0));
  double most = 0;
  while (state.KeepRunningBatch(count)) {
    const double before = resident_bytes();
    for (benchmark::IterationCount i = 0; i < count; ++i) spawn(nap());
    co_await yield();  // behind all of them: each has taken its first step and sleeps
    most = resident_bytes() - before;
    this_shard().root->for_each([](skerry::detail::chain& each) {
      if (&each != this_shard().current) each.cancel();
    });
    while (this_shard().root->size() > 1) co_await yield();
  }
  state.counters["resident"] = most / (1 << 30);
  state.counters["bytes"] = most / static_cast<double>(count);
}

void sleeping_tasks(benchmark::State& state) {
  block_on([&state] { return sleep_and_end(state); });
}
BENCHMARK(sleeping_tasks)->Arg(10'000'000)->Iterations(10'000'000)->Unit(benchmark::kNanosecond);

}  // namespace
