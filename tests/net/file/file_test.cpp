// SPDX-License-Identifier: Apache-2.0
/// Files on the real kernel: what is read and written where, what errors say, and that whoever drops or cancels leaves
/// no descriptor and no buffer behind.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/file.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry {
namespace {

using net::file;
using net::open_file;
using net::open_options;
using test_support::numbered_bytes;
using test_support::run_and_count;
using test_support::scratch_directory;
using test_support::text_of;
using test_support::turn;
using test_support::was_cancelled;

const open_options made_anew(O_RDWR | O_CREAT | O_EXCL);

task<std::string> read_text(file& from, std::uint64_t offset, std::size_t most) {
  std::string bytes(most, '\0');
  bytes.resize(co_await from.read(std::as_writable_bytes(std::span(bytes)), offset));
  co_return bytes;
}

/// Whether the kernel may give less at a time than there is.
bool in_pieces() { return test_support::disturbed() || test_support::simulated(); }

/// Every file is closed in the end, without a step of the test.
task<> until_closed() {
  while (net::open_files() != 0) co_await turn();
}

TEST(file, gives_back_what_was_written_at_each_offset) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    const std::string bytes = numbered_bytes(3'000'000);
    file f = co_await open_file(here.file("f"), made_anew);
    co_await f.write(bytes, 0);
    co_await f.write("middle", 1'000'000);
    std::string expected = bytes;
    expected.replace(1'000'000, 6, "middle");
    EXPECT_EQ(co_await f.size(), expected.size());
    EXPECT_TRUE(co_await read_text(f, 0, expected.size()) == expected);
    EXPECT_EQ(co_await read_text(f, 1'000'003, 5), expected.substr(1'000'003, 5));
    std::string by_buffers;
    while (true) {
      const buffer piece = co_await f.read(by_buffers.size());
      if (piece.empty()) break;
      EXPECT_LE(piece.size(), buffer_pool::buffer_bytes);
      by_buffers += text_of(piece);
    }
    EXPECT_TRUE(by_buffers == expected);
    const buffer few = co_await f.read(1'000'000, 3);
    EXPECT_FALSE(few.empty());
    EXPECT_EQ(text_of(few), std::string_view("mid").substr(0, in_pieces() ? few.size() : 3));
  });
}

TEST(file, reads_short_only_at_its_end) {
  scratch_directory here;
  here.put("f", "12345");
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("f"));
    EXPECT_EQ(co_await read_text(f, 0, 100), "12345");
    EXPECT_EQ(co_await read_text(f, 3, 100), "45");
    EXPECT_EQ(co_await read_text(f, 5, 100), "");
    EXPECT_EQ(co_await read_text(f, 500, 100), "");
    EXPECT_EQ(co_await read_text(f, 0, 0), "");
    EXPECT_TRUE((co_await f.read(5)).empty());
  });
}

TEST(file, takes_offsets_past_four_gibibytes) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated file is in memory from end to end";
  scratch_directory here;
  run_and_count([&]() -> task<> {
    constexpr std::uint64_t far = (std::uint64_t{5} << 30) + 7;
    file f = co_await open_file(here.file("sparse"), made_anew);
    co_await f.write("far away", far);
    EXPECT_EQ(co_await f.size(), far + 8);
    EXPECT_EQ(co_await read_text(f, far, 100), "far away");
    EXPECT_EQ(text_of(co_await f.read(far + 4)), "away");
    EXPECT_EQ(co_await read_text(f, 7, 8), std::string(8, '\0')) << "the offset was cut to 32 bits";
  });
}

TEST(file, tells_its_status) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk sets times of change itself";
  scratch_directory here;
  const std::string path = here.put("f", "12345");
  ::chmod(path.c_str(), 0640);
  const timespec modified{1'000'000'000, 123'456'789};
  const std::array times{modified, modified};
  ::utimensat(AT_FDCWD, path.c_str(), times.data(), 0);
  run_and_count([&]() -> task<> {
    file f = co_await open_file(path);
    const net::file_status status = co_await f.status();
    EXPECT_EQ(status.size, 5u);
    EXPECT_EQ(status.kind, net::file_kind::regular);
    EXPECT_EQ(status.permissions, 0640u);
    EXPECT_EQ(status.modified, std::chrono::nanoseconds(1'000'000'000'123'456'789));
    struct stat raw{};
    EXPECT_EQ(::stat(path.c_str(), &raw), 0);
    EXPECT_EQ(status.inode, raw.st_ino);
    file directory = co_await open_file(here.path(), open_options(O_DIRECTORY));
    EXPECT_EQ((co_await directory.status()).kind, net::file_kind::directory);
    file null = co_await open_file("/dev/null");
    EXPECT_EQ((co_await null.status()).kind, net::file_kind::other);
  });
}

