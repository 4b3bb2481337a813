// SPDX-License-Identifier: Apache-2.0
/// Whole files: the old bytes or the new ones, and nothing beside them, whatever happens on the way.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/whole_file.hpp>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sched.h>
#include <support/raw_peer.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry {
namespace {

using net::read_file;
using net::write_file_atomically;
using test_support::numbered_bytes;
using test_support::run_and_count;
using test_support::scratch_directory;
using test_support::turn;
using test_support::was_cancelled;

template <class T>
task<std::errc> error_of(task<T> what) {
  try {
    (void)co_await std::move(what);
  } catch (const std::system_error& thrown) {
    co_return static_cast<std::errc>(thrown.code().value());
  }
  co_return std::errc{};
}

TEST(whole_file, is_read_up_to_the_bound_and_refused_past_it) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(100'000);
  here.put("f", bytes);
  here.put("empty", "");
  run_and_count([&]() -> task<> {
    EXPECT_TRUE(co_await read_file(here.file("f"), 1'000'000) == bytes);
    EXPECT_TRUE(co_await read_file(here.file("f"), 100'000) == bytes);
    EXPECT_EQ(co_await error_of(read_file(here.file("f"), 99'999)), std::errc::file_too_large);
    EXPECT_EQ(co_await error_of(read_file(here.file("f"), 0)), std::errc::file_too_large);
    EXPECT_EQ(co_await read_file(here.file("empty"), 0), "");
    EXPECT_EQ(co_await error_of(read_file(here.file("none"), 10)), std::errc::no_such_file_or_directory);
  });
}

TEST(whole_file, is_read_where_the_status_says_that_there_is_nothing) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk knows the size of each file";
  run_and_count([]() -> task<> {
    const std::string maps = co_await read_file("/proc/self/maps", 1 << 20);
    EXPECT_NE(maps.find("whole_file_test"), std::string::npos);
    EXPECT_EQ(co_await error_of(read_file("/proc/self/maps", 100)), std::errc::file_too_large);
  });
}

TEST(whole_file, replaces_what_was_there) {
  scratch_directory here;
  here.put("f", "old and longer than what comes");
  run_and_count([&]() -> task<> {
    co_await write_file_atomically(here.file("f"), "new");
    EXPECT_EQ(here.get("f"), "new");
    co_await write_file_atomically(here.file("secret"), "", 0600);
    struct stat made{};
    EXPECT_EQ(::stat(here.file("secret").c_str(), &made), 0);
    EXPECT_EQ(made.st_mode & 0777U, 0600U);
    EXPECT_EQ(here.names().size(), 2u);
  });
}

TEST(whole_file, is_written_beside_the_program_when_its_path_has_no_directory) {
  if (test_support::simulating()) GTEST_SKIP() << "simulated programs are in their root";
  scratch_directory here;
  const std::string before = std::filesystem::current_path();
  ASSERT_EQ(::chdir(here.path().c_str()), 0);
  run_and_count([]() -> task<> { co_await write_file_atomically("f", "new"); });
  EXPECT_EQ(here.get("f"), "new");
  ASSERT_EQ(::chdir(before.c_str()), 0);
}

TEST(whole_file, failures_leave_the_old_bytes_and_nothing_else) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    EXPECT_EQ(::mkdir(here.file("d").c_str(), 0777), 0);
    EXPECT_EQ(::mkdir(here.file("d/x").c_str(), 0777), 0);
    EXPECT_EQ(co_await error_of(write_file_atomically(here.file("none/f"), "new")),
              std::errc::no_such_file_or_directory);
    EXPECT_EQ(co_await error_of(write_file_atomically(here.file("d"), "new")), std::errc::is_a_directory);
    EXPECT_EQ(here.names(), std::vector<std::string>{"d"});
  });
}

/// Mounts of this program's own. From its start: the kernel's worker threads keep those that they were made with.
class own_mounts final : public testing::Environment {
  void SetUp() override { apart_ = ::unshare(CLONE_NEWNS) == 0; }

 public:
  bool apart() const noexcept { return apart_; }

 private:
  bool apart_ = false;
};
auto* const mounts = static_cast<own_mounts*>(testing::AddGlobalTestEnvironment(new own_mounts));

TEST(whole_file, a_full_disk_leaves_the_old_bytes_and_nothing_else) {
  if (test_support::simulating()) GTEST_SKIP() << "its disk is a mount of the real kernel";
  scratch_directory here;
  if (!mounts->apart() || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", here.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "no disk can be made here that is full soon: " << std::strerror(errno);
  }
  here.put("f", "old");
  run_and_count([&]() -> task<> {
    EXPECT_EQ(co_await error_of(write_file_atomically(here.file("f"), numbered_bytes(200'000))),
              std::errc::no_space_on_device);
    EXPECT_EQ(here.get("f"), "old");
    EXPECT_EQ(here.names(), std::vector<std::string>{"f"});
    co_await write_file_atomically(here.file("f"), "what fits");
    EXPECT_EQ(here.get("f"), "what fits");
  });
  EXPECT_EQ(::umount(here.path().c_str()), 0);
}

TEST(whole_file, a_cancel_at_any_step_leaves_the_old_bytes_or_the_new_ones) {
  scratch_directory here;
  const std::string old_bytes = numbered_bytes(10'000), new_bytes = numbered_bytes(300'000);
  run_and_count([&]() -> task<> {
    int old_seen = 0, new_seen = 0;
    // As many turns of the loop as it takes, on a machine however slow, for the last ones to end by themselves.
    for (std::uint64_t turns = 0; new_seen < 3; turns += 1 + turns / 8) {
      here.put("f", old_bytes);
      auto writing = spawn(write_file_atomically(here.file("f"), new_bytes));
      for (std::uint64_t i = 0; i < turns && !writing.is_finished(); ++i) co_await turn();
      writing.abort();
      const bool cancelled = co_await was_cancelled(writing);
      const std::string now = here.get("f");
      EXPECT_TRUE(now == new_bytes || (cancelled && now == old_bytes)) << "after " << turns << " turns";
      ++(now == new_bytes ? new_seen : old_seen);
      EXPECT_EQ(here.names(), std::vector<std::string>{"f"}) << "after " << turns << " turns";
      while (net::open_files() != 0) co_await turn();
    }
    EXPECT_GT(old_seen, 0);
    EXPECT_EQ(new_seen, 3);
  });
}

}  // namespace
}  // namespace skerry
