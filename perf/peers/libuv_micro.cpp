// SPDX-License-Identifier: Apache-2.0
// What timers cost in libuv: a binary heap of embedded nodes. Deadlines are milliseconds from the loop's own time, so
// no clock is read.
//
//     build/release/perf/peer_libuv_micro
//     {"timer_hot_ns": 15.00, "timer_random_ns": 250.00}
#include <cstddef>
#include <cstdint>
#include <vector>

#include <peers/micro.hpp>
#include <uv.h>

namespace {

using namespace peers;

constexpr std::size_t timers = 1'000'000;
constexpr int hot = 100'000, random_ones = 10'000;
constexpr std::uint64_t hour_ms = 3'600'000;

void expired(uv_timer_t*) {}

double timer_hot_ns(uv_loop_t* loop) {
  uv_timer_t one;
  uv_timer_init(loop, &one);
  return median_ns(hot, [&one] {
    for (int i = 0; i < hot; ++i) {
      uv_timer_start(&one, expired, hour_ms, 0);
      keep(&one);
      uv_timer_stop(&one);
    }
  });
}

double timer_random_ns(uv_loop_t* loop) {
  std::vector<uv_timer_t> all(timers);
  small_random random;
  for (uv_timer_t& one : all) {
    uv_timer_init(loop, &one);
    uv_timer_start(&one, expired, hour_ms + random.below(60'000), 0);
  }
  return median_ns(random_ones, [&] {
    for (int i = 0; i < random_ones; ++i)
      uv_timer_start(&all[random.below(timers)], expired, hour_ms + random.below(60'000), 0);
  });
}

}  // namespace

int main() {
  uv_loop_t* const loop = uv_default_loop();
  json_line out;
  out.add("timer_hot_ns", timer_hot_ns(loop));
  out.add("timer_random_ns", timer_random_ns(loop));
}
