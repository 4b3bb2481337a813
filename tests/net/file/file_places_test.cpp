// SPDX-License-Identifier: Apache-2.0
/// Where bytes of a file are: vectored reads and writes, appending, truncating, allocating and O_DIRECT, against a
/// string that does the same.

#include <skerry/framework/random.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/aligned_buffer.hpp>
#include <skerry/net/file/file.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
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

using net::aligned_buffer;
using net::allocation;
using net::file;
using net::open_file;
using net::open_options;
using test_support::numbered_bytes;
using test_support::run_and_count;
using test_support::scratch_directory;

const open_options made_anew(O_RDWR | O_CREAT | O_EXCL);

std::span<std::byte> writable(std::string& text) { return std::as_writable_bytes(std::span(text)); }
std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The text of the error that `what` ends with, which must be this one.
template <class T>
task<std::string> refusal(task<T> what, std::errc error) {
  try {
    (void)co_await std::move(what);
  } catch (const std::system_error& thrown) {
    EXPECT_EQ(thrown.code(), error) << thrown.what();
    co_return thrown.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  co_return "";
}

TEST(file_places, pieces_of_memory_lie_one_behind_the_other) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("f"), made_anew);
    const std::string all = numbered_bytes(100'000);
    std::vector<std::span<const std::byte>> parts;
    for (std::size_t at = 0; at < all.size(); at += 37) {  // more than one operation takes
      parts.push_back(bytes_of(all).subspan(at, std::min<std::size_t>(37, all.size() - at)));
    }
    EXPECT_GT(parts.size(), file::pieces_per_operation_max);
    parts.insert(parts.begin() + 5, std::span<const std::byte>());  // an empty one is nothing
    co_await f.write_vectored(parts, 11);
    EXPECT_TRUE(here.get("f") == std::string(11, '\0') + all);

    std::string first(40'000, 'x'), nothing, second(60'000, 'x'), beyond(10, 'x');
    const std::vector<std::span<std::byte>> into{writable(first), writable(nothing), writable(second),
                                                 writable(beyond)};
    EXPECT_EQ(co_await f.read_vectored(into, 11), all.size());
    EXPECT_TRUE(first + second == all);
    EXPECT_EQ(beyond, std::string(10, 'x'));
    EXPECT_EQ(co_await f.read_vectored({}, 0), 0u);
  });
}

TEST(file_places, what_many_append_is_there_whole_and_once) {
  scratch_directory here;
  here.put("log", "old\n");
  run_and_count([&]() -> task<> {
    file log = co_await open_file(here.file("log"), open_options(O_WRONLY | O_APPEND));
    std::vector<std::string> lines;
    for (int i = 0; i < 50; ++i) lines.push_back(std::to_string(i) + " is a line\n");
    std::vector<join_handle<void>> all;
    for (const std::string& line : lines) all.push_back(spawn(log.append(line), "append"));
    for (auto& each : all) co_await each;
    std::string now = here.get("log");
    EXPECT_TRUE(now.starts_with("old\n"));
    std::size_t bytes = 4;
    for (const std::string& line : lines) {
      bytes += line.size();
      if (!test_support::disturbed() && !test_support::simulated()) {  // the kernel took each whole
        EXPECT_NE(now.find('\n' + line), now.npos) << line;
      }
    }
    EXPECT_EQ(now.size(), bytes);
    const std::string ignored = co_await refusal(log.write("x", 0), std::errc::invalid_argument);
    EXPECT_NE(ignored.find("use append"), ignored.npos) << ignored;
    file other = co_await open_file(here.file("log"), open_options(O_WRONLY));
    const std::string unordered = co_await refusal(other.append("x"), std::errc::invalid_argument);
    EXPECT_NE(unordered.find("without O_APPEND"), unordered.npos) << unordered;
  });
}

