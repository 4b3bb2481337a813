// SPDX-License-Identifier: Apache-2.0
/// What a conversation and a file come to when the kernel refuses, breaks off, answers late and in part: every kind of
/// operation fails at every place with every errno that is plausible there. Whatever happens, it ends, what arrives is
/// a beginning of what was sent, an error says what the kernel said, and nothing is left behind: the shard's end
/// asserts that buffers, blocks, frames and endpoints are back, and run_with counts descriptors.

#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/file/directory.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_reader.hpp>
#include <skerry/net/file/file_watch.hpp>
#include <skerry/net/file/file_writer.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/fault_run.hpp>
#include <support/faulty_backend.hpp>
#include <support/heap_count.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using test_support::fail_nth;
using test_support::fault;
using test_support::fault_plan;
using test_support::loopback;
using test_support::numbered_bytes;
using test_support::open_descriptors;
using test_support::read_all;
using test_support::run_alone;
using test_support::run_with;
using test_support::scratch_directory;
using test_support::was_cancelled;
using namespace std::chrono_literals;

/// The error that `wait` ends with; 0 when it ends without.
task<int> error_of(task<> wait) {
  try {
    co_await std::move(wait);
  } catch (const std::system_error& error) {
    co_return error.code().value();
  } catch (const std::bad_alloc&) {
    co_return ENOMEM;
  }
  co_return 0;
}

/// What a conversation has come to.
struct outcome {
  std::string arrived;
  int connecting = 0;  // errno
  int writing = 0;
  int reading = 0;
  int serving = 0;
};

task<> echo_one(net::listener& listening) {
  std::optional<net::stream> client = co_await listening.accept();
  while (true) {
    const buffer bytes = co_await client->read();
    if (bytes.empty()) break;
    co_await client->write(bytes);
  }
  client->shutdown_output();
}

task<> write_all(net::stream& to, std::string_view bytes) {
  co_await to.write(bytes);
  to.shutdown_output();
}

task<> read_into(net::stream& from, std::string& into) {
  while (true) {
    const buffer bytes = co_await from.read();
    if (bytes.empty()) co_return;
    into += test_support::text_of(bytes);
  }
}

/// Sends `bytes` to a server of this shard that sends them back.
task<> converse(outcome& of, std::string_view bytes) {
  net::listener listening(loopback());
  auto server = spawn(error_of(echo_one(listening)), "server");
  std::optional<net::stream> ours;
  auto connecting = [&]() -> task<> { ours.emplace(co_await net::connect(listening.where())); };
  of.connecting = co_await error_of(connecting());
  if (ours) {
    // Whoever cannot go on ends the other direction, too: nobody would answer what was not sent.
    auto reader = spawn(error_of(read_into(*ours, of.arrived)), "reader");
    auto write = [&]() -> task<> {
      of.writing = co_await error_of(write_all(*ours, bytes));
      if (of.writing != 0) reader.abort();
    };
    auto writer = spawn(write, "writer");
    auto read_to_the_end = [&]() -> task<> { of.reading = co_await reader; };
    const int reading = co_await error_of(read_to_the_end());
    EXPECT_TRUE(reading == 0 || (reading == ECANCELED && of.writing != 0)) << reading;
    if (of.reading != 0) writer.abort();
    co_await was_cancelled(writer);
    ours.reset();
    of.serving = co_await server;
  } else {
    server.abort();
    EXPECT_TRUE(co_await was_cancelled(server));
  }
}

/// Every errno that Linux documents for the call, and those that any call can give.
struct faulty_kind {
  const char* name;
  io_uring_op opcode;
  std::vector<int> errors;
};

