// SPDX-License-Identifier: Apache-2.0
/// Every operation of operation.hpp on files, names and pipes, with the completions that are promised there, on each
/// backend of the kernel's.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/bare_kernel.hpp>
#include <support/scratch_directory.hpp>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace skerry {
namespace {

using test_support::bare_kernel;
using test_support::request;
using test_support::scratch_directory;

constexpr std::uint64_t where_it_stands = UINT64_MAX;

class file_operations : public test_support::on_each_kernel {
 protected:
  /// The result of what `fill` asks for.
  std::int32_t ask(const std::function<void(submission&)>& fill) {
    request r;
    fill(kernel_.submit(r));
    return kernel_.result_of(r);
  }
  /// A descriptor of a file of the scratch directory's, closed by the end of the test.
  int opened(const char* name, int flags = O_RDWR | O_CREAT) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    how.mode = (flags & O_CREAT) != 0 ? 0600 : 0;
    const std::string path = here_.file(name);
    const int fd = ask([&](submission& s) { prepare::openat2(s, AT_FDCWD, path.c_str(), &how); });
    if (fd >= 0) to_close_.push_back(fd);
    return fd;
  }
  /// Both ends of a pipe that others may share: its description blocks.
  std::array<int, 2> piped() {
    std::array<int, 2> both{};
    EXPECT_EQ(::pipe2(both.data(), O_CLOEXEC), 0);
    to_close_.insert(to_close_.end(), both.begin(), both.end());
    return both;
  }
  ~file_operations() override {
    for (const int fd : to_close_) ::close(fd);
  }

  scratch_directory here_;
  std::vector<int> to_close_;
  bare_kernel kernel_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(kernel, file_operations, ::testing::ValuesIn(test_support::kernels()),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(file_operations, open_gives_a_descriptor_or_says_why_not) {
  EXPECT_GE(opened("f"), 0);
  EXPECT_EQ(opened("not/there", O_RDONLY), -ENOENT);
  EXPECT_EQ(opened("f", O_RDONLY | O_DIRECTORY), -ENOTDIR);
  open_how how{};
  how.resolve = RESOLVE_BENEATH;
  EXPECT_EQ(ask([&](submission& s) { prepare::openat2(s, AT_FDCWD, "../..", &how); }), -EXDEV);
}

TEST_P(file_operations, bytes_go_and_come_at_their_offsets) {
  const int fd = opened("f");
  std::string text = "skerry";
  EXPECT_EQ(ask([&](submission& s) { prepare::write(s, fd, text.data(), 6, 10); }), 6);
  std::string got(20, '?');
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, got.data(), 20, 0); }), 16) << "as far as the file goes";
  EXPECT_EQ(got, std::string(10, '\0') + "skerry????");
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, got.data(), 20, 16); }), 0) << "the end";
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, got.data(), 3, 12); }), 3);
  EXPECT_EQ(got.substr(0, 3), "err");
  const int read_only = opened("f", O_RDONLY);
  EXPECT_EQ(ask([&](submission& s) { prepare::write(s, read_only, text.data(), 6, 0); }), -EBADF);
}

TEST_P(file_operations, where_a_descriptor_stands_moves_with_each_transfer) {
  const int fd = opened("f");
  for (const char* each : {"one", "two"}) {
    EXPECT_EQ(ask([&](submission& s) { prepare::write(s, fd, each, 3, where_it_stands); }), 3);
  }
  ::lseek(fd, 0, SEEK_SET);
  std::string got(4, '?');
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, got.data(), 4, where_it_stands); }), 4);
  EXPECT_EQ(got, "onet");
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, got.data(), 4, where_it_stands); }), 2) << "none is lost";
  EXPECT_EQ(got.substr(0, 2), "wo");
}

TEST_P(file_operations, pieces_are_gathered_and_scattered) {
  const int fd = opened("f");
  std::string a = "first ", b = "second";
  const std::array<iovec, 2> out{{{a.data(), 6}, {b.data(), 6}}};
  EXPECT_EQ(ask([&](submission& s) { prepare::vectored(s, IORING_OP_WRITEV, fd, out.data(), 2, 0); }), 12);
  std::string c(4, '?'), d(20, '?');
  const std::array<iovec, 2> in{{{c.data(), 4}, {d.data(), 20}}};
  EXPECT_EQ(ask([&](submission& s) { prepare::vectored(s, IORING_OP_READV, fd, in.data(), 2, 0); }), 12);
  EXPECT_EQ(c + d.substr(0, 8), "first second");
}

