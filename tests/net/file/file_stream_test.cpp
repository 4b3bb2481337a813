// SPDX-License-Identifier: Apache-2.0
/// Files from one end to the other: what a reader gives and a writer leaves, whatever order the device answers in, and
/// what becomes of errors.

#include <skerry/framework/random.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_reader.hpp>
#include <skerry/net/file/file_writer.hpp>
#include <skerry/shards/shard.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry {
namespace {

using net::file;
using net::file_reader;
using net::file_reader_options;
using net::file_writer;
using net::file_writer_options;
using net::open_file;
using net::open_options;
using test_support::fault;
using test_support::fault_plan;
using test_support::make_faulty_backends;
using test_support::numbered_bytes;
using test_support::run_alone;
using test_support::run_and_count;
using test_support::scratch_directory;
using test_support::turn;
using test_support::was_cancelled;

constexpr std::size_t page = 4096;

file_reader_options in_pages(std::size_t depth = 4) {
  file_reader_options options;
  options.block_bytes = page;
  options.depth = depth;
  return options;
}

file_writer_options by_pages(std::size_t depth = 4) {
  file_writer_options options;
  options.block_bytes = page;
  options.depth = depth;
  return options;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

task<std::string> rest_of(file_reader& from) {
  std::string all;
  while (true) {
    EXPECT_EQ(from.position() % page, all.size() % page) << "the tests begin at whole pages";
    const std::span<const std::byte> block = co_await from.next();
    if (block.empty()) co_return all;
    all += text_of(block);
  }
}

/// What `what` throws: the code and the text.
struct told {
  int code = 0;
  std::string text;
};
template <class T>
task<told> told_by(task<T> what) {
  told said;
  try {
    (void)co_await std::move(what);
  } catch (const std::system_error& thrown) {
    said.code = thrown.code().value();
    said.text = thrown.what();
  }
  co_return said;
}

TEST(file_reader, gives_a_file_in_order_whatever_order_it_comes_in) {
  const std::uint64_t seed = test_support::test_seed();
  scratch_directory here;
  for (std::size_t size : {0ul, 1ul, page - 1, page, page + 1, 5 * page, 100'000ul, 300'001ul}) {
    SCOPED_TRACE("size " + std::to_string(size));
    const std::string bytes = numbered_bytes(size);
    here.put("f", bytes);
    const auto body = [&]() -> task<> {
      for (std::size_t depth : {1ul, 2ul, 8ul}) {
        file f = co_await open_file(here.file("f"));
        file_reader from(f, in_pages(depth));
        EXPECT_TRUE(co_await rest_of(from) == bytes) << "depth " << depth;
        EXPECT_TRUE((co_await from.next()).empty());
        EXPECT_EQ(from.position(), size);
      }
    };
    run_and_count(body);
    run_alone(body, make_faulty_backends(1, test_support::disturb(seed), seed));
  }
}

TEST(file_reader, keeps_its_depth_in_flight_and_stays_in_its_range) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(64 * page);
  here.put("f", bytes);
  std::uint64_t reads = 0, last = 0;
  const fault_plan watching = [&](const submission& what, std::uint64_t nth) {
    if (what.opcode == IORING_OP_READ) {
      reads = nth;
      last = std::max<std::uint64_t>(last, what.off + what.len);
    }
    return fault{.entries_late = 3};
  };
  run_alone(
      [&]() -> task<> {
        file f = co_await open_file(here.file("f"));
        file_reader_options options = in_pages(6);
        options.offset = 2 * page;
        options.bytes_max = 20 * page + 5;
        file_reader from(f, options);
        EXPECT_EQ(reads, 0u);
        const std::span<const std::byte> first = co_await from.next();
        EXPECT_EQ(reads, 6u) << "all of them are asked for before the first has come";
        EXPECT_TRUE(text_of(first) == bytes.substr(2 * page, page));
        std::string all(text_of(first));
        all += co_await rest_of(from);
        EXPECT_TRUE(all == bytes.substr(2 * page, 20 * page + 5));
        EXPECT_EQ(last, 22 * page + 5) << "it read beyond its range";
      },
      make_faulty_backends(1, watching, 1));
}

TEST(file_reader, gives_every_byte_before_an_error_and_the_error_each_time) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(10 * page);
  here.put("f", bytes);
  const fault_plan plan = [](const submission& what, std::uint64_t) {
    fault planned;
    if (what.opcode != IORING_OP_READ) return planned;
    if (what.off == 5 * page) planned.bytes_max = 100;
    if (what.off == 5 * page + 100) planned.error = EIO;
    if (what.off == 7 * page) planned.error = ENODATA;  // known later than the one before it
    planned.entries_late = static_cast<unsigned>(7 - what.off / page % 7);
    return planned;
  };
  run_alone(
      [&]() -> task<> {
        file f = co_await open_file(here.file("f"));
        file_reader from(f, in_pages());
        std::string all;
        told said;
        for (int calls = 0; calls < 6; ++calls) {
          const std::span<const std::byte> block = co_await from.next();
          all += text_of(block);
        }
        EXPECT_TRUE(all == bytes.substr(0, 5 * page + 100));
        for (int entries = 0; entries < 10; ++entries) co_await turn();  // what is behind it has come, too
        for (int again = 0; again < 3; ++again) {
          said = co_await told_by(from.next());
          EXPECT_EQ(said.code, EIO);
          EXPECT_NE(said.text.find("f at offset " + std::to_string(5 * page + 100)), said.text.npos) << said.text;
        }
      },
      make_faulty_backends(1, plan, 1));
}

