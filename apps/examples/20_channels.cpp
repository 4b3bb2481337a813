// SPDX-License-Identifier: Apache-2.0
// Channels between tasks of one shard, and a select over two of them and a timer. Exactly one handler runs, and what
// the others waited for stays where it was. Run it with: build/release/apps/20_channels
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/channel/channel.hpp>

#include <chrono>
#include <optional>
#include <string>

#include <fmt/core.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

task<> speak(channel<std::string>& words) {
  for (const char* word : {"sea", "rock"}) {
    co_await words.send(word);
    co_await yield();
  }
}

task<> count(channel<int>& numbers) {
  for (int n = 1; n <= 3; ++n) co_await numbers.send(n);
}

task<> run() {
  channel<int> numbers(1);  // holds one item, so that the sender waits for us
  channel<std::string> words(1);
  spawn(count(numbers), "count");
  spawn(speak(words), "speak");

  bool silence = false;
  while (!silence) {
    co_await select(on(numbers.recv(), [](std::optional<int> n) { fmt::print("number {}\n", *n); }),
                    on(words.recv(), [](std::optional<std::string> word) { fmt::print("word {}\n", *word); }),
                    on(sleep_for(100ms), [&silence] { silence = true; }));
  }
  fmt::print("silence\n");
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("20_channels").run(argc, argv, run); }
