// SPDX-License-Identifier: Apache-2.0
/// Memory that the ring has registered: transfers through it do what plain ones do, whatever is refused, cancelled or
/// fails, and nothing of it is left.

#include <skerry/framework/random.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/aligned_buffer.hpp>
#include <skerry/net/file/detail/file_state.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_reader.hpp>
#include <skerry/net/file/file_writer.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/child_faults.hpp>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry {
namespace {

using net::aligned_buffer;
using net::file;
using net::file_reader;
using net::file_writer;
using net::memory_table;
using net::open_file;
using net::open_options;
using net::registered_memory;
using test_support::fault;
using test_support::fault_plan;
using test_support::make_faulty_backends;
using test_support::numbered_bytes;
using test_support::registering;
using test_support::run_alone;
using test_support::run_and_count;
using test_support::scratch_directory;
using test_support::turn;
using test_support::was_cancelled;

constexpr std::size_t page = 4096;

/// What was asked of the kernel.
struct counts {
  std::array<std::uint64_t, 256> of{};
  std::uint64_t operator[](io_uring_op kind) const { return of[kind]; }
  fault_plan watching(fault_plan plan = [](const submission&, std::uint64_t) { return fault{}; }) {
    return [this, plan = std::move(plan)](const submission& what, std::uint64_t nth) {
      of[what.opcode] = nth;
      return plan(what, nth);
    };
  }
};

memory_table& table() { return net::this_files().registered; }

bool direct_works(const scratch_directory& here) {
  const int fd = ::open(here.file("probe").c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  ::close(fd);
  return true;
}
#define NEED_O_DIRECT(here) \
  if (!direct_works(here)) GTEST_SKIP() << "no O_DIRECT on this file system"

open_options direct(int flags = O_RDWR | O_CREAT) { return open_options(flags | O_DIRECT); }

template <class Options>
Options by_pages(std::size_t depth = 4) {
  Options options;
  options.block_bytes = page;
  options.depth = depth;
  return options;
}
auto reading(std::size_t depth = 4) { return by_pages<net::file_reader_options>(depth); }
auto writing(std::size_t depth = 4) { return by_pages<net::file_writer_options>(depth); }

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

task<std::string> rest_of(file_reader& from) {
  std::string all;
  while (true) {
    const std::span<const std::byte> block = co_await from.next();
    if (block.empty()) co_return all;
    all += text_of(block);
  }
}

/// What `what` throws.
template <class T>
task<int> code_of(task<T> what) {
  int code = 0;
  try {
    (void)co_await std::move(what);
  } catch (const std::system_error& thrown) {
    code = thrown.code().value();
  }
  co_return code;
}

/// Returns when everything is back: a reader that was dropped waits for what it has on its way.
task<> until_nothing_is_registered() {
  while (table().bytes() != 0) co_await turn();
}

TEST(registered_memory, gives_and_takes_the_bytes_that_plain_memory_does) {
  const std::uint64_t seed = test_support::test_seed();
  scratch_directory here;
  NEED_O_DIRECT(here);
  constexpr std::size_t pages = 64;
  counts asked;
  bool refused = false;
  const auto body = [&]() -> task<> {
    random_source draw(seed);
    std::string model(pages * page, '\0');
    here.put("f", model);
    file f = co_await open_file(here.file("f"), direct());
    std::array<aligned_buffer, 2> memory{aligned_buffer(16 * page), aligned_buffer(16 * page)};
    refused = !memory[0].register_here();
    EXPECT_TRUE(refused || memory[0].register_here()) << "the second time, too";
    for (int step = 0; step < 300; ++step) {
      const std::size_t many = 1 + draw.uniform(16);
      const std::size_t within = draw.uniform(17 - many) * page;
      const std::size_t offset = draw.uniform(pages - many + 1) * page;
      const auto part = memory[draw.uniform(2)].bytes().subspan(within, many * page);
      if (draw.uniform(2) == 0) {
        for (std::byte& each : part) each = static_cast<std::byte>(draw.uniform(256));
        co_await f.write(part, offset);
        std::memcpy(model.data() + offset, part.data(), part.size());
      } else {
        const std::size_t got = co_await f.read(part, offset);
        EXPECT_EQ(got, part.size());
        EXPECT_TRUE(text_of(part) == std::string_view(model).substr(offset, part.size())) << "step " << step;
      }
    }
    co_await f.close();
    EXPECT_TRUE(here.get("f") == model);
    memory[0] = aligned_buffer(page);
    co_await until_nothing_is_registered();
  };
  for (const fault_plan& plan :
       {fault_plan(asked.watching()), fault_plan(asked.watching(test_support::disturb(seed)))}) {
    run_alone(body, make_faulty_backends(1, plan, seed));
    if (refused) GTEST_SKIP() << "RLIMIT_MEMLOCK is too small here";
    for (io_uring_op kind : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED}) {
      EXPECT_GT(asked[kind], 30u) << "opcode " << kind;
    }
  }
}

TEST(registered_memory, serves_readers_and_writers_from_their_second_round_on) {
  const std::uint64_t seed = test_support::test_seed();
  scratch_directory here;
  NEED_O_DIRECT(here);
  for (const std::size_t blocks : {3ul, 4ul, 5ul, 40ul}) {
    SCOPED_TRACE(blocks);
    const std::string bytes = numbered_bytes(blocks * page);
    counts asked;
    bool refused = false;
    const auto body = [&]() -> task<> {
      file f = co_await open_file(here.file("f"), direct(O_RDWR | O_CREAT | O_TRUNC));
      {
        file_writer to(f, writing());
        co_await to.write(bytes);
        co_await to.flush();
        EXPECT_EQ(table().bytes(), blocks > 4 && table().refused() == 0 ? 4 * page : 0);
      }
      EXPECT_TRUE(here.get("f") == bytes);
      {
        file_reader from(f, reading());
        EXPECT_TRUE(co_await rest_of(from) == bytes);
      }
      refused = table().refused() != 0;
      co_await until_nothing_is_registered();
    };
    run_alone(body, make_faulty_backends(1, asked.watching(), seed));
    if (refused) GTEST_SKIP() << "RLIMIT_MEMLOCK is too small here";
    EXPECT_EQ(asked[IORING_OP_WRITE], std::min<std::size_t>(blocks, 4));
    EXPECT_EQ(asked[IORING_OP_WRITE_FIXED], blocks - asked[IORING_OP_WRITE]);
    EXPECT_EQ(asked[IORING_OP_READ], 4u) << "the first round, with the end in it or behind it";
    run_alone(body, make_faulty_backends(1, test_support::disturb(seed), seed));
  }
}

TEST(registered_memory, is_nothing_for_files_of_the_page_cache) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(40 * page);
  counts asked;
  run_alone(
      [&]() -> task<> {
        file f = co_await open_file(here.file("f"), open_options(O_RDWR | O_CREAT));
        file_writer to(f, writing());
        co_await to.write(bytes);
        co_await to.flush();
        file_reader from(f, reading());
        EXPECT_TRUE(co_await rest_of(from) == bytes);
        aligned_buffer block(page);
        (void)block.register_here();
        EXPECT_EQ(co_await f.read(block.bytes(), 0), page);
      },
      make_faulty_backends(1, asked.watching(), 1));
  EXPECT_EQ(asked[IORING_OP_READ_FIXED] + asked[IORING_OP_WRITE_FIXED], 0u);
  EXPECT_LE(asked[registering], 1u) << "that of the test itself";
}