TEST_P(file_operations, registered_memory_is_read_and_written) {
  const int fd = opened("f");
  std::vector<char> memory(8192, 'm');
  if (const int refused = (*kernel_).register_buffer(3, {memory.data(), memory.size()}); refused != 0) {
    GTEST_SKIP() << "RLIMIT_MEMLOCK leaves no room: " << std::strerror(-refused);
  }
  EXPECT_EQ(ask([&](submission& s) { prepare::write(s, fd, memory.data(), 4096, 0, 3); }), 4096);
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, memory.data() + 4096, 4096, 0, 3); }), 4096);
  char elsewhere[16];
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, elsewhere, sizeof elsewhere, 0, 3); }), -EFAULT);
  EXPECT_EQ((*kernel_).register_buffer(3, {}), 0);
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, fd, memory.data(), 16, 0, 3); }), -EFAULT);
}

TEST_P(file_operations, a_lent_read_names_its_buffer_and_takes_none_while_it_waits) {
  const int fd = opened("f");
  ASSERT_EQ(::write(fd, "lent", 4), 4);
  request r;
  prepare::read_lent(kernel_.submit(r), fd, 100, 0, buffer_ring::group);
  EXPECT_EQ(kernel_.result_of(r), 4);
  EXPECT_EQ(kernel_.bytes_of(r.answers[0]), "lent");
  const auto [out, in] = piped();
  std::vector<std::unique_ptr<request>> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(std::make_unique<request>());
    prepare::read_lent(kernel_.submit(*waiting.back()), out, 100, where_it_stands, buffer_ring::group);
  }
  kernel_.turn();
  ASSERT_EQ(::write(in, "piped", 5), 5);
  auto served = [&] {
    return std::ranges::count_if(waiting, [](auto& each) { return each->ended() && each->last() > 0; });
  };
  ASSERT_TRUE(kernel_.until([&] { return served() == 1; }));
  for (auto& each : waiting) (*kernel_).cancel(*each);
  ASSERT_TRUE(kernel_.until([&] { return std::ranges::all_of(waiting, [](auto& each) { return each->ended(); }); }));
  EXPECT_EQ(served(), 1);
}

TEST_P(file_operations, a_lent_read_without_buffers_says_so) {
  const int fd = opened("f");
  ASSERT_EQ(::write(fd, "x", 1), 1);
  request r;
  for (int i = 0; i < 5; ++i) {
    r.answers.clear();
    prepare::read_lent(kernel_.submit(r), fd, 100, 0, buffer_ring::group);
    ASSERT_EQ(kernel_.result_of(r), i < 4 ? 1 : -ENOBUFS);
  }
}

TEST_P(file_operations, a_pipe_has_no_offsets_and_its_read_waits) {
  const auto [out, in] = piped();
  request r;
  std::string got(10, '?');
  prepare::read(kernel_.submit(r), out, got.data(), 10, 5);
  kernel_.turn();
  EXPECT_TRUE(r.answers.empty());
  EXPECT_EQ(ask([&](submission& s) { prepare::write(s, in, "pipe", 4, 77); }), 4);
  EXPECT_EQ(kernel_.result_of(r), 4);
  EXPECT_EQ(got.substr(0, 4), "pipe");
}

TEST_P(file_operations, who_waits_at_a_pipe_can_be_cancelled) {
  const auto [out, in] = piped();
  char byte = 0;
  request read, write;
  const std::string much(1 << 20, 'x');
  prepare::read(kernel_.submit(read), out, &byte, 1, 0);
  kernel_.turn();
  (*kernel_).cancel(read);
  EXPECT_EQ(kernel_.result_of(read), -ECANCELED);
  ASSERT_EQ(::fcntl(in, F_SETFL, O_NONBLOCK), 0);
  while (::write(in, much.data(), 4096) > 0) {
  }
  ASSERT_EQ(::fcntl(in, F_SETFL, 0), 0);
  prepare::write(kernel_.submit(write), in, much.data(), static_cast<std::uint32_t>(much.size()), 0);
  kernel_.turn();
  EXPECT_TRUE(write.answers.empty());
  (*kernel_).cancel(write);
  EXPECT_EQ(kernel_.result_of(write), -ECANCELED);
}

