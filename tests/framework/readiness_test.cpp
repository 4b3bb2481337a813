// SPDX-License-Identifier: Apache-2.0
/// readable, writable and readiness_events on pipes and sockets of the real kernel.

#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <sys/socket.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::simulated;

/// Both ends of a pipe; non-blocking.
class pipe_ends {
 public:
  pipe_ends() { EXPECT_EQ(::pipe2(ends_, O_NONBLOCK | O_CLOEXEC), 0); }
  ~pipe_ends() {
    close_reader();
    close_writer();
  }
  pipe_ends(const pipe_ends&) = delete;
  pipe_ends& operator=(const pipe_ends&) = delete;
  int reader() const noexcept { return ends_[0]; }
  int writer() const noexcept { return ends_[1]; }
  void close_reader() noexcept { ::close(std::exchange(ends_[0], -1)); }
  void close_writer() noexcept { ::close(std::exchange(ends_[1], -1)); }
  void put(std::string_view bytes) {
    EXPECT_EQ(::write(writer(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  std::string take() {
    char bytes[1000];
    ssize_t size = ::read(reader(), bytes, sizeof bytes);
    return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : std::string();
  }
  void fill() {
    const std::string page(4096, 'f');
    while (::write(writer(), page.data(), page.size()) > 0) {
    }
  }
  void drain() {
    while (!take().empty()) {
    }
  }

 private:
  int ends_[2] = {-1, -1};
};

/// Through the whole loop once: what was submitted is with the kernel, and what is done has come in.
auto turn() { return sleep_until(clock::now() - 1h); }

std::uint64_t operations_in_flight() { return this_shard().loop->kernel().in_flight(); }

task<int> error_of(task<> wait) {
  try {
    co_await std::move(wait);
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

task<> wait_readable(int fd) { co_await readable(fd); }

TEST(readiness, readable_waits_for_bytes_and_takes_none) {
  block_on([]() -> task<> {
    pipe_ends pipe;
    for (int i = 0; i < 3; ++i) {
      auto reader = spawn([&]() -> task<std::uint32_t> { co_return co_await readable(pipe.reader()); });
      for (int turns = 0; turns < 3; ++turns) co_await turn();
      EXPECT_FALSE(reader.is_finished());
      pipe.put("bytes");
      EXPECT_NE(co_await reader & POLLIN, 0u);
      EXPECT_NE(co_await readable(pipe.reader()) & POLLIN, 0u) << "it is still readable";
      EXPECT_EQ(pipe.take(), "bytes");
    }
  });
}

TEST(readiness, writable_waits_for_room) {
  block_on([]() -> task<> {
    pipe_ends pipe;
    EXPECT_NE(co_await writable(pipe.writer()) & POLLOUT, 0u);
    pipe.fill();
    auto writer = spawn([&]() -> task<std::uint32_t> { co_return co_await writable(pipe.writer()); });
    for (int turns = 0; turns < 3; ++turns) co_await turn();
    EXPECT_FALSE(writer.is_finished());
    pipe.drain();
    EXPECT_NE(co_await writer & POLLOUT, 0u);
  });
}

TEST(readiness, a_hang_up_ends_both_waits) {
  block_on([]() -> task<> {
    pipe_ends left;
    auto reader = spawn([&]() -> task<std::uint32_t> { co_return co_await readable(left.reader()); });
    co_await turn();
    left.close_writer();
    EXPECT_NE(co_await reader & POLLHUP, 0u);
    pipe_ends right;
    right.fill();
    auto writer = spawn([&]() -> task<std::uint32_t> { co_return co_await writable(right.writer()); });
    co_await turn();
    right.close_reader();
    EXPECT_NE(co_await writer & POLLERR, 0u);
  });
}

TEST(readiness, what_is_no_descriptor_is_an_error) {
  block_on([]() -> task<> {
    EXPECT_EQ(co_await error_of(wait_readable(-1)), EBADF);
    readiness_events events(-1, POLLIN);
    auto next = [](readiness_events& from) -> task<> { co_await from.next(); };
    EXPECT_EQ(co_await error_of(next(events)), EBADF);
    EXPECT_EQ(co_await error_of(next(events)), EBADF) << "each call asks again";
  });
}

TEST(readiness, a_cancelled_wait_lets_go_of_the_kernel_and_takes_nothing) {
  block_on([]() -> task<> {
    pipe_ends pipe;
    const std::uint64_t before = operations_in_flight();
    for (int turns = 0; turns < 4; ++turns) {
      for (bool bytes_come : {false, true}) {
        auto reader = spawn(wait_readable(pipe.reader()));
        for (int i = 0; i < turns; ++i) co_await turn();
        if (bytes_come) pipe.put("x");
        reader.abort();
        co_await error_of([](join_handle<>& ended) -> task<> { co_await ended; }(reader));
        EXPECT_EQ(operations_in_flight(), before);
        EXPECT_EQ(pipe.take(), bytes_come ? "x" : "");
      }
    }
    bool timed_out = false;
    try {
      co_await with_timeout(1ms, wait_readable(pipe.reader()));
    } catch (const timeout_error&) {
      timed_out = true;
    }
    EXPECT_TRUE(timed_out);
    EXPECT_EQ(operations_in_flight(), before);
  });
}

TEST(readiness, the_end_of_the_shard_ends_waits_and_events) {
  if (test_support::simulating()) GTEST_SKIP() << "its pipe outlives the host";
  pipe_ends pipe;
  for (bool in_the_kernel : {false, true}) {
    block_on([&]() -> task<> {
      spawn(wait_readable(pipe.reader()));
      spawn([&]() -> task<> {
        readiness_events events(pipe.reader(), POLLIN);
        co_await events.next();
      });
      if (in_the_kernel) co_await turn();
    });
  }
}

TEST(readiness_events, tells_each_arrival_once_and_merges_what_nobody_has_fetched) {
  block_on([]() -> task<> {
    pipe_ends pipe;
    readiness_events events(pipe.reader(), POLLIN);
    for (int i = 0; i < 100; ++i) {
      auto waiting = spawn([&]() -> task<std::uint32_t> { co_return co_await events.next(); });
      if (i % 2 == 0) co_await turn();
      EXPECT_FALSE(waiting.is_finished());
      pipe.put("x");
      EXPECT_EQ(co_await waiting, static_cast<std::uint32_t>(POLLIN));
      EXPECT_EQ(pipe.take(), "x");
    }
    pipe.put("a");
    co_await turn();
    pipe.put("b");
    co_await turn();
    EXPECT_EQ(co_await events.next(), static_cast<std::uint32_t>(POLLIN));
    auto waiting = spawn([&]() -> task<std::uint32_t> { co_return co_await events.next(); });
    for (int i = 0; i < 3; ++i) co_await turn();
    // A simulated kernel may tell of the second one late, or end the poll, whose successor finds the bytes again.
    EXPECT_TRUE(!waiting.is_finished() || simulated()) << "two arrivals that nobody fetched are one";
    pipe.close_writer();
    std::uint32_t told = co_await waiting;
    while (simulated() && (told & POLLHUP) == 0) told = co_await events.next();
    EXPECT_NE(told & POLLHUP, 0u);
  });
}

TEST(readiness_events, a_cancelled_next_loses_no_event) {
  block_on([]() -> task<> {
    pipe_ends pipe;
    readiness_events events(pipe.reader(), POLLIN);
    for (int turns = 0; turns < 3; ++turns) {
      auto waiting = spawn([&]() -> task<std::uint32_t> { co_return co_await events.next(); });
      co_await turn();
      pipe.put("x");
      for (int i = 0; i < turns; ++i) co_await yield();
      waiting.abort();
      std::uint32_t seen = 0;
      try {
        seen = co_await waiting;
      } catch (const std::system_error& cancelled) {
        EXPECT_EQ(cancelled.code(), std::errc::operation_canceled);
      }
      if (seen == 0) seen = co_await events.next();
      EXPECT_EQ(seen, static_cast<std::uint32_t>(POLLIN));
      EXPECT_EQ(pipe.take(), "x");
    }
  });
}

TEST(readiness_events, may_be_dropped_at_any_time) {
  block_on([]() -> task<> {
    pipe_ends pipe;
    const std::uint64_t before = operations_in_flight();
    for (int turns = 0; turns < 4; ++turns) {
      for (bool bytes_come : {false, true}) {
        auto events = std::make_unique<readiness_events>(pipe.reader(), POLLIN);
        for (int i = 0; i < turns; ++i) co_await turn();
        if (bytes_come) pipe.put("x");
        events.reset();
        // The descriptor stays until the kernel has let go.
        while (operations_in_flight() != before) co_await turn();
        pipe.take();
      }
    }
  });
}

}  // namespace
}  // namespace skerry