/// Writes and reads with all that could be registered, and finds that it was not.
task<> do_without(const scratch_directory& here) {
  const std::string bytes = numbered_bytes(40 * page);
  file f = co_await open_file(here.file("f"), direct());
  file_writer to(f, writing());
  co_await to.write(bytes);
  co_await to.flush();
  file_reader from(f, reading());
  EXPECT_TRUE(co_await rest_of(from) == bytes);
  aligned_buffer block(page);
  EXPECT_FALSE(block.register_here());
  EXPECT_EQ(co_await f.read(block.bytes(), 3 * page), page);
  EXPECT_TRUE(text_of(block.bytes()) == std::string_view(bytes).substr(3 * page, page));
  EXPECT_EQ(table().refused(), 3u);
  co_await until_nothing_is_registered();
}

TEST(registered_memory, that_is_refused_is_done_without) {
  scratch_directory here;
  NEED_O_DIRECT(here);
  for (int error : {ENOMEM, EPERM, ENXIO, EFAULT}) {
    counts asked;
    run_alone([&] { return do_without(here); },
              make_faulty_backends(1, asked.watching(test_support::fail_all(registering, error)), 1));
    EXPECT_EQ(asked[IORING_OP_READ_FIXED] + asked[IORING_OP_WRITE_FIXED], 0u);
  }
}

