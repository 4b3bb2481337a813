// SPDX-License-Identifier: Apache-2.0
/// What a timer costs: hot, among millions, and when its time comes.

#include <skerry/timers/wheel.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

#include <benchmark/benchmark.h>

namespace {

using skerry::timers::timer_node;
using skerry::timers::wheel;

/// A timer as it occurs: inside something bigger. One cache line, so a benchmark counts lines and not luck of
/// alignment.
struct alignas(64) connection_like {
  timer_node timer;
  std::uint64_t payload[4] = {};
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

/// `population` timers over the next 60 s; each step puts a random one off to a random time, as a busy server does.
void rearm_random(benchmark::State& state) {
  const auto population = static_cast<std::uint64_t>(state.range(0));
  constexpr std::uint64_t horizon = 60'000;
  wheel w(12345);
  auto all = std::make_unique<connection_like[]>(population);
  small_random random;
  for (std::uint64_t i = 0; i < population; ++i) w.arm(all[i].timer, w.now() + 1 + random.below(horizon));
  for (std::uint64_t i = 0; i < population; ++i)
    w.rearm(all[random.below(population)].timer, w.now() + 1 + random.below(horizon));
  for (auto _ : state) w.rearm(all[random.below(population)].timer, w.now() + 1 + random.below(horizon));
  drop_all(w);
}
BENCHMARK(rearm_random)->Arg(1'000)->Arg(1'000'000)->Arg(4'000'000)->Arg(10'000'000);

/// The limit of rearm_random: the same random picks, one write to the node alone.
void touch_random(benchmark::State& state) {
  const auto population = static_cast<std::uint64_t>(state.range(0));
  auto all = std::make_unique<connection_like[]>(population);
  small_random random;
  for (auto _ : state) all[random.below(population)].payload[0] += random.below(60'000);
  benchmark::DoNotOptimize(all.get());
}
BENCHMARK(touch_random)->Arg(1'000'000)->Arg(10'000'000);

/// A million timers over 60 s, advanced tick by tick until all have fired: per timer, arming excluded, cascades
/// included. The argument says whether memory order is deadline order (best case) or random (every step of a list is a
/// cache miss).
void advance_through_a_million(benchmark::State& state) {
  constexpr std::uint64_t population = 1'000'000;
  const bool scattered = state.range(0) != 0;
  auto all = std::make_unique<connection_like[]>(population);
  small_random random;
  wheel w(12345);
  std::size_t fired = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (std::uint64_t i = 0; i < population; ++i)
      w.arm(all[i].timer, w.now() + 1 + (scattered ? random.below(60'000) : i * 60'000 / population));
    state.ResumeTiming();
    const std::uint64_t end = w.now() + 60'000;
    while (w.now() < end) fired += w.advance(w.now() + 1, [](timer_node& node) { benchmark::DoNotOptimize(&node); });
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(fired));
}
BENCHMARK(advance_through_a_million)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

/// The longest single step: a million timers lie beyond the end of a 65.5 s block and all move when it begins.
void block_of_a_million_begins(benchmark::State& state) {
  constexpr std::uint64_t population = 1'000'000;
  const bool scattered = state.range(0) != 0;
  auto all = std::make_unique<connection_like[]>(population);
  small_random random;
  for (auto _ : state) {
    state.PauseTiming();
    {
      wheel w(65'535);
      for (std::uint64_t i = 0; i < population; ++i) {
        const auto pick = scattered ? (i * 7'368'787) % population : i;
        w.arm(all[pick].timer, w.now() + 2 + random.below(60'000));
      }
      state.ResumeTiming();
      w.advance(65'536, [](timer_node&) {});
      state.PauseTiming();
      drop_all(w);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(population));
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
