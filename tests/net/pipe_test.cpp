// SPDX-License-Identifier: Apache-2.0
/// Pipes, terminals and standard input and output as streams: what goes in comes out, whoever else has them open finds
/// them as they were, and nobody waits in the kernel for them.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/process/pipe.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/scratch_directory.hpp>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;
using net::pipe_stream;
using net::unique_fd;

task<std::string> all_of(pipe_stream& from) {
  std::string all;
  while (true) {
    buffer bytes = co_await from.read();
    if (bytes.empty()) co_return all;
    all += text_of(bytes);
  }
}

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    (void)co_await skerry::detail::as_task(std::forward<Awaitable>(what));
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

struct both {
  pipe_stream reader, writer;
};

both own_pipe() {
  auto [out, in] = net::make_pipe();
  return {pipe_stream(std::move(out)), pipe_stream(unique_fd(), std::move(in))};
}
/// One that others have open, too, in the person of `keep`.
both shared_pipe(net::pipe_ends& keep) {
  both made{pipe_stream::shared(keep.out.get(), -1), pipe_stream::shared(-1, keep.in.get())};
  const unique_fd only_ours(std::move(keep.in));  // so that it can end
  return made;
}

task<> pass_through(pipe_stream& from, pipe_stream& to, std::size_t size) {
  const std::string bytes = numbered_bytes(size);
  const auto write = [&]() -> task<> {
    for (std::size_t at = 0; at < bytes.size(); at += 777) {
      co_await to.write(std::string_view(bytes).substr(at, 777));
    }
    to.shutdown_output();
    co_await to.flush();
  };
  std::string got;
  const auto read = [&]() -> task<> { got = co_await all_of(from); };
  co_await when_all(write, read);
  EXPECT_EQ(got.size(), bytes.size());
  EXPECT_TRUE(got == bytes);
  buffer after = co_await from.read();
  EXPECT_TRUE(after.empty());
}

TEST(pipe, gives_what_was_written_in_order_and_then_the_end) {
  run_and_count([]() -> task<> {
    both own = own_pipe();
    const std::size_t size = disturbed() ? 100'000 : 3'000'000;
    co_await pass_through(own.reader, own.writer, size);
    net::pipe_ends ends = net::make_pipe();
    both shared = shared_pipe(ends);
    co_await pass_through(shared.reader, shared.writer, size);
  });
}

TEST(pipe, one_write_larger_than_everything_in_between_arrives_whole) {
  run_and_count([]() -> task<> {
    both pipe = own_pipe();
    const std::string bytes = numbered_bytes(1'000'000);
    auto writing = spawn([&]() -> task<> {
      co_await pipe.writer.write(bytes);
      pipe.writer.shutdown_output();
    });
    const std::string got = co_await all_of(pipe.reader);
    EXPECT_TRUE(got == bytes);
    co_await writing;
  });
}

