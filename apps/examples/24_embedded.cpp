// SPDX-License-Identifier: Apache-2.0
// Shards inside a program that has a main loop of its own: started, called from its threads, stopped, and started
// again. Run it with: build/release/apps/24_embedded
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/alien/alien.hpp>
#include <skerry/toolkit/alien/embedded.hpp>

#include <chrono>
#include <future>
#include <string>
#include <vector>

#include <fmt/core.h>

namespace {

using namespace skerry;

task<std::string> greet(std::string whom) {
  co_await sleep_for(std::chrono::milliseconds(1));
  co_return fmt::format("shard {} greets {}", this_shard_id(), whom);
}

app_options two_shards() {
  app_options options;
  options.shards = 2;
  options.overprovision = true;
  options.log_level = "error";
  return options;
}

}  // namespace

int main() {
  alien::embedded_app shards(two_shards());
  for (const char* time : {"first", "second"}) {
    shards.start();
    // The rules of submit_to hold: no captures, and arguments that are handed over.
    std::vector<std::future<std::string>> answers;
    for (shard_id shard = 0; shard < shards.door().shard_count(); ++shard) {
      auto call = [](std::string whom) { return greet(whom); };
      answers.push_back(alien::submit_to(shards.door(), shard, call, std::string("the main loop")));
    }
    for (auto& answer : answers) fmt::print("{}\n", answer.get());
    shards.stop();
    fmt::print("stopped for the {} time\n", time);
  }
  // What comes too late is told so.
  if (!alien::post(shards.door(), 0, [] { fmt::print("never\n"); })) fmt::print("nobody is there any more\n");
}