TEST_P(file_operations, size_and_room_can_be_set) {
  const int fd = opened("f");
  EXPECT_EQ(ask([&](submission& s) { prepare::fallocate(s, fd, 0, 0, 10'000); }), 0);
  struct statx found{};
  EXPECT_EQ(ask([&](submission& s) { prepare::statx(s, fd, STATX_BASIC_STATS, &found); }), 0);
  EXPECT_EQ(found.stx_size, 10'000u);
  const std::int32_t result = ask([&](submission& s) { prepare::ftruncate(s, fd, 123); });
  if (result == -EINVAL && GetParam() == std::string_view("io_uring")) GTEST_SKIP() << "the kernel is too old";
  EXPECT_EQ(result, 0);
  EXPECT_EQ(ask([&](submission& s) { prepare::statx(s, fd, STATX_BASIC_STATS, &found); }), 0);
  EXPECT_EQ(found.stx_size, 123u);
}

TEST_P(file_operations, a_sync_is_for_files) {
  const int fd = opened("f");
  for (const bool data_only : {false, true}) {
    EXPECT_EQ(ask([&](submission& s) { prepare::fsync(s, fd, data_only); }), 0);
  }
  EXPECT_EQ(ask([out = piped()[0]](submission& s) { prepare::fsync(s, out, false); }), -EINVAL);
}

TEST_P(file_operations, names_come_change_and_go) {
  const std::string directory = here_.file("d"), from = here_.file("d/f"), to = here_.file("d/g");
  EXPECT_EQ(ask([&](submission& s) { prepare::mkdirat(s, AT_FDCWD, directory.c_str(), 0700); }), 0);
  EXPECT_EQ(ask([&](submission& s) { prepare::mkdirat(s, AT_FDCWD, directory.c_str(), 0700); }), -EEXIST);
  opened("d/f");
  EXPECT_EQ(ask([&](submission& s) { prepare::renameat(s, AT_FDCWD, from.c_str(), to.c_str()); }), 0);
  EXPECT_EQ(ask([&](submission& s) { prepare::unlinkat(s, AT_FDCWD, from.c_str(), 0); }), -ENOENT);
  EXPECT_EQ(ask([&](submission& s) { prepare::unlinkat(s, AT_FDCWD, directory.c_str(), AT_REMOVEDIR); }), -ENOTEMPTY);
  EXPECT_EQ(ask([&](submission& s) { prepare::unlinkat(s, AT_FDCWD, to.c_str(), 0); }), 0);
  EXPECT_EQ(ask([&](submission& s) { prepare::unlinkat(s, AT_FDCWD, directory.c_str(), AT_REMOVEDIR); }), 0);
}

TEST_P(file_operations, whatever_is_asked_of_no_descriptor_is_refused) {
  char byte = 0;
  const iovec piece{&byte, 1};
  struct statx found{};
  EXPECT_EQ(ask([&](submission& s) { prepare::read(s, 1000, &byte, 1, 0); }), -EBADF);
  EXPECT_EQ(ask([&](submission& s) { prepare::write(s, 1000, &byte, 1, 0); }), -EBADF);
  EXPECT_EQ(ask([&](submission& s) { prepare::read_lent(s, 1000, 1, 0, buffer_ring::group); }), -EBADF);
  EXPECT_EQ(ask([&](submission& s) { prepare::vectored(s, IORING_OP_READV, 1000, &piece, 1, 0); }), -EBADF);
  EXPECT_EQ(ask([&](submission& s) { prepare::fsync(s, 1000, false); }), -EBADF);
  EXPECT_EQ(ask([&](submission& s) { prepare::fallocate(s, 1000, 0, 0, 1); }), -EBADF);
  EXPECT_EQ(ask([&](submission& s) { prepare::statx(s, 1000, STATX_BASIC_STATS, &found); }), -EBADF);
}

TEST_P(file_operations, a_named_pipe_is_opened_without_waiting_for_its_other_side) {
  const std::string path = here_.file("fifo");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = opened("fifo", O_RDONLY);
  ASSERT_GE(reader, 0);
  EXPECT_EQ(::fcntl(reader, F_GETFL) & O_NONBLOCK, 0) << "nobody asked for it";
  EXPECT_NE(::fcntl(opened("fifo", O_RDONLY | O_NONBLOCK), F_GETFL) & O_NONBLOCK, 0);
}

TEST_P(file_operations, many_run_at_a_time_and_what_has_not_begun_can_be_cancelled) {
  const int fd = opened("f");
  const std::string bytes(4 << 20, 'x');
  bool cancelled = false;
  // Whoever cancels may lose the CPU until all is written, but not each time.
  for (int round = 0; round < 50 && !cancelled; ++round) {
    std::vector<std::unique_ptr<request>> all;
    for (std::uint64_t i = 0; i < 40; ++i) {
      all.push_back(std::make_unique<request>());
      prepare::write(kernel_.submit(*all.back()), fd, bytes.data(), 4 << 20, i % 4 << 22);
    }
    (*kernel_).submit_and_reap();
    for (auto& each : all) (*kernel_).cancel(*each);
    ASSERT_TRUE(kernel_.until([&] { return std::ranges::all_of(all, [](auto& each) { return each->ended(); }); }));
    for (auto& each : all) EXPECT_TRUE(each->last() == 4 << 20 || each->last() == -ECANCELED) << each->last();
    if (GetParam() == std::string_view("io_uring")) return;  // may have written them all in the first entry
    cancelled = all.back()->last() == -ECANCELED;
  }
  EXPECT_TRUE(cancelled);
}

}  // namespace
}  // namespace skerry