TEST(file_places, truncating_cuts_or_adds_zeros) {
  scratch_directory here;
  here.put("f", "0123456789");
  const auto check = [&]() -> task<> {
    file f = co_await open_file(here.file("f"), open_options(O_RDWR));
    co_await f.truncate(4);
    EXPECT_EQ(here.get("f"), "0123");
    co_await f.truncate(6);
    EXPECT_EQ(here.get("f"), std::string("0123\0\0", 6));
    // A simulated file is in memory from end to end.
    const std::uint64_t far = (std::uint64_t{5} << (test_support::simulated() ? 20 : 30)) + 1;
    co_await f.truncate(far);
    EXPECT_EQ(co_await f.size(), far);
    co_await f.truncate(0);
    co_await f.write("0123456789", 0);
    file unwritable = co_await open_file(here.file("f"));
    const std::string said = co_await refusal(unwritable.truncate(1), std::errc::invalid_argument);
    EXPECT_NE(said.find(here.file("f")), said.npos);
  };
  run_and_count(check);
  // A kernel before 6.9.
  test_support::run_alone(
      check, test_support::make_faulty_backends(1, test_support::fail_all(prepare::op_ftruncate, EINVAL), 1));
}

TEST(file_places, space_is_allocated_and_given_back) {
  scratch_directory here;
  run_and_count([&]() -> task<> {
    file f = co_await open_file(here.file("f"), made_anew);
    const auto blocks = [&] {
      struct stat now{};
      EXPECT_EQ(::stat(here.file("f").c_str(), &now), 0);
      return now.st_blocks;
    };
    try {
      co_await f.allocate(0, 1 << 20);
    } catch (const std::system_error& cannot) {
      EXPECT_EQ(cannot.code(), std::errc::operation_not_supported);
      co_return;
    }
    EXPECT_EQ(co_await f.size(), std::uint64_t{1} << 20);
    EXPECT_GE(blocks(), (1 << 20) / 512);
    co_await f.allocate(1 << 20, 1 << 20, allocation::keep_size);
    EXPECT_EQ(co_await f.size(), std::uint64_t{1} << 20);
    EXPECT_GE(blocks(), (2 << 20) / 512);
    co_await f.write(numbered_bytes(1 << 20), 0);
    const auto full = blocks();
    co_await f.allocate(4096, 8192, allocation::punch_hole);
    EXPECT_LT(blocks(), full);
    std::string read(8194, 'x');
    EXPECT_EQ(co_await f.read(writable(read), 4095), read.size());
    EXPECT_EQ(read.substr(1, 8192), std::string(8192, '\0'));
    EXPECT_NE(read.front(), '\0');
    (void)co_await refusal(f.allocate(0, 0), std::errc::invalid_argument);
  });
}

TEST(file_places, an_o_direct_file_takes_aligned_memory_and_says_what_it_takes) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(100'000);  // ends inside a block
  here.put("f", bytes);
  run_and_count([&]() -> task<> {
    std::expected<file, std::errc> direct =
        co_await net::open_if_possible(here.file("f"), open_options(O_RDWR | O_DIRECT));
    if (!direct) {
      EXPECT_EQ(direct.error(), std::errc::invalid_argument);
      std::printf("no O_DIRECT on this file system\n");
      co_return;
    }
    file f = std::move(*direct);
    const net::file_alignment needed = co_await f.alignment();
    EXPECT_GE(needed.offset, 512u);
    EXPECT_GE(needed.memory, 1u);
    aligned_buffer memory(bytes.size(), needed);
    EXPECT_GE(memory.size(), bytes.size());
    EXPECT_EQ(memory.size() % needed.offset, 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % needed.memory, 0u);
    EXPECT_EQ(co_await f.read(memory.bytes(), 0), bytes.size());
    EXPECT_EQ(std::memcmp(memory.data(), bytes.data(), bytes.size()), 0);

    std::vector<std::string> all_said;
    all_said.push_back(co_await refusal(f.read(memory.bytes(), 1), std::errc::invalid_argument));
    all_said.push_back(co_await refusal(f.read(memory.bytes().first(100), 0), std::errc::invalid_argument));
    const auto misplaced = memory.bytes().subspan(1, needed.offset);
    all_said.push_back(co_await refusal(f.write(misplaced, 0), std::errc::invalid_argument));
    for (const std::string& said : all_said) {
      EXPECT_NE(said.find(here.file("f")), said.npos) << said;
      EXPECT_NE(said.find("multiples of " + std::to_string(needed.offset)), said.npos) << said;
    }
    (void)co_await refusal(f.read(0), std::errc::invalid_argument);  // buffers of the pool do not fit

    const auto block = memory.bytes().first(needed.offset);
    std::ranges::fill(block, std::byte{'d'});
    co_await f.write(block, needed.offset);
    const std::vector<std::span<const std::byte>> twice{block, block};
    co_await f.write_vectored(twice, 3 * needed.offset);
    const std::string now = here.get("f"), filled(needed.offset, 'd');
    EXPECT_EQ(now.substr(0, needed.offset), bytes.substr(0, needed.offset));
    EXPECT_TRUE(now.substr(needed.offset, needed.offset) == filled);
    EXPECT_TRUE(now.substr(3 * needed.offset, 2 * needed.offset) == filled + filled);
    EXPECT_EQ(now.size(), bytes.size());
  });
}

