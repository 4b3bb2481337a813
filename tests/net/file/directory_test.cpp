// SPDX-License-Identifier: Apache-2.0
/// Directories on the real kernel.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/directory.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry {
namespace {

using net::directory_entry;
using net::entry_kind;
using test_support::run_and_count;
using test_support::scratch_directory;
using test_support::was_cancelled;

template <class T>
task<> expect_refused(task<T> what, std::errc error, std::string path) {
  try {
    (void)co_await std::move(what);
    ADD_FAILURE() << "nothing was thrown for " << path;
  } catch (const std::system_error& thrown) {
    EXPECT_EQ(thrown.code(), error) << thrown.what();
    EXPECT_NE(std::string(thrown.what()).find(path), std::string::npos) << thrown.what();
  }
}

TEST(directory, is_made_listed_and_removed) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    const std::string path = here.file("d");
    co_await net::make_directory(path, 0700);
    struct stat made{};
    EXPECT_EQ(::stat(path.c_str(), &made), 0);
    EXPECT_EQ(made.st_mode & 0777U, 0700U);
    EXPECT_TRUE((co_await net::list_directory(path, 0)).empty());
    here.put("d/file", "");
    here.put("d/inner/x", "");
    std::map<std::string, entry_kind> all{{"file", entry_kind::regular}, {"inner", entry_kind::directory}};
    if (!test_support::simulated()) {  // where there are files and directories only
      EXPECT_EQ(::symlink("file", here.file("d/link").c_str()), 0);
      EXPECT_EQ(::mkfifo(here.file("d/fifo").c_str(), 0600), 0);
      all.emplace("link", entry_kind::symbolic_link);
      all.emplace("fifo", entry_kind::other);
    }
    std::map<std::string, entry_kind> found;
    const std::vector<directory_entry> listed = co_await net::list_directory(path, all.size());
    for (const directory_entry& each : listed) {
      found[each.name] = each.kind;
      struct stat status{};
      EXPECT_EQ(::lstat((path + '/' + each.name).c_str(), &status), 0);
      EXPECT_EQ(each.inode, status.st_ino);
    }
    EXPECT_EQ(found, all);
    co_await expect_refused(net::list_directory(path, all.size() - 1), std::errc::argument_list_too_long, path);
    co_await expect_refused(net::remove_directory(path), std::errc::directory_not_empty, path);
    co_await net::make_directory(here.file("empty"));
    co_await net::remove_directory(here.file("empty"));
    EXPECT_EQ(here.names(), std::vector<std::string>{"d"});
  });
}

TEST(directory, errors_name_the_path) {
  scratch_directory here;
  here.put("f", "");
  run_and_count([&]() -> task<> {
    co_await expect_refused(net::make_directory(here.path()), std::errc::file_exists, here.path());
    co_await expect_refused(net::make_directory(here.file("none/d")), std::errc::no_such_file_or_directory,
                            here.file("none/d"));
    co_await expect_refused(net::make_directory(here.file("f") + '\0' + "cut"), std::errc::invalid_argument,
                            here.file("f"));
    co_await expect_refused(net::remove_directory(here.file("f")), std::errc::not_a_directory, here.file("f"));
    co_await expect_refused(net::remove_directory(here.file("none")), std::errc::no_such_file_or_directory,
                            here.file("none"));
    co_await expect_refused(net::open_directory(here.file("f")), std::errc::not_a_directory, here.file("f"));
  });
}

TEST(directory, of_many_batches_is_listed_once_while_others_run) {
  scratch_directory here;
  constexpr int count = 2000;
  for (int i = 0; i < count; ++i) here.put("a file with a name of some length, number " + std::to_string(i), "");
  run_and_count([&]() -> task<> {
    bool done = false;
    std::uint64_t others = 0;
    auto other = spawn([&]() -> task<> {
      while (!done) {
        ++others;
        co_await yield();
      }
    });
    net::directory_reader from = co_await net::open_directory(here.path());
    std::map<std::string, int> seen;
    const std::uint64_t before = others;
    while (std::optional<directory_entry> each = co_await from.next()) ++seen[each->name];
    const std::uint64_t ran = others - before;
    done = true;
    co_await other;
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(count));
    for (const auto& [name, times] : seen) EXPECT_EQ(times, 1) << name;
    EXPECT_GE(ran, count * 64 / net::directory_reader::batch_bytes / 2) << "the listing kept the shard to itself";
    EXPECT_FALSE(co_await from.next());
  });
}

TEST(directory, a_cancelled_listing_closes_it_and_one_that_was_cancelled_in_between_goes_on) {
  scratch_directory here;
  constexpr std::size_t count = 500;
  for (std::size_t i = 0; i < count; ++i) here.put("a file with a name of some length " + std::to_string(i), "");
  run_and_count([&]() -> task<> {
    for (int steps = 0; steps < 8; ++steps) {
      auto listing = spawn(net::list_directory(here.path(), count));
      for (int i = 0; i < steps; ++i) co_await yield();
      listing.abort();
      co_await was_cancelled(listing);
      while (net::open_files() != 0) co_await test_support::turn();
    }
    net::directory_reader from = co_await net::open_directory(here.path());
    std::map<std::string, int> seen;
    bool ended = false;
    auto take = [&]() -> task<> {
      const std::optional<directory_entry> each = co_await from.next();
      ended = !each;
      if (each) ++seen[each->name];
    };
    int cancelled = 0;
    bool begins = false;
    while (!ended) {
      begins = !begins;
      auto taking = spawn(take());
      if (begins) co_await yield();
      taking.abort();
      cancelled += co_await was_cancelled(taking);
    }
    EXPECT_GT(cancelled, 0);
    EXPECT_EQ(seen.size(), count);
  });
}

}  // namespace
}  // namespace skerry