TEST(file_reader, a_pipe_is_read_in_pieces_as_they_come) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk has files and directories only";
  scratch_directory here;
  ASSERT_EQ(::mkfifo(here.file("fifo").c_str(), 0600), 0);
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("fifo"), open_options(O_RDONLY | O_NONBLOCK));
    int fd = ::open(here.file("fifo").c_str(), O_WRONLY | O_CLOEXEC);
    file_reader from(f, in_pages());
    std::string all;
    for (std::string_view piece : {"one", "and two", "and three"}) {
      EXPECT_EQ(::write(fd, piece.data(), piece.size()), static_cast<ssize_t>(piece.size()));
      std::string got;
      while (got.size() < piece.size()) {
        const std::span<const std::byte> block = co_await from.next();
        got += text_of(block);
      }
      EXPECT_EQ(got, piece);
    }
    ::close(fd);
    EXPECT_TRUE((co_await from.next()).empty());
  });
}

TEST(file_reader, a_cancelled_next_loses_nothing_and_a_dropped_reader_leaves_nothing) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(40 * page + 17);
  here.put("f", bytes);
  run_and_count([&]() -> task<> {
    std::optional<file> f(co_await open_file(here.file("f")));
    for (int turns = 0; turns < 5; ++turns) {
      file_reader from(*f, in_pages());
      std::string all;
      auto copy = [&]() -> task<bool> {
        const std::span<const std::byte> block = co_await from.next();
        all += text_of(block);
        co_return !block.empty();
      };
      for (bool more = true; more;) {
        auto next = spawn(copy());
        for (int i = 0; i < turns; ++i) co_await yield();
        next.abort();
        co_await was_cancelled(next);
        auto after = spawn(copy());
        more = co_await after;
      }
      EXPECT_TRUE(all == bytes) << all.size();
    }
    {
      file_reader dropped(*f, in_pages(16));
      (void)co_await dropped.next();
      f.reset();  // the reader keeps it open
      (void)co_await dropped.next();
    }
    while (net::open_files() != 0) co_await turn();
  });
}

