// SPDX-License-Identifier: Apache-2.0
// What perf/instructions counts: N times one operation, on one shard, and nothing that depends on the time or on
// chance. The shard's clock moves on by the same step each time it is read, because the loop reads it after as many
// steps of tasks as should take 10 us, and looks at its pollers when it says that the tasks' budget is over.
//
//     build/release/perf/instructions_driver --list
//     build/release/perf/instructions_driver spawn_join 10000       prints nothing; run it under callgrind
#include <skerry/framework/clock.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/sync/mutex.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/resp/parser.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/generator/generator.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace skerry;

/// 1 us from one reading to the next: what 64 steps of a short task take.
class stepping_clock final : public clock_source {
 public:
  std::chrono::nanoseconds monotonic() noexcept override { return passed_ += std::chrono::microseconds(1); }
  std::chrono::nanoseconds wall() noexcept override { return passed_; }

 private:
  std::chrono::nanoseconds passed_ = std::chrono::hours(1);
};

/// Makes the compiler believe that somebody reads the value.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

task<int> ready(int n) { co_return n; }

task<int> loses(event& never) {
  co_await never.wait();
  co_return 0;
}

struct silent_timer final : timers::timer {
  void expired() noexcept override {}
};

task<> ready_co_await(int count) {
  for (int i = 0; i < count; ++i) keep(co_await ready(i));
}

task<> spawn_join(int count) {
  for (int i = 0; i < count; ++i) keep(co_await spawn(ready(i)));
}

task<> yield_once(int count) {
  for (int i = 0; i < count; ++i) co_await yield();
}

task<> timer_arm_cancel(int count) {
  silent_timer waits;
  for (int i = 0; i < count; ++i) {
    timers::this_timers().arm(waits, clock::now() + std::chrono::seconds(30));
    keep(&waits);
    timers::this_timers().cancel(waits);
  }
  co_return;
}

task<> when_all_of_8(int count) {
  for (int i = 0; i < count; ++i)
    keep(co_await when_all(ready(1), ready(2), ready(3), ready(4), ready(5), ready(6), ready(7), ready(i)));
}

task<> when_any_of_2(int count) {
  event never("what does not happen");
  for (int i = 0; i < count; ++i) keep(co_await when_any(loses(never), ready(i)));
}

task<> mutex_lock_unlock(int count) {
  mutex m;
  for (int i = 0; i < count; ++i) {
    units held = co_await m.lock();
    keep(&held);
  }
}

task<> semaphore_acquire_release(int count) {
  semaphore s(8);
  for (int i = 0; i < count; ++i) {
    units held = co_await s.acquire(2);
    keep(&held);
  }
}

task<> channel_send_recv(int count) {
  channel<int> items(16);
  for (int i = 0; i < count; ++i) {
    co_await items.send(i);
    keep(co_await items.recv());
  }
}

generator<int> count_up() {
  for (int i = 0;; ++i) co_yield i;
}
task<> generator_next(int count) {
  auto items = count_up();
  for (int i = 0; i < count; ++i) keep(*co_await items.next());
}

task<> submit_to_own_shard(int count) {
  for (int i = 0; i < count; ++i) keep(co_await submit_to(0, [](int n) { return n + 1; }, i));
}

task<> resp_parse_get(int count) {
  std::string command = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n";
  net::resp::request_parser parser;
  std::vector<std::string_view> arguments;
  for (int i = 0; i < count; ++i) {
    arguments.clear();
    keep(parser.parse(std::span<char>(command), arguments));
  }
  co_return;
}

task<> frame_allocate_release(int count) {
  constexpr std::size_t bytes = 128;
  for (int i = 0; i < count; ++i) {
    void* frame = frame_pool::allocate_frame(bytes);
    keep(frame);
    frame_pool::release_frame(frame, bytes);
  }
  co_return;
}

struct counted {
  std::string_view name;
  task<> (*repeat)(int count);
};
constexpr counted operations[] = {
    {"ready_co_await", ready_co_await},
    {"spawn_join", spawn_join},
    {"yield", yield_once},
    {"timer_arm_cancel", timer_arm_cancel},
    {"when_all_of_8", when_all_of_8},
    {"when_any_of_2", when_any_of_2},
    {"mutex_lock_unlock", mutex_lock_unlock},
    {"semaphore_acquire_release", semaphore_acquire_release},
    {"channel_send_recv", channel_send_recv},
    {"generator_next", generator_next},
    {"submit_to_own_shard", submit_to_own_shard},
    {"resp_parse_get", resp_parse_get},
    {"frame_allocate_release", frame_allocate_release},
};

void run(const counted& which, int count) {
  app_options options;
  options.shards = 1;
  options.seed = 1;
  options.log_level = "error";
  placement where;
  where.shards.resize(1);
  where.count_reason = "instructions";
  stepping_clock time;
  host machine(options, where, time);
  machine.run([&] { return which.repeat(count); }, true);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (argc == 2 && name == "--list") {
    for (const counted& each : operations) std::puts(each.name.data());
    return 0;
  }
  for (const counted& each : operations) {
    if (argc != 3 || each.name != name) continue;
    run(each, std::atoi(argv[2]));
    return 0;
  }
  std::fprintf(stderr, "usage: instructions_driver --list | OPERATION COUNT\n");
  return 1;
}