TEST(registered_memory, that_the_limit_of_an_ordinary_user_refuses_is_done_without) {
  if (test_support::simulating()) GTEST_SKIP() << "children are not simulated";
  if (test_support::backend_of_environment() == "epoll") GTEST_SKIP() << "nothing is locked there";
  constexpr uid_t nobody_else = 64003;
  const pid_t child = ::fork();
  if (child == 0) {
    // Not charged for what it locks is who has CAP_IPC_LOCK.
    if (::getuid() == 0 && ::setresuid(nobody_else, nobody_else, nobody_else) != 0) ::_exit(125);
    {
      scratch_directory here;
      if (!direct_works(here)) ::_exit(0);
      run_and_count([&]() -> task<> {
        EXPECT_GE(table().bytes_max(), 4 * page);  // the table was made under the limit that was
        test::limit(RLIMIT_MEMLOCK, page);
        co_await do_without(here);
      });
    }
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(registered_memory, has_so_many_slots_and_so_many_bytes) {
  run_and_count([&]() -> task<> {
    if (table().bytes_max() < 65 * page) co_return;  // RLIMIT_MEMLOCK is too small here
    std::vector<aligned_buffer> all;
    for (unsigned i = 0; i < backend::registered_buffers_max; ++i) {
      all.emplace_back(page);
      EXPECT_TRUE(all.back().register_here()) << i;
    }
    EXPECT_EQ(table().bytes(), all.size() * page);
    aligned_buffer one_more(page);
    EXPECT_FALSE(one_more.register_here());
    EXPECT_EQ(table().refused(), 1u);
    std::swap(all[17], all.back());  // a buffer that moves stays registered
    EXPECT_TRUE(all[17].register_here());
    all.pop_back();
    EXPECT_TRUE(one_more.register_here());
    all.clear();
    aligned_buffer all_but_one_page(table().bytes_max() / page * page - page);
    EXPECT_TRUE(all_but_one_page.register_here());
    aligned_buffer two_pages(2 * page);
    EXPECT_FALSE(two_pages.register_here());
    aligned_buffer empty = std::move(one_more);
    all_but_one_page = std::move(empty);
    EXPECT_EQ(table().bytes(), page);
    EXPECT_TRUE(two_pages.register_here());
    co_return;
  });
}

TEST(registered_memory, is_found_by_what_lies_in_it_whole) {
  run_and_count([&]() -> task<> {
    aligned_buffer memory(2 * page);
    std::unique_ptr<registered_memory> first = table().add(memory.bytes().first(page));
    if (first == nullptr) co_return;  // RLIMIT_MEMLOCK is too small here
    const auto second = table().add(memory.bytes().last(page));
    EXPECT_NE(first->slot(), second->slot());
    EXPECT_EQ(table().find(memory.bytes().subspan(1, page - 1)), first.get());
    EXPECT_EQ(table().find(memory.bytes().subspan(page, 7)), second.get());
    EXPECT_EQ(table().find(memory.bytes().subspan(1, page)), nullptr) << "a part of each";
    first.reset();
    EXPECT_EQ(table().find(memory.bytes().first(1)), nullptr);
    EXPECT_EQ(table().bytes(), page);
  });
}

TEST(registered_memory, that_goes_after_its_shard_finds_nothing_to_leave) {
  aligned_buffer outliving(page);
  run_and_count([&]() -> task<> {
    (void)outliving.register_here();
    co_return;
  });
}

TEST(registered_memory, is_free_again_wherever_a_task_is_cancelled) {
  const std::uint64_t seed = test_support::test_seed();
  scratch_directory here;
  NEED_O_DIRECT(here);
  const std::string bytes = numbered_bytes(24 * page);
  const auto body = [&]() -> task<> {
    here.put("f", bytes);
    file f = co_await open_file(here.file("f"), direct());
    const auto own_memory = [&]() -> task<> {
      aligned_buffer block(4 * page);
      (void)block.register_here();
      for (std::size_t at = 0; at < bytes.size(); at += block.size()) {
        (void)co_await f.read(block.bytes(), at);
        co_await f.write(block.bytes(), at);
      }
    };
    const auto read_ahead = [&]() -> task<> {
      file_reader from(f, reading());
      (void)co_await rest_of(from);
    };
    const auto write_behind = [&]() -> task<> {
      file_writer to(f, writing());
      co_await to.write(bytes);
      co_await to.flush();
    };
    const std::vector<std::function<task<>()>> kinds{own_memory, read_ahead, write_behind};
    for (const auto& kind : kinds) {
      bool to_the_end = false;
      for (int turns = 0; !to_the_end && turns < 200; ++turns) {
        auto running = spawn(kind());
        for (int i = 0; i < turns && !running.is_finished(); ++i) co_await turn();
        to_the_end = running.is_finished();
        running.abort();
        co_await was_cancelled(running);
      }
    }
    co_await f.close();
    while (net::open_files() != 0) co_await turn();
    co_await until_nothing_is_registered();
    EXPECT_TRUE(here.get("f") == bytes) << "only what was there was written";
  };
  run_and_count(body);
  run_alone(body, make_faulty_backends(1, test_support::disturb(seed), seed));
}

TEST(registered_memory, writes_that_fail_break_the_writer_and_lose_nothing_before) {
  scratch_directory here;
  NEED_O_DIRECT(here);
  const std::string bytes = numbered_bytes(12 * page);
  for (int error : {EIO, ENOSPC, EDQUOT}) {
    counts asked;
    const auto plan = [error](const submission& what, std::uint64_t) {
      fault planned;
      if (what.opcode != IORING_OP_WRITE_FIXED) return planned;
      if (what.off == 9 * page || what.off == 10 * page) planned.error = error;
      if (what.off == 9 * page) planned.entries_late = 5;  // the later one is known first
      return planned;
    };
    bool refused = false;
    run_alone(
        [&]() -> task<> {
          file f = co_await open_file(here.file("f"), direct(O_RDWR | O_CREAT | O_TRUNC));
          file_writer to(f, writing());
          int code = co_await code_of(to.write(bytes));
          if (code == 0) code = co_await code_of(to.flush());
          refused = table().refused() != 0;
          EXPECT_EQ(code, refused ? 0 : error);
          EXPECT_EQ(co_await code_of(to.flush()), code);
          EXPECT_TRUE(here.get("f").substr(0, 9 * page) == bytes.substr(0, 9 * page));
        },
        make_faulty_backends(1, asked.watching(plan), 1));
    if (refused) GTEST_SKIP() << "RLIMIT_MEMLOCK is too small here";
    EXPECT_GT(asked[IORING_OP_WRITE_FIXED], 0u);
  }
}

TEST(registered_memory, reads_that_fail_or_come_short_give_all_that_is_before) {
  scratch_directory here;
  NEED_O_DIRECT(here);
  const std::string bytes = numbered_bytes(40 * page);
  here.put("f", bytes);
  const auto plan = [](const submission& what, std::uint64_t) {
    fault planned;
    if (what.opcode != IORING_OP_READ_FIXED) return planned;
    planned.bytes_max = page;  // of blocks of two
    if (what.off == 21 * page) planned.error = EIO;
    planned.entries_late = static_cast<unsigned>(what.off / page % 3);
    return planned;
  };
  bool refused = false;
  run_alone(
      [&]() -> task<> {
        file f = co_await open_file(here.file("f"), direct(O_RDONLY));
        net::file_reader_options options = reading();
        options.block_bytes = 2 * page;
        file_reader from(f, options);
        std::string all;
        int code = 0;
        while (code == 0 && all.size() < bytes.size()) {
          const auto more = [&]() -> task<> {
            const std::span<const std::byte> block = co_await from.next();
            all += text_of(block);
          };
          code = co_await code_of(more());
        }
        refused = table().refused() != 0;
        EXPECT_EQ(code, refused ? 0 : EIO);
        EXPECT_TRUE(all == bytes.substr(0, refused ? 40 * page : 21 * page)) << all.size();
        aligned_buffer block(8 * page);
        (void)block.register_here();
        EXPECT_EQ(co_await f.read(block.bytes(), 4 * page), block.size()) << "made of short ones";
        EXPECT_TRUE(text_of(block.bytes()) == std::string_view(bytes).substr(4 * page, 8 * page));
        code = co_await code_of(f.read(block.bytes(), 20 * page));
        EXPECT_EQ(code, refused ? 0 : EIO);
      },
      make_faulty_backends(1, plan, 1));
}

}  // namespace
}  // namespace skerry
