// SPDX-License-Identifier: Apache-2.0
// Operations on one shard: tasks, timers, combinators, local primitives.
#include <skerry/framework/clock.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/generator/generator.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <chrono>
#include <cstddef>
#include <span>

#include <framework/instructions_driver.hpp>

namespace {

using namespace skerry;
using perf::counted;
using perf::keep;
using perf::repeat;

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

/// What a connection does whose deadline moves: the timer is armed already, for a time in another slot of the wheel.
task<> timer_rearm(int count) {
  silent_timer waits;
  auto& timers = timers::this_timers();
  for (int i = 0; i < count; ++i) {
    timers.cancel(waits);
    timers.arm(waits, clock::now() + std::chrono::milliseconds(1000 + i % 1024 * 20));
    keep(&waits);
  }
  timers.cancel(waits);
  co_return;
}

task<> with_timeout_ready(int count) {
  for (int i = 0; i < count; ++i) keep(co_await with_timeout(std::chrono::seconds(1), ready(i)));
}

task<> answer_each(event& asked, event& answered) {
  for (;;) {
    co_await asked.wait();
    asked.reset();
    answered.set();
  }
}
task<int> ask(event& asked, event& answered, int n) {
  asked.set();
  co_await answered.wait();
  answered.reset();
  co_return n;
}
/// With the step of the task that answers.
task<> with_timeout_waiting(int count) {
  event asked("a question"), answered("an answer");
  join_handle<> other = spawn(answer_each(asked, answered));
  for (int i = 0; i < count; ++i) {
    keep(co_await with_timeout(std::chrono::seconds(1), ask(asked, answered, i)));
  }
  other.abort();
  while (!other.is_finished()) co_await yield();
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

task<> frame_allocate_release(int count) {
  constexpr std::size_t bytes = 128;
  for (int i = 0; i < count; ++i) {
    void* frame = frame_pool::allocate_frame(bytes);
    keep(frame);
    frame_pool::release_frame(frame, bytes);
  }
  co_return;
}

constexpr counted operations[] = {
    {"ready_co_await", repeat<ready_co_await>},
    {"spawn_join", repeat<spawn_join>},
    {"yield", repeat<yield_once>},
    {"frame_allocate_release", repeat<frame_allocate_release>},
    {"timer_arm_cancel", repeat<timer_arm_cancel>},
    {"timer_rearm", repeat<timer_rearm>},
    {"with_timeout_ready", repeat<with_timeout_ready>},
    {"with_timeout_waiting", repeat<with_timeout_waiting>},
    {"when_all_of_8", repeat<when_all_of_8>},
    {"when_any_of_2", repeat<when_any_of_2>},
    {"mutex_lock_unlock", repeat<mutex_lock_unlock>},
    {"semaphore_acquire_release", repeat<semaphore_acquire_release>},
    {"channel_send_recv", repeat<channel_send_recv>},
    {"generator_next", repeat<generator_next>},
};

}  // namespace

std::span<const counted> perf::counted_tasks() { return operations; }