// ---- errors ----

/// Expects that error, and a text that names the path.
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

task<> opened(std::string path, open_options options = open_options()) { co_await open_file(path, options); }

TEST(file, an_error_names_the_path) {
  scratch_directory here;
  here.put("there", "");
  run_and_count([&]() -> task<> {
    co_await expect_refused(opened(here.file("none")), std::errc::no_such_file_or_directory, here.file("none"));
    co_await expect_refused(opened(here.file("there"), made_anew), std::errc::file_exists, here.file("there"));
    co_await expect_refused(opened(here.file("there/x")), std::errc::not_a_directory, here.file("there/x"));
    co_await expect_refused(opened(here.path(), open_options(O_WRONLY)), std::errc::is_a_directory, here.path());
    const std::string cut = here.file("there") + '\0' + "more";
    co_await expect_refused(opened(cut), std::errc::invalid_argument, here.file("there"));

    file directory = co_await open_file(here.path());
    co_await expect_refused(read_text(directory, 0, 10), std::errc::is_a_directory, here.path());
    co_await expect_refused(directory.read(0), std::errc::is_a_directory, here.path());
    if (!test_support::simulated()) {  // where there are no devices
      file full = co_await open_file("/dev/full", open_options(O_WRONLY));
      co_await expect_refused(full.write("x", 0), std::errc::no_space_on_device, "/dev/full");
    }
    file unwritable = co_await open_file(here.file("there"));
    co_await expect_refused(unwritable.write("x", 0), std::errc::bad_file_descriptor, here.file("there"));
    co_await expect_refused(net::rename_file(here.file("none"), here.file("to")), std::errc::no_such_file_or_directory,
                            here.file("none"));
    co_await expect_refused(net::remove_file(here.path()), std::errc::is_a_directory, here.path());
  });
}

TEST(file, a_path_may_be_held_beneath_a_directory) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk has no links";
  scratch_directory here;
  here.put("secret", "secret");
  here.put("root/inside", "inside");
  ::symlink("../secret", here.file("root/out").c_str());
  ::symlink("inside", here.file("root/in").c_str());
  run_and_count([&]() -> task<> {
    file root = co_await open_file(here.file("root"), open_options(O_PATH | O_DIRECTORY));
    open_options beneath;
    beneath.directory = root.fd();
    beneath.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    file f = co_await open_file("in", beneath);
    EXPECT_EQ(co_await read_text(f, 0, 10), "inside");
    for (std::string path : {std::string("out"), std::string("../secret"), here.file("root/inside")}) {
      co_await expect_refused(opened(path, beneath), std::errc::cross_device_link, path);
    }
  });
}

TEST(file, a_failed_sync_is_not_forgotten_by_the_next) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk has files and directories only";
  scratch_directory here;
  here.put("f", "");
  ::mkfifo(here.file("fifo").c_str(), 0600);
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("fifo"), open_options(O_RDWR));
    co_await expect_refused(f.sync(), std::errc::invalid_argument, here.file("fifo"));
    // From here on the kernel would say that all is well, as it does after a write that it lost.
    const int well = ::open(here.file("f").c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_EQ(::dup2(well, f.fd()), f.fd());
    ::close(well);
    co_await expect_refused(f.sync(), std::errc::invalid_argument, here.file("fifo"));
    co_await expect_refused(f.sync_data(), std::errc::invalid_argument, here.file("fifo"));
  });
}

TEST(file, close_tells_what_a_dropped_handle_logs) {
  scratch_directory here;
  here.put("f", "");
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("f"));
    co_await f.close();
    EXPECT_EQ(net::open_files(), 0u);
    file g = co_await open_file(here.file("f"));
    ::close(g.fd());  // so that the kernel has something to refuse
    co_await expect_refused(g.close(), std::errc::bad_file_descriptor, here.file("f"));
  });
}

// ---- whose handle is gone, who is cancelled ----

TEST(file, a_dropped_handle_closes_its_descriptor) {
  scratch_directory here;
  here.put("f", "");
  run_and_count([&]() -> task<> {
    const auto before = test_support::open_descriptors();
    {
      file f = co_await open_file(here.file("f"));
      file moved = std::move(f);
      EXPECT_EQ(net::open_files(), 1u);
      EXPECT_EQ(test_support::open_descriptors(), before + 1);
      moved = co_await open_file(here.file("f"));
    }
    co_await until_closed();
    EXPECT_EQ(test_support::open_descriptors(), before);
  });
}