const faulty_kind kinds_of_sockets[] = {
    {"accept", IORING_OP_ACCEPT, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EINTR, EAGAIN, ECONNABORTED, EPERM}},
    {"recv", IORING_OP_RECV, {ENOBUFS, ENOMEM, EINTR, EAGAIN, ECONNRESET, ETIMEDOUT}},
    {"send", IORING_OP_SEND, {EPIPE, ECONNRESET, ENOBUFS, ENOMEM, EINTR, EAGAIN, ETIMEDOUT}},
    {"connect", IORING_OP_CONNECT, {ECONNREFUSED, ETIMEDOUT, EADDRNOTAVAIL, EINTR, ENETUNREACH, ENOMEM}},
    {"close", IORING_OP_CLOSE, {EIO, EINTR, ENOSPC}},
};

class faults_of_sockets : public testing::TestWithParam<faulty_kind> {};

INSTANTIATE_TEST_SUITE_P(kinds, faults_of_sockets, testing::ValuesIn(kinds_of_sockets),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(faults_of_sockets, at_every_place_end_the_conversation_or_pass_unnoticed) {
  const std::string sent = numbered_bytes(200'000);
  const std::set<int> unnoticed{EINTR, EAGAIN};
  for (int error : GetParam().errors) {
    for (std::uint64_t nth = 1; nth <= 6; ++nth) {
      SCOPED_TRACE(GetParam().name + (" " + std::to_string(nth) + ": ") + std::generic_category().message(error));
      outcome of;
      if (!run_with(fail_nth(GetParam().opcode, nth, error), [&]() -> task<> { return converse(of, sent); })) break;
      EXPECT_TRUE(std::string_view(sent).starts_with(of.arrived)) << "bytes were lost, doubled or swapped";
      // An error is told to whoever asked for the operation: as what it was, or as the other side's reset.
      for (int told : {of.connecting, of.writing, of.reading, of.serving}) {
        EXPECT_TRUE(told == 0 || told == error || told == ECONNRESET || told == EPIPE) << told;
      }
      const bool whole = of.arrived.size() == sent.size() && of.reading == 0;
      const bool told = of.connecting != 0 || of.writing != 0 || of.reading != 0 || of.serving != 0;
      EXPECT_TRUE(whole || told) << "bytes are missing and nobody was told";
      const bool recovers = GetParam().opcode == IORING_OP_ACCEPT || GetParam().opcode == IORING_OP_CLOSE ||
                            unnoticed.contains(error) || (GetParam().opcode == IORING_OP_RECV && error == ENOBUFS);
      if (recovers) {
        EXPECT_TRUE(whole && !told) << of.connecting << of.writing << of.reading << of.serving;
      }
      if (GetParam().opcode == IORING_OP_CONNECT && error != EINTR) {
        EXPECT_EQ(of.connecting, error);
      }
    }
  }
}

const faulty_kind kinds_of_files[] = {
    {"open", IORING_OP_OPENAT2, {EMFILE, ENFILE, ENOMEM, ENOSPC, EACCES, EINTR}},
    {"read", IORING_OP_READ, {EIO, EINTR, ENOMEM}},
    {"write", IORING_OP_WRITE, {ENOSPC, EIO, EINTR, EDQUOT, ENOMEM}},
    {"fsync", IORING_OP_FSYNC, {EIO, ENOSPC, EINTR, EDQUOT}},
    {"rename", IORING_OP_RENAMEAT, {ENOSPC, EIO, EACCES, EINTR}},
    {"status", IORING_OP_STATX, {EIO, ENOMEM, EINTR}},
    {"close", IORING_OP_CLOSE, {EIO, ENOSPC, EINTR}},
    {"readv", IORING_OP_READV, {EIO, EINTR, ENOMEM}},
    {"writev", IORING_OP_WRITEV, {ENOSPC, EIO, EINTR, EDQUOT, ENOMEM}},
    {"truncate", prepare::op_ftruncate, {EIO, EPERM, EINTR}},
    {"allocate", IORING_OP_FALLOCATE, {ENOSPC, EIO, EOPNOTSUPP, EINTR}},
    {"make_directory", IORING_OP_MKDIRAT, {ENOSPC, EACCES, EMLINK, EINTR}},
    {"remove", IORING_OP_UNLINKAT, {EBUSY, EIO, EACCES, EINTR}},
    {"poll", IORING_OP_POLL_ADD, {ENOMEM}},
};

class faults_of_files : public testing::TestWithParam<faulty_kind> {};

INSTANTIATE_TEST_SUITE_P(kinds, faults_of_files, testing::ValuesIn(kinds_of_files),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(faults_of_files, at_every_place_leave_the_old_file_or_the_new_one_whole) {
  const std::string older = numbered_bytes(10'000), newer = numbered_bytes(300'000);
  for (int error : GetParam().errors) {
    for (std::uint64_t nth = 1; nth <= 8; ++nth) {
      SCOPED_TRACE(GetParam().name + (" " + std::to_string(nth) + ": ") + std::generic_category().message(error));
      scratch_directory here;
      const std::string path = here.file("state");
      run_alone([&]() -> task<> { return net::write_file_atomically(path, older); }, {});
      int writing = 0, reading = 0;
      std::string seen;
      const bool struck = run_with(fail_nth(GetParam().opcode, nth, error), [&]() -> task<> {
        writing = co_await error_of(net::write_file_atomically(path, newer));
        auto read_back = [&]() -> task<> { seen = co_await net::read_file(path, 1 << 20); };
        reading = co_await error_of(read_back());
        while (net::open_files() != 0) co_await test_support::turn();
      });
      if (!struck) break;
      EXPECT_TRUE(writing == 0 || writing == error) << writing;
      EXPECT_TRUE(reading == 0 || reading == error) << reading;
      if (reading == 0) {
        EXPECT_TRUE(seen == newer || (writing != 0 && seen == older)) << seen.size();
      }
      if (error == EINTR) {
        EXPECT_TRUE(writing == 0 && reading == 0) << "a signal is no failure of a file";
      }
      // Only a file that was renamed keeps its new bytes; no half-written one stays beside it.
      const auto files = std::distance(std::filesystem::directory_iterator(here.path()), {});
      EXPECT_EQ(files, 1);
    }
  }
}

/// Every kind of operation on files, in a directory that is made for it and removed.
task<> work_on_files(std::string path, std::string_view bytes) {
  const std::string name = path + "/f";
  co_await net::make_directory(path);
  net::file f = co_await net::open_file(name, net::open_options(O_RDWR | O_CREAT));
  co_await f.allocate(0, bytes.size());
  const std::span<const std::byte> all = std::as_bytes(std::span(bytes));
  const std::vector<std::span<const std::byte>> halves{all.first(bytes.size() / 2), all.subspan(bytes.size() / 2)};
  co_await f.write_vectored(halves, 0);
  co_await f.truncate(bytes.size() / 2);
  net::file_writer_options writing;
  writing.block_bytes = 4096;
  writing.offset = bytes.size() / 2;
  {
    net::file_writer rest(f, writing);
    co_await rest.write(halves[1]);
    co_await rest.sync();
  }
  std::string back(bytes.size(), '\0');
  const std::span<std::byte> into = std::as_writable_bytes(std::span(back));
  const std::vector<std::span<std::byte>> parts{into.first(10), into.subspan(10)};
  EXPECT_EQ(co_await f.read_vectored(parts, 0), bytes.size());
  EXPECT_TRUE(back == bytes);
  net::file_reader_options reading;
  reading.block_bytes = 4096;
  std::string again;
  {
    net::file_reader from(f, reading);
    while (true) {
      const std::span<const std::byte> block = co_await from.next();
      if (block.empty()) break;
      again.append(reinterpret_cast<const char*>(block.data()), block.size());
    }
  }
  EXPECT_TRUE(again == bytes);
  net::file_watch changes;
  co_await changes.add(path, IN_DELETE);
  auto change = spawn(changes.next(), "watch");
  co_await test_support::turn();
  int failed = 0;
  try {
    co_await f.close();
    co_await net::remove_file(name);
  } catch (const std::system_error& error) {
    failed = error.code().value();
  }
  if (failed != 0) change.abort();
  try {
    const net::file_change gone = co_await change;
    EXPECT_EQ(gone.name, "f");
  } catch (const std::system_error& error) {
    if (failed == 0) failed = error.code().value();
  }
  if (failed != 0) throw std::system_error(failed, std::generic_category());
  co_await net::remove_directory(path);
}

TEST_P(faults_of_files, at_every_place_are_told_and_leave_nothing_open) {
  const std::string bytes = numbered_bytes(30'000);
  for (int error : GetParam().errors) {
    for (std::uint64_t nth = 1; nth <= 12; ++nth) {
      SCOPED_TRACE(GetParam().name + (" " + std::to_string(nth) + ": ") + std::generic_category().message(error));
      scratch_directory here;
      int told = 0;
      const bool struck = run_with(fail_nth(GetParam().opcode, nth, error), [&]() -> task<> {
        told = co_await error_of(work_on_files(here.file("d"), bytes));
        while (net::open_files() != 0) co_await test_support::turn();
      });
      if (!struck) {
        EXPECT_TRUE(nth > 1 || GetParam().opcode == IORING_OP_RENAMEAT) << "nothing here does it";
        EXPECT_EQ(told, 0);
        break;
      }
      // A status is asked for only to learn whether a file is a regular one, and reads ahead go beyond its end.
      const std::set<int> may_pass_kinds{IORING_OP_STATX, IORING_OP_CLOSE, IORING_OP_READ};
      const bool may_pass = may_pass_kinds.contains(GetParam().opcode);
      EXPECT_TRUE(told == (error == EINTR ? 0 : error) || (told == 0 && may_pass)) << told;
    }
  }
}

TEST(faults, a_sync_that_failed_is_never_said_to_have_worked) {
  for (int error : {EIO, ENOSPC, EDQUOT}) {
    scratch_directory here;
    EXPECT_TRUE(run_with(fail_nth(IORING_OP_FSYNC, 1, error), [&]() -> task<> {
      net::file f = co_await net::open_file(here.file("f"), net::open_options(O_RDWR | O_CREAT));
      co_await f.write("precious", 0);
      EXPECT_EQ(co_await error_of(f.sync()), error);
      // The kernel would say yes now: what it could not write it has dropped.
      EXPECT_EQ(co_await error_of(f.sync()), error);
      EXPECT_EQ(co_await error_of(f.sync_data()), error);
    }));
  }
}

TEST(faults, a_read_that_fails_in_the_middle_of_a_file_is_not_taken_for_its_end) {
  scratch_directory here;
  const std::string bytes = numbered_bytes(100'000);
  const fault_plan plan = [](const submission& what, std::uint64_t nth) {
    fault planned;
    if (what.opcode == IORING_OP_READ && nth == 1) planned.bytes_max = 40'000;
    if (what.opcode == IORING_OP_READ && nth == 2) planned.error = EIO;
    return planned;
  };
  EXPECT_TRUE(run_with(plan, [&]() -> task<> {
    net::file f = co_await net::open_file(here.file("f"), net::open_options(O_RDWR | O_CREAT));
    co_await f.write(bytes, 0);
    std::vector<std::byte> into(bytes.size());
    auto read = [&]() -> task<> { (void)co_await f.read(into, 0); };
    EXPECT_EQ(co_await error_of(read()), EIO);
  }));
}

TEST(faults, a_send_that_is_refused_ends_the_wait_for_an_answer_behind_what_has_come) {
  for (int error : {ENOMEM, ENOBUFS, ETIMEDOUT, EHOSTUNREACH}) {
    for (const bool waits : {true, false}) {
      EXPECT_TRUE(run_with(fail_nth(IORING_OP_SEND, 1, error), [&]() -> task<> {
        test_support::connected pair = co_await test_support::connect_pair();
        co_await pair.theirs.send("before");
        std::string got;
        auto reader = spawn(error_of(read_into(pair.ours, got)), "reader");
        while (waits && got.size() < 6) co_await test_support::turn();
        co_await pair.ours.write("a question");
        EXPECT_EQ(co_await reader, error);
        EXPECT_EQ(got, "before");
      }));
    }
  }
}

TEST(faults, accepting_goes_on_each_time_descriptors_come_back) {
  // Every second accept request is refused; each of a hundred clients is served all the same, one after the other.
  const fault_plan plan = [](const submission& what, std::uint64_t nth) {
    return fault{.error = what.opcode == IORING_OP_ACCEPT && nth % 2 == 1 ? EMFILE : 0};
  };
  EXPECT_TRUE(run_with(plan, [&]() -> task<> {
    for (int round = 0; round < 3; ++round) {
      net::listener listening(loopback());
      for (int client = 0; client < 30; ++client) {
        test_support::raw_peer peer(listening.where());
        std::optional<net::stream> ours = co_await listening.accept();
        co_await ours->write("hello");
        EXPECT_EQ(co_await peer.receive_exactly(5), "hello");
      }
    }
  }));
}

TEST(faults, of_a_receive_end_in_a_reset_because_what_the_peer_sends_is_lost) {
  for (const int error : {ENOMEM, EIO}) {
    // Long after what was written has left.
    const fault_plan plan = [error](const submission& what, std::uint64_t nth) {
      const bool struck = what.opcode == IORING_OP_RECV && nth == 1;
      return struck ? fault{.error = error, .entries_late = 50} : fault{};
    };
    EXPECT_TRUE(run_with(plan, [&]() -> task<> {
      net::listener listening(loopback());
      test_support::raw_peer peer(listening.where());
      std::optional<net::stream> ours = co_await listening.accept();
      co_await ours->write("so far");
      EXPECT_EQ(co_await peer.receive_exactly(6), "so far");
      std::string arrived;
      EXPECT_EQ(co_await error_of(read_into(*ours, arrived)), error);
      ours.reset();
      const auto hear = [&]() -> task<> { arrived = co_await peer.receive_all(); };
      EXPECT_EQ(co_await error_of(hear()), ECONNRESET) << "an end of stream would say that all was well";
    }));
  }
}

TEST(faults, thousands_of_operations_in_one_turn_pass_through_a_small_ring) {
  // The submission ring has 64 slots, and time stands still, so that all tasks below begin in one turn.
  app_options options = test_support::quiet_options(1);
  options.ring_entries = 64;
  test_support::manual_clock time;
  scratch_directory here;
  test_support::run_shards(
      options,
      [&]() -> task<> {
        net::file f = co_await net::open_file(here.file("f"), net::open_options(O_RDWR | O_CREAT));
        auto write_and_read = [&](std::uint64_t number) -> task<> {
          const std::string text(8, static_cast<char>('a' + number % 26));
          co_await f.write(text, number * 8);
          std::array<std::byte, 8> back{};
          EXPECT_EQ(co_await f.read(back, number * 8), 8u);
          EXPECT_TRUE(std::ranges::equal(back, std::as_bytes(std::span(text))));
        };
        std::vector<join_handle<void>> all;
        for (std::uint64_t i = 0; i < 3000; ++i) all.push_back(spawn(write_and_read(i), "write and read"));
        for (auto& each : all) co_await each;
        EXPECT_GT(this_shard().loop->kernel().stats().full, 0u);
      },
      time);
}

/// Runs `body` again and again, its first allocation failing, then its second and so on until none is left to fail.
void fail_each_allocation(const std::function<task<>()>& body, const std::function<void()>& look) {
  bool struck = true;
  for (std::uint64_t nth = 1; struck; ++nth) {
    SCOPED_TRACE("allocation " + std::to_string(nth));
    const std::ptrdiff_t before = open_descriptors();
    run_alone(
        [&]() -> task<> {
          test_support::fail_allocation(nth);
          co_await body();
          struck = test_support::allocation_failed();
          test_support::fail_allocation(0);
        },
        {});
    EXPECT_EQ(open_descriptors(), before);
    look();
    ASSERT_LT(nth, 10'000u) << "they have no end";
  }
}

/// A conversation whose sends are copied, or not from so many bytes on.
void fail_each_allocation_of_a_conversation(std::uint32_t zero_copy_from) {
  const std::string sent = numbered_bytes(200'000);
  outcome of;
  int failed = 0;
  fail_each_allocation(
      [&]() -> task<> {
        of = outcome();
        this_shard().loop->kernel().zero_copy_from = zero_copy_from;
        this_shard().loop->kernel().zero_copy_anywhere = true;
        failed = co_await error_of(converse(of, sent));
      },
      [&] {
        EXPECT_TRUE(std::string_view(sent).starts_with(of.arrived));
        const bool told = failed != 0 || of.connecting != 0 || of.writing != 0 || of.reading != 0 || of.serving != 0;
        EXPECT_TRUE(told || of.arrived.size() == sent.size());
      });
}

TEST(faults, of_the_heap_at_every_allocation_of_a_conversation_are_told) { fail_each_allocation_of_a_conversation(0); }
TEST(faults, of_the_heap_at_every_allocation_of_a_conversation_that_is_not_copied_are_told) {
  fail_each_allocation_of_a_conversation(1);
}

TEST(faults, of_the_heap_at_every_allocation_leave_the_old_file_or_the_new_one_whole) {
  scratch_directory here;
  const std::string path = here.put("state", "older"), newer = numbered_bytes(100'000);
  int writing = 0;
  fail_each_allocation(
      [&]() -> task<> {
        auto write = [&]() -> task<> { co_await net::write_file_atomically(path, newer); };
        writing = co_await error_of(write());
      },
      [&] {
        const std::string seen = here.get("state");
        EXPECT_TRUE(seen == newer || (writing != 0 && seen == "older"));
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(here.path()), {}), 1);
        here.put("state", "older");
      });
}

/// What each operation may come to, drawn anew each time: mostly nothing.
fault_plan strike_at_random(std::uint64_t seed, std::uint64_t one_in) {
  return [draw = random_source(seed), calm = test_support::disturb(seed + 1), one_in](const submission& what,
                                                                                      std::uint64_t nth) mutable {
    fault planned = calm(what, nth);
    if (draw.uniform(one_in) != 0) return planned;
    for (std::span<const faulty_kind> kinds :
         {std::span<const faulty_kind>(kinds_of_sockets), std::span<const faulty_kind>(kinds_of_files)}) {
      for (const faulty_kind& kind : kinds) {
        if (kind.opcode != what.opcode) continue;
        planned.error = kind.errors[draw.uniform(kind.errors.size())];
        return planned;
      }
    }
    return planned;
  };
}

TEST(faults, at_random_lose_and_double_no_byte_and_leave_nothing_behind) {
  const std::uint64_t first = test_support::test_seed();
  const std::string sent = numbered_bytes(100'000);
  int whole = 0;
  for (std::uint64_t seed = first; seed < first + 100; ++seed) {
    SCOPED_TRACE("SKERRY_TEST_SEED=" + std::to_string(seed));
    outcome of;
    run_with(strike_at_random(seed, 40), [&]() -> task<> { return converse(of, sent); });
    EXPECT_TRUE(std::string_view(sent).starts_with(of.arrived));
    const bool told = of.connecting != 0 || of.writing != 0 || of.reading != 0 || of.serving != 0;
    EXPECT_TRUE(told || of.arrived.size() == sent.size());
    whole += of.arrived.size() == sent.size();
  }
  EXPECT_GT(whole, 0) << "nothing ever got through: the faults are no test of what goes on after them";
}

}  // namespace
}  // namespace skerry
