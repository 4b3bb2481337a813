// SPDX-License-Identifier: Apache-2.0
/// Watches on the real kernel: what is told, in which order, and what is told when too much happens.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_watch.hpp>
#include <skerry/net/file/whole_file.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <sys/inotify.h>

namespace skerry {
namespace {

using net::file_change;
using net::file_watch;
using test_support::run_and_count;
using test_support::scratch_directory;
using test_support::turn;
using test_support::was_cancelled;

task<> until_closed() {
  while (net::open_files() != 0) co_await turn();
}

TEST(file_watch, tells_what_happens_in_order_and_who_waits_is_told_when_it_does) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    {
      file_watch changes;
      const int watch = co_await changes.add(here.path(), IN_CREATE | IN_DELETE | IN_MOVE);
      auto waiting = spawn(changes.next());
      co_await turn();
      EXPECT_FALSE(waiting.is_finished());
      here.put("a", "");
      const file_change made = co_await waiting;
      EXPECT_EQ(made.watch, watch);
      EXPECT_EQ(made.kinds, std::uint32_t{IN_CREATE});
      EXPECT_EQ(made.name, "a");
      std::filesystem::rename(here.file("a"), here.file("b"));
      std::filesystem::remove(here.file("b"));
      const file_change from = co_await changes.next(), to = co_await changes.next(), gone = co_await changes.next();
      EXPECT_EQ(from.kinds, std::uint32_t{IN_MOVED_FROM});
      EXPECT_EQ(from.name, "a");
      EXPECT_EQ(to.kinds, std::uint32_t{IN_MOVED_TO});
      EXPECT_EQ(to.name, "b");
      EXPECT_NE(from.cookie, 0u);
      EXPECT_EQ(from.cookie, to.cookie);
      EXPECT_EQ(gone.kinds, std::uint32_t{IN_DELETE});
      changes.remove(watch);
      EXPECT_EQ((co_await changes.next()).kinds, std::uint32_t{IN_IGNORED});
      EXPECT_THROW(changes.remove(watch), std::system_error);
    }
    co_await until_closed();
  });
}

TEST(file_watch, sees_an_atomic_replacement_and_tells_watches_apart) {
  scratch_directory here;
  here.put("one/settings", "old");
  here.put("two/other", "");
  run_and_count([&]() -> task<> {
    {
      file_watch changes;
      const int one = co_await changes.add(here.file("one"), IN_MOVED_TO);
      const int two = co_await changes.add(here.file("two/other"), IN_MODIFY);
      EXPECT_NE(one, two);
      co_await net::write_file_atomically(here.file("one/settings"), "new");
      std::ofstream(here.file("two/other")) << "more";
      const file_change replaced = co_await changes.next(), modified = co_await changes.next();
      EXPECT_EQ(replaced.watch, one);
      EXPECT_EQ(replaced.name, "settings");
      EXPECT_EQ(modified.watch, two);
      EXPECT_EQ(modified.name, "");
    }
    co_await until_closed();
  });
}

TEST(file_watch, an_overflow_is_told_and_what_came_before_it_is_whole) {
  int queue = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queue;
  if (queue == 0 || queue > 50'000) GTEST_SKIP() << "the kernel's queue has " << queue << " places";
  scratch_directory here;
  run_and_count([&]() -> task<> {
    {
      file_watch changes;
      co_await changes.add(here.path(), IN_CREATE | IN_DELETE);
      for (int i = 0; i <= queue; i += 2) {
        here.put("f", "");
        std::filesystem::remove(here.file("f"));
      }
      int told = 0;
      while (true) {
        const file_change each = co_await changes.next();
        if (each.overflowed()) {
          EXPECT_EQ(each.watch, -1);
          break;
        }
        EXPECT_EQ(each.kinds, static_cast<std::uint32_t>(told % 2 == 0 ? IN_CREATE : IN_DELETE));
        EXPECT_EQ(each.name, "f");
        ++told;
      }
      EXPECT_EQ(told, queue);
      here.put("after", "");
      EXPECT_EQ((co_await changes.next()).name, "after") << "it goes on after an overflow";
    }
    co_await until_closed();
  });
}

TEST(file_watch, a_cancelled_wait_loses_nothing_and_errors_name_the_path) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    {
      file_watch changes;
      co_await changes.add(here.path(), IN_CREATE);
      for (int turns = 0; turns < 4; ++turns) {
        auto waiting = spawn(changes.next());
        for (int i = 0; i < turns; ++i) co_await turn();
        here.put("f" + std::to_string(turns), "");
        waiting.abort();
        const bool cancelled = co_await was_cancelled(waiting);
        if (cancelled) {
          EXPECT_EQ((co_await changes.next()).name, "f" + std::to_string(turns));
        }
      }
      try {
        co_await changes.add(here.file("none"));
        ADD_FAILURE() << "nothing was thrown";
      } catch (const std::system_error& thrown) {
        EXPECT_EQ(thrown.code(), std::errc::no_such_file_or_directory);
        EXPECT_NE(std::string(thrown.what()).find(here.file("none")), std::string::npos);
      }
    }
    co_await until_closed();
  });
}

}  // namespace
}  // namespace skerry
