// SPDX-License-Identifier: Apache-2.0
// Tasks: await one, start some beside each other, ask one to end. Tasks of a shard take turns and are never
// interrupted. Run it with: build/release/apps/02_tasks
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/app.hpp>

#include <system_error>

#include <fmt/core.h>

namespace {

using namespace skerry;

task<int> count(const char* who) {
  int n = 0;
  for (; n < 2; ++n) {
    fmt::print("{} {}\n", who, n);
    co_await yield();  // the others' turn
  }
  co_return n;
}

struct candle {
  ~candle() { fmt::print("the light goes out\n"); }
};

task<> burn() {
  candle light;
  while (true) co_await yield();
}

task<> run() {
  // A task is lazy. Awaited, it runs here and now, like a function that is called.
  fmt::print("counted {}\n", co_await count("alone"));

  // Spawned, it runs beside this task as soon as this one waits.
  join_handle<int> left = spawn(count("left"), "left");
  join_handle<int> right = spawn(count("right"), "right");
  int sum = co_await left;
  sum += co_await right;
  fmt::print("together {}\n", sum);

  // A task is asked to end where it waits next. Nothing is thrown in it, its destructors run. Whoever joins it is told.
  join_handle<> endless = spawn(burn(), "burn");
  co_await yield();
  endless.abort();
  try {
    co_await endless;
  } catch (const std::system_error& cancelled) {
    fmt::print("joined: {}\n", cancelled.code().message());
  }
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("02_tasks").run(argc, argv, run); }
