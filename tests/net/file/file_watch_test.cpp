// SPDX-License-Identifier: Apache-2.0
/// Watches on the real kernel, and on a simulated disk: what is told, in which order, and what is told when too much
/// happens.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_watch.hpp>
#include <skerry/net/file/whole_file.hpp>

#include <cstdint>
#include <cstdio>
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
#include <unistd.h>

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
      const int watch = co_await changes.add(here.file("."), IN_CREATE | IN_DELETE | IN_MOVE);
      auto waiting = spawn(changes.next());
      co_await turn();
      EXPECT_FALSE(waiting.is_finished());
      here.put("a", "");
      const file_change made = co_await waiting;
      EXPECT_EQ(made.watch, watch);
      EXPECT_EQ(made.kinds, std::uint32_t{IN_CREATE});
      EXPECT_EQ(made.name, "a");
      EXPECT_EQ(std::rename(here.file("a").c_str(), here.file("b").c_str()), 0);
      EXPECT_EQ(::unlink(here.file("b").c_str()), 0);
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
  run_and_count([&]() -> task<> {
    {
      here.put("one/settings", "old");
      here.put("two/other", "");
      file_watch changes;
      const int one = co_await changes.add(here.file("one"), IN_MOVED_TO);
      const int two = co_await changes.add(here.file("two/other"), IN_MODIFY);
      EXPECT_NE(one, two);
      co_await net::write_file_atomically(here.file("one/settings"), "new");
      here.put("two/other", "more");
      const file_change replaced = co_await changes.next(), modified = co_await changes.next();
      EXPECT_EQ(replaced.watch, one);
      EXPECT_EQ(replaced.name, "settings");
      EXPECT_EQ(modified.watch, two);
      EXPECT_EQ(modified.name, "");
    }
    co_await until_closed();
  });
}

using kinds = std::vector<std::uint32_t>;

task<kinds> kinds_of(file_watch& changes, std::size_t count) {
  kinds all;
  while (all.size() < count) {
    const file_change next = co_await changes.next();
    all.push_back(next.kinds);
  }
  co_return all;
}

TEST(file_watch, of_a_file_itself_ends_when_it_is_replaced_or_gone_and_nobody_has_it_open) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    {
      here.put("a", "old");
      here.put("b", "new");
      file_watch changes;
      const int old = co_await changes.add(here.file("a"));
      EXPECT_EQ(std::rename(here.file("b").c_str(), here.file("a").c_str()), 0);
      const kinds replaced = co_await kinds_of(changes, 3);
      EXPECT_EQ(replaced, (kinds{IN_ATTRIB, IN_DELETE_SELF, IN_IGNORED}));
      EXPECT_THROW(changes.remove(old), std::system_error);
      EXPECT_GT(co_await changes.add(here.file("a")), old) << "numbers are not used again";
      {
        net::file open = co_await net::open_file(here.file("a"), net::open_options(O_RDWR));
        EXPECT_EQ(::unlink(here.file("a").c_str()), 0);
        co_await open.write("x", 0);
        const kinds unlinked = co_await kinds_of(changes, 2);
        EXPECT_EQ(unlinked, (kinds{IN_ATTRIB, IN_MODIFY}));
        co_await open.close();
      }
      const kinds closed = co_await kinds_of(changes, 3);
      EXPECT_EQ(closed, (kinds{IN_CLOSE_WRITE, IN_DELETE_SELF, IN_IGNORED}));
    }
    co_await until_closed();
  });
}

TEST(file_watch, tells_the_same_once_and_what_was_asked_for_in_which_way) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    {
      here.put("d/f", "");
      file_watch changes;
      const int directory = co_await changes.add(here.file("d"), IN_MODIFY);
      for (int i = 0; i < 5; ++i) here.put("d/f", "x");
      EXPECT_EQ((co_await changes.next()).name, "f");
      EXPECT_EQ(co_await changes.add(here.file("d/../d"), IN_CREATE | IN_MASK_ADD), directory) << "the same, twice";
      here.put("d/f", "x");
      here.put("d/g", "");
      const kinds joined = co_await kinds_of(changes, 2);
      EXPECT_EQ(joined, (kinds{IN_MODIFY, IN_CREATE}));
      EXPECT_EQ(co_await changes.add(here.file("d"), IN_CREATE | IN_ONESHOT | IN_ONLYDIR), directory);
      here.put("d/f", "x");
      ::mkdir(here.file("d/s").c_str(), 0700);
      here.put("d/h", "");
      const kinds once = co_await kinds_of(changes, 2);
      EXPECT_EQ(once, (kinds{IN_CREATE | IN_ISDIR, IN_IGNORED}));
      try {
        co_await changes.add(here.file("d/f"), IN_CREATE | IN_ONLYDIR);
        ADD_FAILURE() << "nothing was thrown";
      } catch (const std::system_error& thrown) {
        EXPECT_EQ(thrown.code(), std::errc::not_a_directory);
      }
    }
    co_await until_closed();
  });
}

TEST(file_watch, an_overflow_is_told_and_what_came_before_it_is_whole) {
  int queue = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queue;
  if (test_support::simulating()) queue = 16'384;
  if (queue == 0 || queue > 50'000) GTEST_SKIP() << "the kernel's queue has " << queue << " places";
  scratch_directory here;
  run_and_count([&]() -> task<> {
    {
      file_watch changes;
      co_await changes.add(here.file("."), IN_CREATE | IN_DELETE);
      for (int i = 0; i <= queue; i += 2) {
        here.put("f", "");
        ::unlink(here.file("f").c_str());
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
      co_await changes.add(here.file("."), IN_CREATE);
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
