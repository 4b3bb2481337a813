// SPDX-License-Identifier: Apache-2.0
// A nursery: tasks that end together. with_group goes on when its body and all children have ended, and when one of
// them fails the others are cancelled first. Run it with: build/release/apps/10_nursery
#include <skerry/framework/task/group.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <stdexcept>

#include <fmt/core.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

task<> greet(const char* name, clock::duration after) {
  co_await sleep_for(after);
  fmt::print("hello from {}\n", name);
}

struct candle {
  const char* name;
  ~candle() { fmt::print("{} goes out\n", name); }
};

task<> burn(const char* name) {
  candle light(name);
  co_await sleep_for(1h);
}

task<> run() {
  co_await with_group([](group& g) -> task<> {
    g.spawn(greet("Anna", 20ms));
    g.spawn(greet("Ben", 10ms));
    fmt::print("the body ends first\n");
    co_return;
  });
  fmt::print("everybody has spoken\n");

  try {
    co_await with_group([](group& g) -> task<> {
      g.spawn(burn("red"));
      g.spawn(burn("green"));
      co_await sleep_for(1ms);
      throw std::runtime_error("a gust of wind");
    });
  } catch (const std::runtime_error& failed) {
    fmt::print("after {}\n", failed.what());
  }
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("10_nursery").run(argc, argv, run); }