/// A string that does what a file does.
class model {
 public:
  void write(std::string_view text, std::size_t at) {
    if (text.empty()) return;
    if (bytes.size() < at + text.size()) bytes.resize(at + text.size());
    bytes.replace(at, text.size(), text);
  }
  std::string read(std::size_t at, std::size_t most) const { return at >= bytes.size() ? "" : bytes.substr(at, most); }

  std::string bytes;
};

TEST(file_places, random_operations_do_to_a_file_what_they_do_to_a_string) {
  const std::uint64_t seed = test_support::test_seed();
  scratch_directory here;
  run_and_count([&]() -> task<> {
    random_source draw(seed);
    const auto drawn = [&](std::uint64_t bound) { return static_cast<std::size_t>(draw.uniform(bound)); };
    // Places with 32 and 33 bits; a simulated file is in memory from end to end.
    const std::uint64_t base = (std::uint64_t{1} << (test_support::simulated() ? 16 : 32)) - 50'000;
    file f = co_await open_file(here.file("f"), made_anew);
    model expected;
    const std::string source = numbered_bytes(200'000);
    for (int step = 0; step < 600 && !testing::Test::HasFailure(); ++step) {
      const std::size_t at = drawn(120'000), length = drawn(step % 10 == 0 ? 60'000 : 2'000);
      const std::string_view text = std::string_view(source).substr(drawn(100'000), length);
      SCOPED_TRACE("step " + std::to_string(step) + " at " + std::to_string(at) + ", " + std::to_string(length));
      switch (draw.uniform(7)) {
        case 0: {
          co_await f.write(text, base + at);
          expected.write(text, at);
          break;
        }
        case 1: {
          std::vector<std::span<const std::byte>> parts;
          for (std::string_view left = text; !left.empty();) {
            const std::size_t part = 1 + drawn(left.size());
            parts.push_back(bytes_of(left.substr(0, part)));
            left.remove_prefix(part);
          }
          co_await f.write_vectored(parts, base + at);
          expected.write(text, at);
          break;
        }
        case 2: {
          std::string into(length, 'x');
          into.resize(co_await f.read(writable(into), base + at));
          EXPECT_TRUE(into == expected.read(at, length));
          break;
        }
        case 3: {
          std::string first(length, 'x'), second(drawn(1000), 'x');
          const std::vector<std::span<std::byte>> into{writable(first), writable(second)};
          const std::size_t got = co_await f.read_vectored(into, base + at);
          EXPECT_TRUE((first + second).substr(0, got) == expected.read(at, first.size() + second.size()));
          break;
        }
        case 4: {
          if (draw.uniform(4) != 0) break;  // or it never gets long
          co_await f.truncate(base + at);
          expected.bytes.resize(at);
          break;
        }
        case 5: {
          co_await f.allocate(base + at, length + 1, allocation::extend);
          expected.bytes.resize(std::max(expected.bytes.size(), at + length + 1));
          break;
        }
        case 6: {
          co_await f.allocate(base + at, length + 1, allocation::punch_hole);
          for (std::size_t i = at; i < std::min(at + length + 1, expected.bytes.size()); ++i) expected.bytes[i] = '\0';
          break;
        }
      }
      const std::uint64_t size = co_await f.size();
      EXPECT_EQ(size > base ? size - base : 0, expected.bytes.size());
    }
  });
}

}  // namespace
}  // namespace skerry
