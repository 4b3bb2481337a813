// SPDX-License-Identifier: Apache-2.0
// What 10 million tasks take that sleep at the same time: node, frame, promise and timer of each, with what slabs and
// the wheel leave unused. `resident` is what the kernel says of the process, in GiB, `bytes` the same per task, and
// `own` what the frame pool has for one: node, frame, and the timer in it. Timed is the life of a task: it is spawned,
// sleeps and is cancelled.
//
// And how long a thousand take to end: each a wait that is let go, a timer that is disarmed, and a frame that is
// destroyed. `us` is the median of pieces, from the first cancel until none is left.
//
//     build/release/perf/sleepers_perf
#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
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

/// All tasks of the shard but this one, cancelled and ended.
task<> end_all() {
  this_shard().root->for_each([](skerry::detail::chain& each) {
    if (&each != this_shard().current) each.cancel();
  });
  while (this_shard().root->size() > 1) co_await yield();
}

task<> sleep_and_end(benchmark::State& state) {
  const auto count = static_cast<benchmark::IterationCount>(state.range(0));
  double most = 0, own = 0;
  while (state.KeepRunningBatch(count)) {
    const double before = resident_bytes();
    for (benchmark::IterationCount i = 0; i < count; ++i) spawn(nap());
    co_await yield();  // behind all of them: each has taken its first step and sleeps
    most = resident_bytes() - before;
    own = static_cast<double>(stats().frame_bytes_reserved);
    co_await end_all();
  }
  state.counters["own"] = own / static_cast<double>(count);
  state.counters["resident"] = most / (1 << 30);
  state.counters["bytes"] = most / static_cast<double>(count);
}

void sleeping_tasks(benchmark::State& state) {
  block_on([&state] { return sleep_and_end(state); });
}
BENCHMARK(sleeping_tasks)->Arg(10'000'000)->Iterations(10'000'000)->Unit(benchmark::kNanosecond);

task<> cancel_and_end(benchmark::State& state) {
  constexpr int sleepers = 1000;
  std::array<double, 101> us{};
  while (state.KeepRunning()) {
    for (double& each : us) {
      for (int i = 0; i < sleepers; ++i) spawn(nap());
      co_await yield();
      const clock::time_point start = clock::read();
      co_await end_all();
      each = std::chrono::duration<double, std::micro>(clock::read() - start).count();
    }
  }
  const auto middle = us.begin() + us.size() / 2;
  std::nth_element(us.begin(), middle, us.end());
  state.counters["us"] = *middle;
}

void cancel_1000_sleepers(benchmark::State& state) {
  block_on([&state] { return cancel_and_end(state); });
}
BENCHMARK(cancel_1000_sleepers);

}  // namespace
