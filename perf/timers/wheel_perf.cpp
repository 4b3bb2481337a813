// SPDX-License-Identifier: Apache-2.0
/// What a timer costs: hot, among millions, and when its time comes.
///
/// Measured on a 2-core virtual machine that others were using, so these are ranges of several runs and no medians:
///   arm + cancel, hot                            3.7 to 5.9 ns
///   re-arm a random one of 1 M, huge pages       35 to 37 ns undisturbed, up to 110 beside busy neighbours
///   re-arm a random one of 10 M, huge pages      39 to 41 ns undisturbed; without them 1.1 to 1.4 times as long
///   the write to one random line, 10 M           20 to 23 ns
///   and to two more that it names                28 to 31 ns
///   fire 1 M, tick by tick                       11 ms in memory order, 170 to 280 ms scattered
///   a slot of 1 M begins                         6 ms in memory order, 150 to 170 ms scattered
///   advance with nothing due; next_deadline      7 ns; 9 to 11 ns
/// Tried without gain: prefetching the neighbours in cancel; leaving the bitmap alone where a list has timers already
/// (0.86 x among millions, but a branch that is guessed wrong among a few hundred, 1.7 to 2.2 x); walking a slot that
/// begins from its back as well.

#include <skerry/timers/wheel.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include <benchmark/benchmark.h>
#include <sys/mman.h>

namespace {

using skerry::timers::timer_node;
using skerry::timers::wheel;

/// A timer as it occurs: inside something bigger. One cache line, so a benchmark counts lines and not luck of
/// alignment.
struct alignas(64) connection_like {
  timer_node timer;
  std::uint64_t payload[4] = {};
};

/// `count` of them, on huge pages if asked for: a server with millions of timers has its memory there, and without them
/// a good part of a random access is the page walk.
class population {
 public:
  population(std::size_t count, bool huge_pages) : count_(count) {
    constexpr std::size_t huge_page = std::size_t{1} << 21;
    const std::size_t bytes = (count * sizeof(connection_like) + huge_page - 1) / huge_page * huge_page;
    void* const memory = std::aligned_alloc(huge_page, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    ::madvise(memory, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    all_ = static_cast<connection_like*>(memory);
    std::uninitialized_default_construct_n(all_, count);
  }
  population(const population&) = delete;
  population& operator=(const population&) = delete;
  ~population() {
    std::destroy_n(all_, count_);
    std::free(all_);
  }
  connection_like& operator[](std::uint64_t i) { return all_[i]; }

 private:
  std::size_t count_;
  connection_like* all_;
};

/// xorshift: the benchmark must not measure its random numbers.
struct small_random {
  std::uint64_t state = 0x9e3779b97f4a7c15;
  std::uint64_t operator()() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
  std::uint64_t below(std::uint64_t limit) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>((*this)()) * limit) >> 64);
  }
};

/// Given, not found by trial: each trial would prepare ten million timers anew, which takes longer than all steps.
constexpr benchmark::IterationCount random_steps = 1'000'000;

void drop_all(wheel& w) {
  w.clear([](timer_node&) {});
}

