// SPDX-License-Identifier: Apache-2.0
// Simulated disks with the shipped file API: what is written is read, what was not synced may be lost at a crash, and
// what goes wrong is told as a kernel tells it.
#include <skerry/framework/task/cancel.hpp>
#include <skerry/net/file/aligned_buffer.hpp>
#include <skerry/net/file/directory.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_reader.hpp>
#include <skerry/net/file/file_writer.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

sim::options with(std::uint64_t seed) {
  sim::options o;
  o.seed = seed;
  return o;
}

/// What a kernel may do to any program.
sim::options restless(std::uint64_t seed) {
  sim::options o = with(seed);
  o.system.short_transfer = 0.3;
  o.system.interrupted = 0.05;
  o.system.late_completion = 0.1;
  return o;
}

std::string numbered(std::size_t bytes, std::uint64_t from = 0) {
  std::string text;
  while (text.size() < bytes) text += std::to_string(from++) + ' ';
  text.resize(bytes);
  return text;
}

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    co_await std::forward<Awaitable>(what);
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

task<std::string> all_of(const char* path) {
  std::string path_text = path;
  co_return co_await net::read_file(std::move(path_text), 1 << 20);
}

// --- what is there ---

task<> use_every_operation() {
  co_await net::make_directory("/data");
  const net::open_options fresh(O_RDWR | O_CREAT | O_EXCL, 0640);
  net::file f = co_await net::open_file("/data/a", fresh);
  EXPECT_EQ(co_await error_of(net::open_file("/data/a", fresh)), EEXIST);
  const std::string text = numbered(30'000);
  co_await f.write(text, 0);
  std::string back(40'000, '\0');
  EXPECT_EQ(co_await f.read(std::as_writable_bytes(std::span(back)), 0), text.size());
  EXPECT_EQ(back.substr(0, text.size()), text);
  std::string lent;
  while (true) {
    const buffer next = co_await f.read(lent.size());
    if (next.empty()) break;
    lent.append(reinterpret_cast<const char*>(next.data()), next.size());
  }
  EXPECT_EQ(lent, text);

  std::string one(10, '\0'), two(20'000, '\0');
  const std::vector<std::span<std::byte>> into{std::as_writable_bytes(std::span(one)),
                                               std::as_writable_bytes(std::span(two))};
  EXPECT_EQ(co_await f.read_vectored(into, 5), 20'010u);
  EXPECT_EQ(one + two, text.substr(5, 20'010));
  const std::vector<std::span<const std::byte>> from{std::as_bytes(std::span(two)), std::as_bytes(std::span(one))};
  co_await f.write_vectored(from, 40'000);
  const net::file_status grown = co_await f.status();
  EXPECT_EQ(grown.size, 60'010u);
  EXPECT_EQ(grown.permissions, 0640u);
  EXPECT_EQ(grown.kind, net::file_kind::regular);
  std::string gap(10'010, 'x');
  EXPECT_EQ(co_await f.read(std::as_writable_bytes(std::span(gap)), 29'995), gap.size());
  EXPECT_EQ(gap.substr(0, 10), text.substr(29'995) + std::string(5, '\0'));

  co_await f.truncate(100);
  co_await f.truncate(200);
  EXPECT_EQ(co_await all_of("/data/a"), text.substr(0, 100) + std::string(100, '\0'));
  co_await f.allocate(0, 50, net::allocation::punch_hole);
  co_await f.allocate(0, 1000, net::allocation::keep_size);
  EXPECT_EQ(co_await f.size(), 200u);
  co_await f.allocate(0, 300);
  EXPECT_EQ(co_await f.size(), 300u);
  EXPECT_EQ(co_await all_of("/data/a"), std::string(50, '\0') + text.substr(50, 50) + std::string(200, '\0'));
  co_await f.sync();
  co_await f.sync_data();
  co_await f.close();

  net::file end = co_await net::open_file("/data/a", net::open_options(O_WRONLY | O_APPEND | O_TRUNC));
  co_await end.append("first ");
  co_await end.append("second");
  EXPECT_EQ(co_await all_of("/data/a"), "first second");
  EXPECT_EQ(co_await error_of(end.read(0)), EBADF);

  co_await net::rename_file("/data/a", "/tmp/../data/./b");
  EXPECT_EQ(co_await error_of(all_of("/data/a")), ENOENT);
  EXPECT_EQ(co_await all_of("/data/b"), "first second");
  EXPECT_EQ(co_await error_of(net::remove_directory("/data")), ENOTEMPTY);
  EXPECT_EQ(co_await error_of(net::remove_file("/data")), EISDIR);
  EXPECT_EQ(co_await error_of(net::rename_file("/data", "/data/in")), EINVAL);
  EXPECT_EQ(co_await error_of(net::open_file("/data/b/c")), ENOTDIR);
  EXPECT_EQ(co_await error_of(net::open_file("/data", net::open_options(O_WRONLY))), EISDIR);
  {
    net::directory_reader data = co_await net::open_directory("/data");
    net::open_options beneath;
    beneath.directory = data.fd();
    beneath.resolve = RESOLVE_BENEATH;
    net::file inside = co_await net::open_file("b", beneath);
    EXPECT_EQ(co_await inside.size(), 12u);
    EXPECT_EQ(co_await error_of(net::open_file("../tmp", beneath)), EXDEV);
    EXPECT_EQ(co_await error_of(net::open_file("/tmp", beneath)), EXDEV);
    co_await net::remove_file("/data/b");
    std::string still(20, '\0');  // who has it open has it
    EXPECT_EQ(co_await inside.read(std::as_writable_bytes(std::span(still)), 0), 12u);
  }
  co_await net::remove_directory("/data");
  EXPECT_EQ(co_await error_of(net::open_directory("/data")), ENOENT);
}

TEST(sim_disk, does_what_the_file_api_asks_for) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(sim::run(restless(seed), use_every_operation).violation, "");
  }
}

task<> stream_a_file(int flags) {
  const std::string text = numbered(std::size_t{70} * 4096);
  net::file_writer_options small_blocks;
  small_blocks.block_bytes = 8192;
  net::file to = co_await net::open_file("/tmp/streamed", net::open_options(O_RDWR | O_CREAT | flags));
  net::file_writer out(to, small_blocks);
  co_await out.write(text);
  co_await out.sync();
  net::file_reader_options ahead;
  ahead.block_bytes = 8192;
  net::file_reader in(to, ahead);
  std::string back;
  while (true) {
    const std::span<const std::byte> next = co_await in.next();
    if (next.empty()) break;
    back.append(reinterpret_cast<const char*>(next.data()), next.size());
  }
  EXPECT_TRUE(back == text);
}

TEST(sim_disk, streams_whole_files_through_the_cache_and_past_it) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(sim::run(restless(seed), [] { return stream_a_file(0); }).violation, "");
    EXPECT_EQ(sim::run(restless(seed), [] { return stream_a_file(O_DIRECT); }).violation, "");
  }
}

task<> list_many() {
  co_await net::make_directory("many");
  std::set<std::string> missing;
  for (int i = 0; i < 300; ++i) {
    missing.insert("entry " + std::to_string(i));
    net::file made = co_await net::open_file("/many/entry " + std::to_string(i), net::open_options(O_WRONLY | O_CREAT));
  }
  net::directory_reader all = co_await net::open_directory("/many/");
  std::size_t given = 0;
  while (true) {
    const std::optional<net::directory_entry> each = co_await all.next();
    if (!each) break;
    ++given;
    missing.erase(each->name);
    EXPECT_EQ(each->kind, net::entry_kind::regular);
    if (given == 100) co_await net::remove_file("/many/" + each->name);  // who stays comes once all the same
  }
  EXPECT_EQ(given, 300u);
  EXPECT_TRUE(missing.empty());
}

TEST(sim_disk, lists_directories) { EXPECT_EQ(sim::run(restless(3), list_many).violation, ""); }

TEST(sim_disk, belongs_to_its_host) {
  const sim::report ended = sim::run(with(4), []() -> task<> {
    co_await net::write_file_atomically("/tmp/mine", "test's");
    sim::host_handle other = sim::host("other");
    int found = -1;
    other.start([&found]() -> task<> { found = co_await error_of(net::read_file("/tmp/mine", 10)); }, true);
    co_await other.ended();
    EXPECT_EQ(found, ENOENT);
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim_disk, that_is_full_says_so_and_has_room_again) {
  sim::options o = restless(5);
  o.disk.bytes_max = 100'000;
  const sim::report ended = sim::run(o, []() -> task<> {
    const std::string half(60'000, 'x');
    co_await net::write_file_atomically("/tmp/a", half);
    EXPECT_EQ(co_await error_of(net::write_file_atomically("/tmp/b", half)), ENOSPC);
    EXPECT_EQ(co_await error_of(all_of("/tmp/b")), ENOENT);
    co_await net::remove_file("/tmp/a");
    // The space of a file whose removal is not durable is not free.
    net::file tmp = co_await net::open_file("/tmp", net::open_options(O_DIRECTORY));
    co_await tmp.sync();
    co_await net::write_file_atomically("/tmp/b", half);
    net::file huge = co_await net::open_file("/tmp/b", net::open_options(O_WRONLY));
    EXPECT_EQ(co_await error_of(huge.truncate(200'000)), EFBIG);
  });
  EXPECT_EQ(ended.violation, "");
}

// --- what a crash leaves ---

constexpr const char* state_path = "/tmp/state";
std::string version(int number) { return numbered(3'000, static_cast<std::uint64_t>(number) * 1'000'000); }

task<> replace_in_place(int number) {
  net::file f = co_await net::open_file(state_path, net::open_options(O_WRONLY | O_CREAT));
  co_await f.write(version(number), 0);
  co_await f.sync();
  net::file directory = co_await net::open_file("/tmp", net::open_options(O_DIRECTORY));
  co_await directory.sync();
}

task<> replace_by_rename(int number, bool sync_file, bool sync_directory) {
  net::file f = co_await net::open_file("/tmp/new", net::open_options(O_WRONLY | O_CREAT | O_TRUNC));
  co_await f.write(version(number), 0);
  if (sync_file) co_await f.sync();
  co_await f.close();
  co_await net::rename_file("/tmp/new", state_path);
  if (!sync_directory) co_return;
  net::file directory = co_await net::open_file("/tmp", net::open_options(O_DIRECTORY));
  co_await directory.sync();
}

task<> replace_atomically(int number) {
  const std::string text = version(number);
  co_await net::write_file_atomically(state_path, text);
}

struct kept {
  int torn = 0;  // neither of two versions
  int lost = 0;  // an older one than the last that was acknowledged
  int whole = 0;
};

/// A host replaces a file again and again, crashes at a drawn moment, and looks at what it has.
kept crash_while(const std::function<task<>(int)>& replace, std::uint64_t seeds,
                 const std::function<void(sim::options&)>& set = {}) {
  kept counted;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    sim::options o = restless(seed);
    if (set) set(o);
    const sim::report ended = sim::run(o, [&]() -> task<> {
      int begun = 0, acknowledged = 0;
      sim::host_handle store = sim::host("store");
      store.start([&]() -> task<> {
        while (true) {
          const int next = ++begun;
          const int error = co_await error_of(replace(next));
          if (error == 0) acknowledged = next;
          if (!store.runs()) co_return;
          if (error != 0) co_await sleep_for(1ms);
        }
      });
      co_await sleep_for(std::chrono::microseconds(10'000 + sim::draw(60'000)));
      const int before = acknowledged;
      store.crash();
      co_await store.ended();
      int found = -1;  // -1: something else; 0: none
      store.start(
          [&]() -> task<> {
            for (bool again = true; again;) {
              try {
                const std::string text = co_await all_of(state_path);
                for (int v = before; v <= begun; ++v) found = text == version(v) ? v : found;
                for (int v = 1; v < before && found < 0; ++v) found = text == version(v) ? v : found;
                again = false;
              } catch (const std::system_error& error) {
                if (error.code() == std::errc::no_such_file_or_directory) found = 0;
                again = found != 0;  // a fault of the moment
              }
            }
          },
          true);
      co_await store.ended();
      ++(found < 0 ? counted.torn : found < before ? counted.lost : counted.whole);
    });
    EXPECT_EQ(ended.violation, "");
  }
  std::printf("%d torn, %d lost, %d whole\n", counted.torn, counted.lost, counted.whole);
  return counted;
}

TEST(sim_disk, write_file_atomically_is_atomic_and_lasts) {
  const kept found = crash_while(replace_atomically, 1000);
  EXPECT_EQ(found.torn, 0);
  EXPECT_EQ(found.lost, 0);
  EXPECT_EQ(found.whole, 1000);
}

TEST(sim_disk, write_file_atomically_is_atomic_and_lasts_where_everything_goes_wrong) {
  const auto faults = [](sim::options& o) {
    o.all_faults();
    o.disk.io_error = o.disk.full = 0.02;
  };
  const kept found = crash_while(replace_atomically, 300, faults);
  EXPECT_EQ(found.torn, 0);
  EXPECT_EQ(found.lost, 0);
}

TEST(sim_disk, whoever_leaves_out_a_step_loses) {
  const kept in_place = crash_while(replace_in_place, 200);
  EXPECT_GT(in_place.torn, 0);
  const kept not_synced = crash_while([](int n) { return replace_by_rename(n, false, true); }, 200);
  EXPECT_GT(not_synced.torn, 0);
  const kept directory_not_synced = crash_while([](int n) { return replace_by_rename(n, true, false); }, 200);
  EXPECT_EQ(directory_not_synced.torn, 0);
  EXPECT_GT(directory_not_synced.lost, 0);
  const kept right = crash_while([](int n) { return replace_by_rename(n, true, true); }, 200);
  EXPECT_EQ(right.torn + right.lost, 0);
}

TEST(sim_disk, keeps_what_was_not_synced_when_a_program_only_ends) {
  const sim::report ended = sim::run(restless(6), []() -> task<> {
    sim::host_handle store = sim::host("store");
    store.start([]() -> task<> { co_await replace_by_rename(1, false, false); }, true);
    co_await store.ended();
    std::string found;
    store.start([&]() -> task<> { found = co_await all_of(state_path); }, true);
    co_await store.ended();
    EXPECT_EQ(found, version(1));
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim_disk, is_not_reached_by_a_host_that_dies) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const sim::report ended = sim::run(with(seed), []() -> task<> {
      sim::host_handle store = sim::host("store");
      bool waits = false, cleaned_up = false;
      store.start([&]() -> task<> {
        co_await replace_by_rename(1, true, true);
        const auto wait = [&]() -> task<> {
          waits = true;
          co_await sleep_for(1h);
        };
        const auto clean_up = [&]() -> task<> {
          cleaned_up = true;
          co_await error_of(net::remove_file(state_path));
          const int fd = ::open(state_path, O_WRONLY | O_TRUNC);
          EXPECT_EQ(fd, -1);
        };
        co_await finally(wait(), clean_up());
      });
      while (!waits) co_await sleep_for(1ms);
      store.crash();
      co_await store.ended();
      EXPECT_TRUE(cleaned_up);
      std::string found;
      store.start([&]() -> task<> { found = co_await all_of(state_path); }, true);
      co_await store.ended();
      EXPECT_EQ(found, version(1));
    });
    EXPECT_EQ(ended.violation, "");
  }
}

TEST(sim_disk, is_what_calls_beside_the_backend_reach) {
  const sim::report ended = sim::run(with(7), []() -> task<> {
    const int fd = ::open("/tmp/beside", O_RDWR | O_CREAT, 0600);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(::ftruncate(fd, 1'000), 0);
    struct ::stat found{};
    EXPECT_EQ(::fstat(fd, &found), 0);
    EXPECT_EQ(found.st_size, 1'000);
    EXPECT_TRUE(S_ISREG(found.st_mode));
    ::close(fd);
    EXPECT_EQ(co_await all_of("/tmp/beside"), std::string(1'000, '\0'));
    std::ifstream opened_later;
    opened_later.open("/etc/passwd");
    const bool stream_found = std::ifstream("/etc/passwd").is_open() || opened_later.is_open() ||
                              std::fstream(std::string("/etc/passwd"), std::ios::in).is_open();
    EXPECT_FALSE(stream_found);
    EXPECT_EQ(::open("/etc/passwd", O_RDONLY), -1);
  });
  EXPECT_EQ(ended.violation, "");
}

// --- fsync ---

TEST(sim_disk, a_failed_sync_is_not_taken_back_by_the_next) {
  int failed = 0, said_to_be_well = 0, lost_all_the_same = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    sim::options o = with(seed);
    o.disk.io_error = 0.1;
    const sim::report ended = sim::run(o, [&]() -> task<> {
      bool sync_failed = false, well = false;
      sim::host_handle store = sim::host("store");
      const auto fill = [&]() -> task<> {
        net::file f = co_await net::open_file("/f", net::open_options(O_WRONLY | O_CREAT));
        net::file root = co_await net::open_file("/", net::open_options(O_DIRECTORY));
        co_await root.sync();
        co_await f.write(numbered(2'000), 0);
        const int first = co_await error_of(f.sync());
        if (first == 0) co_return;
        sync_failed = true;
        // What is shipped does not believe the second answer.
        EXPECT_EQ(first, EIO);
        EXPECT_EQ(co_await error_of(f.sync()), EIO);
        EXPECT_EQ(co_await error_of(f.sync_data()), EIO);
        // Who asks by another descriptor hears that all is well.
        net::file again = co_await net::open_file("/f", net::open_options(O_WRONLY));
        well = co_await error_of(again.sync()) == 0;
        sim::host("store").crash();
        co_await sleep_for(1h);
      };
      store.start([&]() -> task<> { co_await error_of(fill()); }, true);
      co_await store.ended();
      if (!sync_failed) co_return;
      ++failed;
      if (!well) co_return;
      ++said_to_be_well;
      std::string found;
      const auto look = [&]() -> task<> { found = co_await all_of("/f"); };
      bool looked = false;
      store.start(
          [&]() -> task<> {
            while (!looked) looked = co_await error_of(look()) == 0;
          },
          true);
      co_await store.ended();
      if (found != numbered(2'000)) ++lost_all_the_same;
    });
    EXPECT_EQ(ended.violation, "");
  }
  EXPECT_GT(failed, 5);
  EXPECT_GT(said_to_be_well, 5);
  EXPECT_GT(lost_all_the_same, 3);
}

TEST(sim_disk, a_seed_repeats_with_crashes) {
  const auto once = [](std::uint64_t seed) {
    sim::options o = restless(seed);
    o.all_faults();
    return sim::run(o, []() -> task<> {
      sim::host_handle store = sim::host("store", 2);
      for (int life = 0; life < 3; ++life) {
        store.start([]() -> task<> {
          for (int i = 0;; ++i) co_await error_of(replace_atomically(i));
        });
        co_await sleep_for(20ms);
        store.crash();
        co_await store.ended();
      }
    });
  };
  const sim::report first = once(7), again = once(7), other = once(8);
  EXPECT_EQ(first.violation, "");
  EXPECT_EQ(first.trace_hash, again.trace_hash);
  EXPECT_EQ(first.steps, again.steps);
  EXPECT_NE(first.trace_hash, other.trace_hash);
}

}  // namespace
