// SPDX-License-Identifier: Apache-2.0
// Each shard follows a directory of settings, by what it is told of changes alone, while all shards change them: by a
// new file in the place of the old one, and in place. Waits are given up at times. In the end every shard has what was
// written last; one that was not told of it waits for ever.
#include <skerry/framework/task/group.hpp>
#include <skerry/net/file/directory.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_watch.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <simulation/scenarios.hpp>
#include <sys/inotify.h>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;

constexpr unsigned shards = 3;
constexpr std::size_t settings = 4;
constexpr int last = 6;
constexpr unsigned waits_given_up = 10;  // and then it waits: whoever is never told must not pass by asking again
constexpr std::uint32_t wanted = IN_CLOSE_WRITE | IN_MOVED_TO;

std::string path_of(std::size_t setting) { return "/tmp/settings/" + std::to_string(setting); }

/// Once more after what comes from the seed; ENOENT is an answer.
template <class Make>
task<> until_done(Make make) {
  for (bool done = false; !done;) {
    try {
      co_await make();
      done = true;
    } catch (const std::system_error& error) {
      done = error.code() == std::errc::no_such_file_or_directory || error.code() == std::errc::file_exists;
    }
  }
}

// --- changes ---

task<> write_in_place(std::string path, std::string text) {
  net::file f = co_await net::open_file(std::move(path), net::open_options(O_WRONLY | O_CREAT | O_TRUNC));
  co_await f.write(text, 0);
  co_await f.close();
}

task<> change(std::size_t setting) {
  for (int version = 1; version <= last; ++version) {
    const std::string text = std::to_string(version);
    const bool anew = sim::draw(2) == 0;
    const auto write = [&] {
      return anew ? net::write_file_atomically(path_of(setting), text) : write_in_place(path_of(setting), text);
    };
    co_await until_done(write);
    co_await sleep_for(std::chrono::microseconds(sim::draw(3'000)));
  }
}

// --- who follows ---

struct follower {
  net::file_watch changes;
  std::array<std::string, settings> now;
  unsigned given_up = 0;

  bool has_the_last() const {
    for (const std::string& each : now) {
      if (each != std::to_string(last)) return false;
    }
    return true;
  }
  task<> look_at(std::size_t setting) {
    const auto look = [this, setting]() -> task<> { now[setting] = co_await net::read_file(path_of(setting), 100); };
    co_await until_done(look);
  }
  task<> look_at_all() {
    for (std::size_t each = 0; each < settings; ++each) co_await look_at(each);
  }
  task<net::file_change> next() {
    while (given_up < waits_given_up) {
      ++given_up;
      const auto patience = std::chrono::microseconds(sim::draw(1'000));
      try {
        co_return co_await with_timeout(patience, changes.next());
      } catch (const std::system_error& late) {
        if (late.code() != std::errc::timed_out) throw;
      }
    }
    co_return co_await changes.next();
  }
};

task<> follow() {
  follower me;
  const auto watch = [&me]() -> task<> { co_await me.changes.add("/tmp/settings", wanted); };
  co_await until_done(watch);
  co_await me.look_at_all();
  while (!me.has_the_last()) {
    const net::file_change told = co_await me.next();
    if (told.overflowed()) {
      co_await me.look_at_all();
      continue;
    }
    if ((told.kinds & ~wanted) != 0) sim::fail("told of what nobody asked for");
    for (std::size_t each = 0; each < settings; ++each) {
      if (told.name == std::to_string(each)) co_await me.look_at(each);
    }
  }
}

task<> test_watch() {
  co_await until_done([] { return net::make_directory("/tmp/settings"); });
  const auto all = [](group& g) -> task<> {
    const auto follow_there = [](shard_id where) -> task<> { co_await submit_to(where, [] { return follow(); }); };
    const auto change_there = [](std::size_t setting) -> task<> {
      const auto where = static_cast<shard_id>(setting % shards);
      co_await submit_to(where, [](std::size_t which) { return change(which); }, setting);
    };
    for (shard_id each = 0; each < shards; ++each) g.spawn(follow_there(each), "follows");
    for (std::size_t each = 0; each < settings; ++each) g.spawn(change_there(each), "changes");
    co_return;
  };
  co_await with_group(all);
}

}  // namespace

sim::test_case watch() {
  const auto configure = [](sim::options& o) {
    o.all_faults();
    o.shards = shards;
    o.steps_max = 1'000'000;
    o.system.watched_changes_max = 8;
  };
  return {"watch", configure, test_watch};
}

}  // namespace scenarios