TEST(file, a_read_that_somebody_awaits_outlives_the_handle) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk has files and directories only";
  scratch_directory here;
  ::mkfifo(here.file("fifo").c_str(), 0600);
  run_and_count([&]() -> task<> {
    std::optional<file> f(co_await open_file(here.file("fifo"), open_options(O_RDWR)));
    const int fd = f->fd();
    auto reader = spawn(f->read(0));
    co_await turn();
    f.reset();
    co_await turn();
    EXPECT_EQ(net::open_files(), 1u);
    EXPECT_EQ(::write(fd, "late", 4), 4) << "the descriptor went while the kernel was reading from it";
    const buffer got = co_await reader;
    EXPECT_EQ(text_of(got), "late");
    co_await until_closed();
  });
}

TEST(file, an_open_that_is_cancelled_leaves_no_descriptor) {
  scratch_directory here;
  here.put("f", "");
  run_and_count([&]() -> task<> {
    const auto before = test_support::open_descriptors();
    for (int turns = 0; turns < 6; ++turns) {
      auto opening = spawn(opened(here.file("f")));
      for (int i = 0; i < turns; ++i) co_await turn();
      opening.abort();
      co_await was_cancelled(opening);
      co_await until_closed();
      EXPECT_EQ(test_support::open_descriptors(), before);
    }
  });
}

TEST(file, a_cancelled_read_gives_its_buffer_back) {
  scratch_directory here;
  here.put("f", "bytes");
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("f"));
    for (int turns = 0; turns < 6; ++turns) {
      auto reading = spawn(f.read(0));
      for (int i = 0; i < turns; ++i) co_await yield();
      reading.abort();
      co_await was_cancelled(reading);
      co_await turn();
      EXPECT_EQ(resource<buffer_pool>().stats().taken, 0u);
    }
  });
}

TEST(file, reads_that_get_nothing_use_no_buffer_up) {
  scratch_directory here;
  here.put("f", "bytes");
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("f"));
    file directory = co_await open_file(here.path());
    const std::uint32_t made = resource<buffer_pool>().stats().buffers;
    for (int i = 0; i < 1000; ++i) {
      EXPECT_TRUE((co_await f.read(5)).empty());
      try {
        co_await directory.read(0);
      } catch (const std::system_error&) {
      }
    }
    EXPECT_EQ(resource<buffer_pool>().stats().taken, 0u);
    EXPECT_EQ(resource<buffer_pool>().stats().buffers, made) << "the kernel kept some of them";
  });
}

TEST(file, reads_wait_in_turn_for_buffers) {
  if (test_support::simulating()) GTEST_SKIP() << "the turn is the order in which the kernel answers";
  if (test_support::disturbed()) GTEST_SKIP() << "the turn is the order in which the kernel answers";
  run_and_count([]() -> task<> {
    file zeros = co_await open_file("/dev/zero");
    std::vector<buffer> held;
    while (held.size() < buffer_pool::buffers_max) {
      auto next = spawn(zeros.read(0));
      while (!next.is_finished() && resource<buffer_pool>().stats().exhausted == 0) co_await turn();
      if (!next.is_finished()) break;  // a ring may be smaller
      held.push_back(co_await next);
    }
    auto first = spawn(zeros.read(0)), second = spawn(zeros.read(0)), third = spawn(zeros.read(0));
    while (resource<buffer_pool>().stats().exhausted < 3) co_await turn();
    EXPECT_FALSE(first.is_finished());
    first.abort();
    EXPECT_TRUE(co_await was_cancelled(first));
    held.pop_back();
    EXPECT_EQ((co_await second).size(), buffer_pool::buffer_bytes);  // given back at once, and so on to the third
    EXPECT_EQ((co_await third).size(), buffer_pool::buffer_bytes);
  });
}

TEST(file, a_fifo_without_a_writer_can_be_opened_without_waiting_for_one) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk has files and directories only";
  scratch_directory here;
  ::mkfifo(here.file("fifo").c_str(), 0600);
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("fifo"), open_options(O_RDONLY | O_NONBLOCK));
    EXPECT_EQ((co_await f.status()).kind, net::file_kind::other);
    EXPECT_EQ(::fcntl(f.fd(), F_GETFL) & O_NONBLOCK, 0);
  });
}

}  // namespace
}  // namespace skerry