void arm_cancel_hot(benchmark::State& state) {
  wheel w(12345);
  connection_like c;
  for (auto _ : state) {
    w.arm(c.timer, 12345 + static_cast<std::uint64_t>(state.range(0)));
    benchmark::DoNotOptimize(&c);
    benchmark::ClobberMemory();
    w.cancel(c.timer);
  }
}
BENCHMARK(arm_cancel_hot)->Arg(100)->Arg(30'000)->Arg(10'000'000);

/// Timers over the next 60 s; each step puts a random one off to a random time, as a busy server does.
void rearm_random(benchmark::State& state) {
  const auto count = static_cast<std::uint64_t>(state.range(0));
  constexpr std::uint64_t horizon = 60'000;
  population all(count, state.range(1) != 0);
  small_random random;
  wheel w(12345);
  for (std::uint64_t i = 0; i < count; ++i) w.arm(all[i].timer, w.now() + 1 + random.below(horizon));
  // Neighbours in a list must not be neighbours in memory.
  for (std::uint64_t i = 0; i < count; ++i)
    w.rearm(all[random.below(count)].timer, w.now() + 1 + random.below(horizon));
  for (auto _ : state) w.rearm(all[random.below(count)].timer, w.now() + 1 + random.below(horizon));
  drop_all(w);
}
BENCHMARK(rearm_random)
    ->ArgNames({"timers", "huge_pages"})
    ->ArgsProduct({{1'000'000, 10'000'000}, {0}})
    ->ArgsProduct({benchmark::CreateRange(1'000, 10'000'000, 10), {1}})
    ->Iterations(random_steps);

/// The limit of rearm_random: the same random picks and one write to one line; the wheel has to write three.
void touch_random(benchmark::State& state) {
  const auto count = static_cast<std::uint64_t>(state.range(0));
  population all(count, state.range(1) != 0);
  small_random random;
  for (auto _ : state) all[random.below(count)].payload[0] += random.below(60'000);
}
BENCHMARK(touch_random)
    ->ArgNames({"timers", "huge_pages"})
    ->ArgsProduct({{1'000'000, 10'000'000}, {0}})
    ->ArgsProduct({benchmark::CreateRange(1'000, 10'000'000, 10), {1}})
    ->Iterations(random_steps);

/// What no list that is linked both ways does without: a line picked at random, and the two that it names, all written.
/// Nothing is taken out or put in; next to rearm_random it says what the wheel adds.
void touch_three_random(benchmark::State& state) {
  const auto count = static_cast<std::uint64_t>(state.range(0));
  population all(count, state.range(1) != 0);
  small_random random;
  for (std::uint64_t i = 0; i < count; ++i) {
    all[i].payload[1] = random.below(count);
    all[i].payload[2] = random.below(count);
  }
  for (auto _ : state) {
    connection_like& picked = all[random.below(count)];
    all[picked.payload[1]].payload[3] = picked.payload[2];
    all[picked.payload[2]].payload[0] = picked.payload[1];
    picked.payload[3] = random.below(60'000);
  }
}
BENCHMARK(touch_three_random)
    ->ArgNames({"timers", "huge_pages"})
    ->ArgsProduct({{1'000'000, 10'000'000}, {0, 1}})
    ->Iterations(random_steps);

/// A million timers over 60 s, advanced tick by tick until all have fired: per timer, arming excluded, cascades
/// included. The argument says whether memory order is deadline order (best case) or random (every step of a list is a
/// cache miss).
void advance_through_a_million(benchmark::State& state) {
  constexpr std::uint64_t count = 1'000'000;
  const bool scattered = state.range(0) != 0;
  population all(count, false);
  small_random random;
  wheel w(12345);
  std::size_t fired = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (std::uint64_t i = 0; i < count; ++i)
      w.arm(all[i].timer, w.now() + 1 + (scattered ? random.below(60'000) : i * 60'000 / count));
    state.ResumeTiming();
    const std::uint64_t end = w.now() + 60'000;
    while (w.now() < end) fired += w.advance(w.now() + 1, [](timer_node& node) { benchmark::DoNotOptimize(&node); });
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(fired));
}
BENCHMARK(advance_through_a_million)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

/// The longest single step: a million timers lie beyond the end of a 65.5 s block and all move when it begins.
void block_of_a_million_begins(benchmark::State& state) {
  constexpr std::uint64_t count = 1'000'000;
  const bool scattered = state.range(0) != 0;
  population all(count, false);
  small_random random;
  for (auto _ : state) {
    state.PauseTiming();
    {
      wheel w(65'535);
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto pick = scattered ? (i * 7'368'787) % count : i;
        w.arm(all[pick].timer, w.now() + 2 + random.below(60'000));
      }
      state.ResumeTiming();
      w.advance(65'536, [](timer_node&) {});
      state.PauseTiming();
      drop_all(w);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(block_of_a_million_begins)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

/// What a reactor pays per turn when nothing is due, and before it sleeps.
void advance_one_tick_with_nothing_due(benchmark::State& state) {
  wheel w(1);
  connection_like c;
  w.arm(c.timer, UINT64_MAX);
  for (auto _ : state) w.advance(w.now() + 1, [](timer_node&) {});
  drop_all(w);
}
BENCHMARK(advance_one_tick_with_nothing_due);

void next_deadline(benchmark::State& state) {
  wheel w(1);
  connection_like c;
  w.arm(c.timer, static_cast<std::uint64_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(w.next_deadline());
  drop_all(w);
}
BENCHMARK(next_deadline)->Arg(100)->Arg(30'000)->Arg(10'000'000);

/// A jump of 24 hours over an empty stretch.
void jump_a_day(benchmark::State& state) {
  wheel w(1);
  connection_like c;
  w.arm(c.timer, UINT64_MAX);
  for (auto _ : state) w.advance(w.now() + 86'400'000, [](timer_node&) {});
  drop_all(w);
}
BENCHMARK(jump_a_day);

}  // namespace