TEST(file_reader, and_writer_take_o_direct) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(20 * page + 512);
  run_and_count([&]() -> task<> {
    std::expected<file, std::errc> made =
        co_await net::open_if_possible(here.file("f"), open_options(O_RDWR | O_CREAT | O_DIRECT));
    if (!made) co_return;  // not on this file system
    file f = std::move(*made);
    const std::size_t block = (co_await f.alignment()).offset;
    file_writer to(f, by_pages());
    co_await to.write(bytes);
    if (512 % block != 0) co_return;
    co_await to.write(std::string(3, 'x'));
    const told said = co_await told_by(to.flush());
    EXPECT_EQ(said.code, EINVAL);
    EXPECT_NE(said.text.find("multiples of"), said.text.npos) << said.text;
    co_await to.write(std::string(block - 3, 'x'));  // it was no failure of the device
    co_await to.sync();
    co_await f.truncate(bytes.size() + 3);
    file_reader from(f, in_pages());
    EXPECT_TRUE(co_await rest_of(from) == bytes + "xxx");
    file_reader_options odd = in_pages();
    odd.offset = 1;
    file_reader misplaced(f, odd);
    EXPECT_EQ((co_await told_by(misplaced.next())).code, EINVAL);
  });
}

TEST(file_writer, leaves_what_was_written_in_its_place) {
  const std::uint64_t seed = test_support::test_seed();
  scratch_directory here;
  const std::string bytes = numbered_bytes(300'000);
  const auto body = [&]() -> task<> {
    random_source draw(seed);
    for (std::size_t depth : {1ul, 2ul, 8ul}) {
      const std::string name = here.put("f", "head");
      file f = co_await open_file(name, open_options(O_WRONLY));
      file_writer_options options = by_pages(depth);
      options.offset = 4;
      file_writer to(f, options);
      for (std::string_view left = bytes; !left.empty();) {
        const std::string_view part = left.substr(0, 1 + draw.uniform(3 * page));
        if (draw.uniform(2) == 0) {
          co_await to.write(part);
          left.remove_prefix(part.size());
        } else {
          const std::span<std::byte> room = co_await to.room();
          const std::size_t some = std::min(room.size(), part.size());
          std::memcpy(room.data(), part.data(), some);
          to.commit(some);
          left.remove_prefix(some);
        }
        EXPECT_EQ(to.position(), 4 + bytes.size() - left.size());
        if (draw.uniform(8) == 0) {
          co_await to.flush();
          EXPECT_TRUE(here.get("f") == "head" + bytes.substr(0, bytes.size() - left.size()));
        }
      }
      co_await to.sync();
      EXPECT_TRUE(here.get("f") == "head" + bytes);
      co_await to.flush();  // nothing is left to do
    }
  };
  run_and_count(body);
  run_alone(body, make_faulty_backends(1, test_support::disturb(seed), seed));
}

TEST(file_writer, tells_an_error_once_and_then_that_it_is_broken) {
  for (int error : {EIO, ENOSPC, EDQUOT}) {
    scratch_directory here;
    const fault_plan plan = [error](const submission& what, std::uint64_t) {
      fault planned;
      if (what.opcode != IORING_OP_WRITE) return planned;
      if (what.off == 3 * page || what.off == 5 * page) planned.error = error;
      if (what.off == 3 * page) planned.entries_late = 9;  // the later one is known first
      return planned;
    };
    std::uint64_t writes = 0;
    const fault_plan counting = [&](const submission& what, std::uint64_t nth) {
      if (what.opcode == IORING_OP_WRITE) writes = nth;
      return plan(what, nth);
    };
    run_alone(
        [&]() -> task<> {
          file f = co_await open_file(here.file("f"), open_options(O_RDWR | O_CREAT));
          file_writer to(f, by_pages(8));
          co_await to.write(numbered_bytes(7 * page));
          const told first = co_await told_by(to.flush());
          EXPECT_EQ(first.code, error);
          EXPECT_NE(first.text.find("f at offset " + std::to_string(3 * page)), first.text.npos) << first.text;
          const std::uint64_t before = writes;
          for (int again = 0; again < 2; ++again) {
            std::vector<told> all_said;
            all_said.push_back(co_await told_by(to.write("more")));
            all_said.push_back(co_await told_by(to.flush()));
            all_said.push_back(co_await told_by(to.sync()));
            all_said.push_back(co_await told_by(to.room()));
            for (const told& said : all_said) {
              EXPECT_EQ(said.code, error);
              EXPECT_NE(said.text.find("an earlier write"), said.text.npos) << said.text;
            }
          }
          EXPECT_EQ(writes, before) << "a broken writer went on";
        },
        make_faulty_backends(1, counting, 1));
  }
}

TEST(file_writer, keeps_the_others_busy_while_one_block_is_slow) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(9 * page);
  constexpr unsigned held_for = 100'000;  // kernel entries: some 0.2 s
  std::uint64_t writes = 0;
  const fault_plan watching = [&](const submission& what, std::uint64_t nth) {
    if (what.opcode == IORING_OP_WRITE) writes = nth;
    return fault{.entries_late = what.opcode == IORING_OP_WRITE && what.off == 0 ? held_for : 0u};
  };
  run_alone(
      [&]() -> task<> {
        file f = co_await open_file(here.file("f"), open_options(O_RDWR | O_CREAT));
        file_writer to(f, by_pages(3));
        co_await to.write(std::string_view(bytes).substr(0, 8 * page));
        (void)co_await to.room();
        EXPECT_GE(writes, 7u);  // the last is perhaps only queued
        EXPECT_LT(stats().kernel.kernel_entries, held_for) << "the first had to come before the others went round";
        co_await to.write(std::string_view(bytes).substr(8 * page));
        co_await to.flush();
        EXPECT_TRUE(here.get("f") == bytes);
      },
      make_faulty_backends(1, watching, 1));
}

