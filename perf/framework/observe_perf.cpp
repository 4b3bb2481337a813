// SPDX-License-Identifier: Apache-2.0
// What observing costs the shard: a histogram value, a trace event, a log line.
#include <skerry/framework/observe/histogram.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/log_writer.hpp>
#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/random.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

#include <benchmark/benchmark.h>

namespace {

using namespace skerry;

class shard_here {
 public:
  shard_here() { detail::current_shard = &core; }
  ~shard_here() { detail::current_shard = nullptr; }
  shard_core core;
};

void nowhere(std::string_view lines) noexcept { benchmark::DoNotOptimize(lines.data()); }

void random_number(benchmark::State& state) {
  random_source source(1);
  for (auto _ : state) benchmark::DoNotOptimize(source());
}
BENCHMARK(random_number);

void random_uniform(benchmark::State& state) {
  random_source source(1);
  for (auto _ : state) benchmark::DoNotOptimize(source.uniform(1000));
}
BENCHMARK(random_uniform);

void histogram_record(benchmark::State& state) {
  observe::histogram latency;
  benchmark::DoNotOptimize(&latency);
  random_source source(1);
  std::array<std::uint64_t, 1024> values;
  for (std::uint64_t& value : values) value = source() >> (30 + source.uniform(20));
  std::size_t i = 0;
  for (auto _ : state) {
    latency.record(values[i++ % values.size()]);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(histogram_record);

void histogram_quantile(benchmark::State& state) {
  observe::histogram latency;
  benchmark::DoNotOptimize(&latency);
  random_source source(1);
  for (int i = 0; i < 100'000; ++i) latency.record(source() >> 40);
  for (auto _ : state) benchmark::DoNotOptimize(latency.quantile(0.99));
}
BENCHMARK(histogram_quantile);

// The loop of the next one, without its event: what the recorder costs when it is off is what lies between.
void trace_absent(benchmark::State& state) {
  shard_here shard;
  benchmark::DoNotOptimize(&shard);
  std::uint64_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(++i);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(trace_absent);

void trace_off(benchmark::State& state) {
  shard_here shard;
  benchmark::DoNotOptimize(&shard);
  std::uint64_t i = 0;
  for (auto _ : state) {
    observe::trace(observe::trace_kind::task_begin, ++i);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(trace_off);

void trace_on(benchmark::State& state) {
  shard_here shard;
  benchmark::DoNotOptimize(&shard);
  observe::trace_buffer buffer;
  benchmark::DoNotOptimize(&buffer);
  shard.core.trace = &buffer;
  std::uint64_t i = 0;
  for (auto _ : state) {
    observe::trace(observe::trace_kind::task_begin, ++i);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(trace_on);

void log_below_level(benchmark::State& state) {
  log_writer writer({}, 1, nowhere);
  shard_here shard;
  benchmark::DoNotOptimize(&shard);
  shard.core.log = &writer.channel(0);
  for (auto _ : state) {
    log::debug("accepted {} on {}", 4711, 6379);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(log_below_level);

// Lines that fit the queue, the writer awake on another CPU; emptying it between batches is not counted.
void log_line_queued(benchmark::State& state) {
  log_writer writer({.channel_bytes = 1024 * 1024}, 1, nowhere);
  shard_here shard;
  benchmark::DoNotOptimize(&shard);
  shard.core.log = &writer.channel(0);
  constexpr int batch = 4096;
  for (auto _ : state) {
    for (int i = 0; i < batch; ++i) log::info("accepted {} on {}", 4711 + i, "127.0.0.1:6379");
    state.PauseTiming();
    writer.flush(std::chrono::seconds(10));
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * batch);
  state.counters["per_line"] = benchmark::Counter(static_cast<double>(state.iterations()) * batch,
                                                  benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["dropped"] = static_cast<double>(shard.core.log->dropped());
}
BENCHMARK(log_line_queued)->UseRealTime();

// A line into a full queue: what a storm of lines costs at worst.
void log_line_dropped(benchmark::State& state) {
  log_writer writer({.channel_bytes = 8192}, 1, nowhere);
  log_channel& channel = writer.channel(0);
  const log_record line{.shard = 0, .message = "accepted 4711 on 127.0.0.1:6379"};
  while (channel.push(line)) {
  }
  for (auto _ : state) benchmark::DoNotOptimize(channel.push(line));
}
BENCHMARK(log_line_dropped);

}  // namespace