TEST(pipe, a_dropped_writer_sends_what_it_has_taken_before_it_closes) {
  run_and_count([]() -> task<> {
    both pipe = own_pipe();
    const std::string bytes = numbered_bytes(150'000);
    std::string got;
    auto reading = spawn([&]() -> task<> {
      for (int i = 0; i < 20; ++i) co_await turn();
      got = co_await all_of(pipe.reader);
    });
    {
      pipe_stream gone = std::move(pipe.writer);
      co_await gone.write(std::string_view(bytes).substr(0, 100'000));
      EXPECT_GT(gone.try_write(std::as_bytes(std::span(bytes)).subspan(100'000, 10'000)), 0U);
    }
    co_await reading;
    EXPECT_EQ(got, bytes.substr(0, 110'000));
  });
}

TEST(pipe, a_rest_that_nobody_reads_is_dropped_in_time_and_counted) {
  if (test_support::simulating()) GTEST_SKIP() << "its pipe outlives the host";
  auto [out, in] = net::make_pipe();
  pollfd room{in.get(), POLLOUT, 0};
  manual_clock time;
  std::size_t taken = 0;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        {
          pipe_stream writer{unique_fd(), std::move(in)};
          const std::string bytes(200'000, 'x');
          while (::poll(&room, 1, 0) != 0) {
            writer.try_write(std::as_bytes(std::span(bytes)));
            co_await turn();
          }
          for (int i = 0; i < 8; ++i) co_await turn();
          while (writer.try_write(std::as_bytes(std::span(bytes))) != 0) {
          }
          taken = static_cast<std::size_t>(queued_bytes(out.get(), FIONREAD));
        }
        co_await turn();
        time.pass(pipe_stream::send_rest_max + std::chrono::seconds(1));
        // The end of the shard waits for the end of the pipe.
      },
      time);
  std::string left(1 << 20, '\0');
  std::size_t got = 0;
  for (ssize_t more; (more = ::read(out.get(), left.data(), left.size())) > 0;) got += static_cast<std::size_t>(more);
  // What the kernel had taken, and then the end. Small writes leave gaps in the pages of a pipe.
  EXPECT_TRUE(got == 65536 || (test_support::disturbed() && got < 65536 && got >= taken && taken > 0)) << got;
}

/// Restores what the process does with SIGPIPE.
struct deadly_broken_pipes {
  deadly_broken_pipes() {
    struct sigaction deadly{};
    deadly.sa_handler = SIG_DFL;
    ::sigaction(SIGPIPE, &deadly, &old);
  }
  ~deadly_broken_pipes() { ::sigaction(SIGPIPE, &old, nullptr); }
  struct sigaction old{};
};

TEST(pipe, a_reader_that_has_gone_is_an_error_of_the_write_and_no_signal) {
  const deadly_broken_pipes here;
  run_and_count([]() -> task<> {
    for (const bool is_shared : {false, true}) {
      net::pipe_ends ends = net::make_pipe();
      both pipe = is_shared ? shared_pipe(ends) : own_pipe();
      pipe.reader = pipe_stream(unique_fd());
      {
        const unique_fd gone(std::move(ends.out));
      }
      for (int i = 0; i < 10; ++i) co_await turn();  // the reader closes in the kernel
      const auto write_all = [&]() -> task<> {
        co_await pipe.writer.write("into the void");
        co_await pipe.writer.flush();
      };
      EXPECT_EQ(co_await error_of(write_all()), EPIPE);
      EXPECT_EQ(co_await error_of(pipe.writer.write("more")), EPIPE);
      EXPECT_EQ(co_await error_of(pipe.writer.flush()), EPIPE);
    }
  });
}

TEST(pipe, a_reader_that_goes_while_a_write_waits_ends_the_write) {
  run_and_count([]() -> task<> {
    both pipe = own_pipe();
    const std::string bytes(1'000'000, 'x');
    auto writing = spawn([&]() -> task<> { co_await pipe.writer.write(bytes); });
    for (int i = 0; i < 10; ++i) co_await turn();
    EXPECT_FALSE(writing.is_finished());
    pipe.reader = pipe_stream(unique_fd());
    EXPECT_EQ(co_await error_of(writing), EPIPE);
  });
}

TEST(pipe, what_comes_for_a_cancelled_read_is_there_for_the_next) {
  run_and_count([]() -> task<> {
    for (const bool is_shared : {false, true}) {
      for (int before = 0; before < 4; ++before) {
        for (int after = 0; after < 4; ++after) {
          net::pipe_ends ends = net::make_pipe();
          pipe_stream reader = pipe_stream::shared(ends.out.get(), -1);
          if (!is_shared) reader = pipe_stream(std::move(ends.out));
          std::string got;  // set by a read that is quicker than its cancel
          auto reading = spawn([&]() -> task<> {
            buffer bytes = co_await reader.read();
            got = text_of(bytes);
          });
          for (int i = 0; i < before; ++i) co_await turn();
          EXPECT_EQ(::write(ends.in.get(), "kept", 4), 4);
          for (int i = 0; i < after; ++i) co_await turn();
          reading.abort();
          (void)co_await error_of(reading);
          while (got.size() < 4) {
            buffer bytes = co_await reader.read();
            got += text_of(bytes);
          }
          EXPECT_EQ(got, "kept");
        }
      }
    }
  });
}

TEST(pipe, nobody_takes_from_a_shared_input_more_than_was_asked_for) {
  run_and_count([]() -> task<> {
    net::pipe_ends ends = net::make_pipe();
    pipe_stream reader = pipe_stream::shared(ends.out.get(), -1);
    auto reading = spawn([&]() -> task<> { (void)co_await reader.read(); });
    for (int i = 0; i < 4; ++i) co_await turn();
    reading.abort();
    (void)co_await error_of(reading);
    for (int i = 0; i < 8; ++i) co_await turn();
    EXPECT_EQ(::write(ends.in.get(), "for others", 10), 10);
    for (int i = 0; i < 8; ++i) co_await turn();
    EXPECT_EQ(queued_bytes(ends.out.get(), FIONREAD), 10);
  });
}

TEST(pipe, what_others_share_keeps_its_flags_and_what_is_ours_does_not_block) {
  run_and_count([]() -> task<> {
    net::pipe_ends ends = net::make_pipe();
    {
      pipe_stream both_sides = pipe_stream::shared(ends.out.get(), ends.in.get());
      co_await both_sides.write("x");
      buffer got = co_await both_sides.read();
      EXPECT_EQ(text_of(got), "x");
      EXPECT_EQ(::fcntl(ends.out.get(), F_GETFL) & O_NONBLOCK, 0);
      EXPECT_EQ(::fcntl(ends.in.get(), F_GETFL) & O_NONBLOCK, 0);
    }
    const int in = ends.in.get();
    const pipe_stream ours{unique_fd(), std::move(ends.in)};
    EXPECT_NE(::fcntl(in, F_GETFL) & O_NONBLOCK, 0);
  });
}

/// Threads of this process, the kernel's workers for the ring among them.
std::ptrdiff_t threads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
}

TEST(pipe, waiting_for_one_takes_no_thread_of_the_kernel) {
  run_and_count([]() -> task<> {
    const std::ptrdiff_t before = threads();
    net::pipe_ends ends = net::make_pipe();
    both own = own_pipe();
    pipe_stream shared = pipe_stream::shared(ends.out.get(), ends.in.get());
    const std::string bytes(300'000, 'x');
    auto read_own = spawn([&]() -> task<> { (void)co_await own.reader.read(); });
    auto read_shared = spawn([&]() -> task<> { (void)co_await shared.read(); });
    for (int i = 0; i < 4; ++i) co_await turn();
    EXPECT_EQ(threads(), before);
    read_own.abort();
    read_shared.abort();
    (void)co_await error_of(read_own);
    (void)co_await error_of(read_shared);
    auto write_own = spawn([&]() -> task<> { co_await own.writer.write(bytes); });
    auto write_shared = spawn([&]() -> task<> { co_await shared.write(bytes); });
    for (int i = 0; i < 40; ++i) co_await turn();
    EXPECT_EQ(threads(), before);
    write_own.abort();
    write_shared.abort();
    (void)co_await error_of(write_own);
    (void)co_await error_of(write_shared);
    own.reader = pipe_stream(unique_fd());
    const unique_fd gone(std::move(ends.out));
    shared = pipe_stream(unique_fd());
  });
}

TEST(pipe, a_side_that_is_missing_reads_as_the_end_and_refuses_writes) {
  run_and_count([]() -> task<> {
    pipe_stream none{unique_fd()};
    buffer got = co_await none.read();
    EXPECT_TRUE(got.empty());
    EXPECT_EQ(co_await error_of(none.write("x")), EBADF);
    EXPECT_EQ(co_await error_of(none.flush()), EBADF);
    none.shutdown_output();
    EXPECT_THROW(pipe_stream::shared(1'000'000, -1), std::system_error);
    EXPECT_THROW(pipe_stream{unique_fd(1'000'000)}, std::system_error);
  });
}

TEST(pipe, lines_come_through_a_buffered_reader) {
  run_and_count([]() -> task<> {
    both pipe = own_pipe();
    net::buffered_reader lines(pipe.reader);
    co_await pipe.writer.write("one\ntw");
    co_await pipe.writer.write("o\n");
    pipe.writer.shutdown_output();
    std::optional<std::string_view> line = co_await lines.read_line(100);
    EXPECT_EQ(line, "one");
    line = co_await lines.read_line(100);
    EXPECT_EQ(line, "two");
    line = co_await lines.read_line(100);
    EXPECT_FALSE(line);
  });
}

TEST(pipe, a_file_that_is_shared_is_read_and_written_where_it_stands) {
  if (test_support::simulating()) GTEST_SKIP() << "there a call may move a part of what it is given";
  const scratch_directory here;
  run_and_count([&]() -> task<> {
    const unique_fd in(::open(here.file("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_EQ(::write(in.get(), "first second", 12), 12);
    EXPECT_EQ(::lseek(in.get(), 6, SEEK_SET), 6);
    pipe_stream file = pipe_stream::shared(in.get(), in.get());
    const std::string rest = co_await all_of(file);
    EXPECT_EQ(rest, "second");
    co_await file.write(" third");
    co_await file.flush();
    EXPECT_EQ(::lseek(in.get(), 0, SEEK_CUR), 18);
    EXPECT_EQ(::lseek(in.get(), 0, SEEK_SET), 0);
    char all[100];
    EXPECT_EQ(::read(in.get(), all, sizeof all), 18);
    EXPECT_EQ(std::string_view(all, 18), "first second third");
  });
}

TEST(pipe, a_terminal_gives_lines_as_they_are_typed) {
  if (simulating()) GTEST_SKIP() << "terminals are not simulated";
  run_and_count([]() -> task<> {
    const unique_fd person(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_EQ(::grantpt(person.get()), 0);
    EXPECT_EQ(::unlockpt(person.get()), 0);
    const unique_fd screen(::open(::ptsname(person.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    pipe_stream terminal = pipe_stream::shared(screen.get(), screen.get());
    std::string got;
    auto reading = spawn([&]() -> task<> {
      while (got.size() < 6) {
        buffer bytes = co_await terminal.read();
        got += text_of(bytes);
      }
    });
    for (int i = 0; i < 4; ++i) co_await turn();
    EXPECT_EQ(::write(person.get(), "hello\n", 6), 6);
    co_await reading;
    EXPECT_EQ(got, "hello\n");
    co_await terminal.write("answer\n");
    co_await terminal.flush();
    std::string shown(100, '\0');  // the echo of what was typed goes before
    std::size_t size = 0;
    while (shown.find("answer\r\n") == shown.npos) {
      const ssize_t more = ::read(person.get(), shown.data() + size, shown.size() - size);
      if (more <= 0) break;
      size += static_cast<std::size_t>(more);
    }
    EXPECT_NE(shown.find("answer\r\n"), shown.npos);
    // ^D is the end.
    EXPECT_EQ(::write(person.get(), "\4", 1), 1);
    buffer end = co_await terminal.read();
    EXPECT_TRUE(end.empty());
  });
}

TEST(pipe, a_socket_serves_as_standard_input_and_output_as_well) {
  if (test_support::simulating()) GTEST_SKIP() << "there a call may move a part of what it is given";
  run_and_count([]() -> task<> {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const unique_fd ours(ends[0]), theirs(ends[1]);
    pipe_stream socket = pipe_stream::shared(ours.get(), ours.get());
    co_await socket.write("question");
    co_await socket.flush();
    char bytes[100];
    EXPECT_EQ(::read(theirs.get(), bytes, sizeof bytes), 8);
    EXPECT_EQ(::write(theirs.get(), "answer", 6), 6);
    std::string got;
    while (got.size() < 6) {
      buffer bytes_of_it = co_await socket.read();
      got += text_of(bytes_of_it);
    }
    EXPECT_EQ(got, "answer");
  });
}

/// An error of each read and write, and a shortage of buffers.
TEST(pipe, errors_of_the_kernel_reach_whoever_reads_or_writes_and_interruptions_nobody) {
  const std::ptrdiff_t before = open_descriptors();
  for (const int error : {EIO, ENOMEM, EINTR, EAGAIN, ENOBUFS}) {
    const bool passes = error == EINTR || error == EAGAIN || error == ENOBUFS;
    const int expected = passes ? 0 : error;
    const auto plan = [error](const submission& what, std::uint64_t nth) {
      fault planned;
      const bool one = what.opcode == IORING_OP_READ || (what.opcode == IORING_OP_WRITE && error != ENOBUFS);
      if (one && nth == 1) planned.error = error;
      return planned;
    };
    run_alone(
        [&]() -> task<> {
          both pipe = own_pipe();
          const auto write = [&]() -> task<> {
            co_await pipe.writer.write("x");
            co_await pipe.writer.flush();
          };
          EXPECT_EQ(co_await error_of(write()), expected);
          if (!passes) {
            pipe = own_pipe();
            co_await write();
          }
          EXPECT_EQ(co_await error_of(pipe.reader.read()), expected);
          if (!passes) {
            buffer got = co_await pipe.reader.read();
            EXPECT_EQ(text_of(got), "x");
          }
        },
        make_faulty_backends(1, plan, 1));
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(pipe, handles_dropped_at_any_point_leave_nothing_open) {
  run_and_count([]() -> task<> {
    for (int turns = 0; turns < 6; ++turns) {
      for (const bool is_shared : {false, true}) {
        net::pipe_ends ends = net::make_pipe();
        both pipe = is_shared ? shared_pipe(ends) : own_pipe();
        const std::string bytes(200'000, 'x');
        auto reading = spawn([](pipe_stream from) -> task<> { (void)co_await all_of(from); }(std::move(pipe.reader)));
        auto writing = spawn(
            [](pipe_stream to, std::string text) -> task<> { co_await to.write(text); }(std::move(pipe.writer), bytes));
        for (int i = 0; i < turns; ++i) co_await turn();
        reading.abort();
        writing.abort();
        (void)co_await error_of(reading);
        (void)co_await error_of(writing);
      }
    }
  });
}

}  // namespace
}  // namespace skerry
