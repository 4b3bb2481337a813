// SPDX-License-Identifier: Apache-2.0
// blocking(fn): a call that blocks (here the system's look-up of a user) goes to a thread that may, and the shard goes
// on meanwhile. Run it with: build/release/apps/22_blocking
#include <skerry/shards/app.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/pool/blocking.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <poll.h>
#include <pwd.h>

namespace {

using namespace skerry;

/// Reads files, or asks a directory server and waits for its answer. Runs on a thread that is no shard.
std::optional<std::string> home_of(const std::string& user) {
  std::vector<char> room(16 * 1024);
  passwd entry{};
  passwd* found = nullptr;
  getpwnam_r(user.c_str(), &entry, room.data(), room.size(), &found);
  if (found == nullptr) return std::nullopt;
  return std::string(entry.pw_dir);
}

task<> run() {
  for (const char* user : {"root", "nobody at all"}) {
    auto ask = [](std::string name) { return home_of(name); };  // no captures: what it needs are arguments
    const std::optional<std::string> home = co_await blocking(ask, std::string(user));
    fmt::print("{}: {}\n", user, home.value_or("nobody"));
  }

  // Four calls of 50 ms at a time by default, and this shard is free to do something else.
  auto slow = spawn([]() -> task<int> { co_return co_await blocking([] { return ::poll(nullptr, 0, 50); }); });
  int ticks = 0;
  while (!slow.is_finished()) {
    co_await sleep_for(std::chrono::milliseconds(5));
    ++ticks;
  }
  fmt::print("the shard {} meanwhile\n", ticks > 1 ? "went on" : "stood still");
  co_await slow;
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("22_blocking").run(argc, argv, run); }
