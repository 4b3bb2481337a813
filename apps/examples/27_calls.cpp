// SPDX-License-Identifier: Apache-2.0
// Calls to other shards: results, exceptions with their type, deadlines and cancels cross; so do calls to all shards at
// once. Run it with: build/release/apps/27_calls --shards 3 --overprovision
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/flow/deadline.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fmt/core.h>

namespace {

using namespace skerry;

task<> take_an_hour() {
  const std::shared_ptr<void> at_the_end(nullptr, [](void*) { fmt::print("ended on shard {}\n", this_shard_id()); });
  co_await sleep_for(std::chrono::hours(1));
}

task<> run() {
  auto shout = [](std::string word) { return word + "!"; };
  fmt::print("{}\n", co_await submit_to(1, shout, std::string("ahoy")));
  try {
    co_await submit_to(1, []() -> task<int> { throw std::out_of_range("no such rock"); });
  } catch (const std::out_of_range& error) {
    fmt::print("caught: {}\n", error.what());
  }
  const by soon(clock::now() + std::chrono::milliseconds(10));
  try {
    co_await submit_to(soon, 1, []() -> task<> { co_await sleep_for(std::chrono::hours(1)); });
  } catch (const timeout_error&) {
    fmt::print("too late\n");
  }
  auto waits = spawn([]() -> task<> { co_await submit_to(2, [] { return take_an_hour(); }); });
  co_await yield();                                      // it has sent its call
  co_await submit_to(2, []() -> task<> { co_return; });  // which was there first, and waits
  waits.abort();
  try {
    co_await waits;
  } catch (const std::system_error&) {
    fmt::print("acknowledged\n");
  }

  const auto tens = co_await map_all([](unsigned n) { return n * (this_shard_id() + 1); }, 10u);
  for (const unsigned each : tens) fmt::print("{}\n", each);
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("27_calls").run(argc, argv, run); }