TEST(file_writer, never_says_that_a_failed_sync_has_worked) {
  scratch_directory here;
  run_alone(
      [&]() -> task<> {
        file f = co_await open_file(here.file("f"), open_options(O_RDWR | O_CREAT));
        file_writer to(f, by_pages());
        co_await to.write("precious");
        EXPECT_EQ((co_await told_by(to.sync())).code, EIO);
        EXPECT_EQ((co_await told_by(to.sync())).code, EIO);
        EXPECT_EQ((co_await told_by(to.write("more"))).code, EIO);
        EXPECT_EQ((co_await told_by(f.sync())).code, EIO);
      },
      make_faulty_backends(1, test_support::fail_nth(IORING_OP_FSYNC, 1, EIO), 1));
}

/// Some of the time that a write takes, which in a simulation no number of steps makes pass.
task<> step() {
  if (test_support::simulated()) co_return co_await turn();
  co_await yield();
}

TEST(file_writer, cancelled_calls_lose_no_byte_that_was_taken_and_a_dropped_writer_leaves_nothing_open) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(64 * page);
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("f"), open_options(O_RDWR | O_CREAT));
    {
      file_writer to(f, by_pages(2));
      std::size_t taken = 0;
      auto some = [&]() -> task<> {
        const std::span<std::byte> room = co_await to.room();
        std::memcpy(room.data(), bytes.data() + taken, room.size());
        to.commit(room.size());
        taken += room.size();
      };
      for (int steps = 0; taken < bytes.size() / 2; ++steps) {
        auto writing = spawn(some());
        for (int i = 0; i < steps % 4; ++i) co_await step();
        writing.abort();
        co_await was_cancelled(writing);
        auto flushing = spawn(to.flush());
        for (int i = 0; i < steps % 3; ++i) co_await step();
        flushing.abort();
        co_await was_cancelled(flushing);
      }
      co_await to.flush();
      EXPECT_TRUE(here.get("f") == bytes.substr(0, taken));
      EXPECT_EQ(to.position(), taken);
      for (int i = 0; i < 20; ++i) co_await some();
    }
    co_await f.close();
    while (net::open_files() != 0) co_await turn();
    file appending = co_await open_file(here.file("f"), open_options(O_WRONLY | O_APPEND));
    EXPECT_THROW(file_writer(appending, by_pages()), std::system_error);
  });
}

}  // namespace
}  // namespace skerry
