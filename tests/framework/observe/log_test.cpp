// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/log_writer.hpp>
#include <skerry/framework/random.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

class captured {
 public:
  void operator()(std::string_view lines) noexcept {
    EXPECT_TRUE(lines.ends_with('\n'));
    text += lines;
  }
  std::vector<std::string> lines() const {
    std::vector<std::string> result;
    for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
      result.push_back(text.substr(at, end - at));
    }
    return result;
  }
  std::string text;
};

// Holds the writer inside its first write until it is opened.
class gate {
 public:
  void operator()(std::string_view lines) noexcept {
    entered = true;
    entered.notify_all();
    open.wait(false);
    inner(lines);
  }
  std::atomic<bool> entered = false, open = false;
  captured inner;
};

// Counts the lines it gets and lets a test wait for them; remembers what thread brought them.
class counted {
 public:
  void operator()(std::string_view text) noexcept {
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    ::pthread_getaffinity_np(::pthread_self(), sizeof cpus, &cpus);
    lines += static_cast<std::uint32_t>(std::count(text.begin(), text.end(), '\n'));
    lines.notify_all();
  }
  void wait_for(std::uint32_t wanted) {
    for (std::uint32_t seen; (seen = lines) < wanted;) lines.wait(seen);
  }
  std::atomic<std::uint32_t> lines = 0;
  sigset_t blocked;
  cpu_set_t cpus;
};

class fixed_clock final : public clock_source {
 public:
  std::chrono::nanoseconds monotonic() noexcept override { return 1s; }
  std::chrono::nanoseconds wall() noexcept override { return 1795222923s + 4ms; }
};

// Makes the thread a shard while it lives.
class shard_here {
 public:
  shard_here(log_writer& writer, shard_id id) {
    core.id = id;
    core.time = &time;
    core.log = &writer.channel(id);
    detail::current_shard = &core;
  }
  ~shard_here() { detail::current_shard = nullptr; }
  fixed_clock time;
  shard_core core;
};

struct unformattable {};

}  // namespace

template <>
struct fmt::formatter<unformattable> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(unformattable, Context& context) const -> decltype(context.out()) {
    throw std::runtime_error("no such luck");
  }
};

namespace {

TEST(log, line_carries_the_shards_time_number_and_task) {
  captured sink;
  log_writer writer({}, 4, std::ref(sink));
  shard_here shard(writer, 3);
  detail::current_task_name = []() noexcept -> std::string_view { return "task name"; };
  log::info("{} plus {}", 1, "one");
  detail::current_task_name = nullptr;
  log::error("plain");
  ASSERT_TRUE(writer.flush(60s));
  EXPECT_EQ(sink.text,
            "2026-11-21T01:02:03.004Z info  shard 3 \"task name\": 1 plus one\n"
            "2026-11-21T01:02:03.004Z error shard 3: plain\n");
}

TEST(log, lines_below_the_level_are_not_formatted) {
  captured sink;
  log_writer writer({.level = log_level::warning}, 4, std::ref(sink));
  shard_here shard(writer, 0);
  log::debug("{}", unformattable());
  log::info("{}", unformattable());
  log::warning("w");
  ASSERT_TRUE(writer.flush(60s));
  EXPECT_EQ(sink.lines().size(), 1u);
}

TEST(log, an_argument_that_throws_makes_a_line_that_says_so) {
  captured sink;
  log_writer writer({}, 4, std::ref(sink));
  shard_here shard(writer, 0);
  log::info("value {}", unformattable());
  ASSERT_TRUE(writer.flush(60s));
  EXPECT_NE(sink.text.find("cannot be formatted (no such luck): value {}"), std::string::npos) << sink.text;
}

TEST(log, a_long_message_is_cut_and_says_by_how_much) {
  captured sink;
  log_writer writer({}, 4, std::ref(sink));
  {
    shard_here shard(writer, 0);
    log::info("{}", std::string(log_message_max, 'x'));
    log::info("{}", std::string(log_message_max + 5, 'y'));
  }
  ASSERT_TRUE(writer.flush(60s));
  const auto lines = sink.lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[0].ends_with(": " + std::string(log_message_max, 'x')));
  EXPECT_TRUE(lines[1].ends_with(std::string(log_message_max, 'y') + "... (5 bytes cut)"));
}

TEST(log, everything_queued_is_written_when_the_writer_ends) {
  captured sink;
  constexpr int count = 300;
  {
    log_writer writer({}, 4, std::ref(sink));
    shard_here shard(writer, 1);
    for (int i = 0; i < count; ++i) log::info("line {}", i);
    EXPECT_EQ(shard.core.log->dropped(), 0u);
  }
  const auto lines = sink.lines();
  ASSERT_EQ(lines.size(), static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i)
    EXPECT_TRUE(lines[static_cast<std::size_t>(i)].ends_with(fmt::format(": line {}", i)));
}

TEST(log, a_writer_that_fell_asleep_is_woken_by_the_next_line) {
  captured sink;
  log_writer writer({}, 4, std::ref(sink));
  shard_here shard(writer, 1);
  for (int i = 0; i < 2000; ++i) {
    log::info("line {}", i);
    ASSERT_TRUE(writer.flush(60s));
    // The flush hands the sink's text over: the writer finished with it before it said so.
    ASSERT_TRUE(sink.text.ends_with(fmt::format(": line {}\n", i)));
  }
}

TEST(log, no_line_waits_beside_a_sleeping_writer) {
  counted sink;
  log_writer writer({}, 4, std::ref(sink));
  shard_here shard(writer, 1);
  // The pauses move the line across every step of the writer's way to sleep.
  volatile int pause = 0;
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    for (std::uint32_t spin = 0; spin < i % 1500; ++spin) pause = pause + 1;
    log::info("line {}", i);
    sink.wait_for(i + 1);
  }
}

TEST(log, the_writer_takes_no_signals_and_is_not_pinned_with_its_shard) {
  counted sink;
  cpu_set_t before, one;
  ASSERT_EQ(::pthread_getaffinity_np(::pthread_self(), sizeof before, &before), 0);
  log_writer writer({}, 4, std::ref(sink));
  std::thread pinned([&] {
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before)) ++cpu;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(::pthread_setaffinity_np(::pthread_self(), sizeof one, &one), 0);
    shard_here shard(writer, 1);
    log::info("first");
    sink.wait_for(1);
    sigset_t mine;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
    EXPECT_FALSE(::sigismember(&mine, SIGTERM)) << "the shard's own mask is as before";
  });
  pinned.join();
  EXPECT_TRUE(CPU_EQUAL(&sink.cpus, &before));
  EXPECT_TRUE(::sigismember(&sink.blocked, SIGTERM));
  EXPECT_TRUE(::sigismember(&sink.blocked, SIGPIPE));
}

TEST(log, a_full_queue_drops_whole_lines_and_the_report_counts_them) {
  gate sink;
  constexpr int count = 2000;
  std::uint64_t dropped = 0;
  {
    log_writer writer({.channel_bytes = 8192}, 4, std::ref(sink));
    shard_here shard(writer, 1);
    log::info("line 0");
    sink.entered.wait(false);  // the writer holds line 0 and takes no more
    for (int i = 1; i < count; ++i) log::info("line {} {}", i, std::string(static_cast<std::size_t>(i % 97), '.'));
    dropped = shard.core.log->dropped();
    EXPECT_GT(dropped, 1000u);
    EXPECT_FALSE(writer.flush(1ms));
    sink.open = true;
    sink.open.notify_all();
    ASSERT_TRUE(writer.flush(60s));
    log::info("line {}", count);
  }
  std::uint64_t expected = 0, reported = 0;
  for (const std::string& line : sink.inner.lines()) {
    unsigned long number = 0;
    if (std::sscanf(line.c_str() + 33, "shard 1: %lu log lines dropped", &number) == 1 &&
        line.find("dropped") != std::string::npos) {
      reported += number;
      expected += number;
    } else {
      ASSERT_EQ(std::sscanf(line.c_str() + 31, "shard 1: line %lu", &number), 1) << line;
      ASSERT_EQ(number, expected) << "a report stands where its lines are missing";
      ++expected;
    }
  }
  EXPECT_EQ(reported, dropped);
  EXPECT_EQ(expected, static_cast<std::uint64_t>(count) + 1);
}

TEST(log_channel, agrees_with_a_queue_of_strings_wherever_lines_wrap) {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 20261121;
  std::cout << "replay with SKERRY_TEST_SEED=" << seed << '\n';
  random_source draw(seed);
  const auto random_text = [&](std::size_t most) {
    std::string text(draw.uniform(most + 1), ' ');
    for (char& each : text) each = static_cast<char>(draw());
    return text;
  };
  captured sink;
  log_writer writer({.channel_bytes = 8192}, 6, std::ref(sink));  // has no thread: nothing goes through it
  log_channel& channel = writer.channel(5);
  struct line {
    std::string task, message;
    std::uint64_t cut, dropped;
  };
  std::deque<line> model;
  taken_line taken;
  for (int round = 0; round < 50'000; ++round) {
    if (draw.uniform(100) < 55) {
      const std::size_t longest = draw.uniform(10) == 0 ? log_message_max : 300;
      const line next{random_text(log_task_max), random_text(longest), draw(), channel.dropped()};
      const bool fitted = channel.push({.wall = std::chrono::nanoseconds(round),
                                        .level = log_level::error,
                                        .shard = 5,
                                        .task = next.task,
                                        .message = next.message,
                                        .cut = next.cut});
      ASSERT_EQ(channel.dropped(), next.dropped + (fitted ? 0 : 1));
      ASSERT_TRUE(fitted || !model.empty()) << "an empty queue takes any line";
      if (fitted) model.push_back(next);
    } else {
      ASSERT_EQ(channel.take(taken), !model.empty());
      if (model.empty()) continue;
      ASSERT_EQ(taken.record.task, model.front().task);
      ASSERT_EQ(taken.record.message, model.front().message);
      ASSERT_EQ(taken.record.cut, model.front().cut);
      ASSERT_EQ(taken.record.shard, 5u);
      ASSERT_EQ(taken.record.dropped, model.front().dropped);
      model.pop_front();
    }
    ASSERT_EQ(channel.empty(), model.empty());
  }
  EXPECT_GT(channel.dropped(), 100u);
  while (channel.take(taken)) model.pop_front();
  EXPECT_TRUE(model.empty());
}

TEST(log, several_shards_at_once_keep_their_order_and_lose_only_what_they_report) {
  captured sink;
  constexpr unsigned shards = 4;
  constexpr int count = 20'000;
  std::array<std::uint64_t, shards> dropped{};
  {
    log_writer writer({.channel_bytes = 16 * 1024}, shards, std::ref(sink));
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < shards; ++id) {
      threads.emplace_back([&, id] {
        shard_here shard(writer, id);
        for (int i = 0; i < count; ++i) log::info("line {}", i);
        dropped[id] = shard.core.log->dropped();
      });
    }
    for (std::thread& each : threads) each.join();
  }
  std::array<std::uint64_t, shards> next{}, missing{};
  for (const std::string& line : sink.lines()) {
    unsigned id = 0;
    unsigned long number = 0;
    const char* where = line.c_str() + line.find("shard ");
    if (std::sscanf(where, "shard %u: line %lu", &id, &number) == 2) {
      ASSERT_EQ(number, next.at(id)++);
    } else {
      ASSERT_EQ(std::sscanf(where, "shard %u: %lu log lines dropped", &id, &number), 2) << line;
      missing.at(id) += number;
      next.at(id) += number;
    }
  }
  EXPECT_EQ(missing, dropped);
  for (std::uint64_t seen : next) EXPECT_EQ(seen, static_cast<std::uint64_t>(count));
}

TEST(log, a_thread_that_runs_no_shard_writes_at_once_to_the_same_sink) {
  captured sink;
  log_writer writer({.level = log_level::info, .format = log_format::json}, 4, std::ref(sink));
  writer.serve_other_threads();
  log::debug("not this one");
  log::info("from {}", "elsewhere");
  ASSERT_EQ(sink.lines().size(), 1u);
  EXPECT_NE(sink.text.find("\"shard\":null,\"task\":\"\",\"message\":\"from elsewhere\"}"), std::string::npos);
}

TEST(log, shards_and_other_threads_share_one_sink) {
  captured sink;
  {
    log_writer writer({.channel_bytes = 1024 * 1024}, 1, std::ref(sink));
    writer.serve_other_threads();
    std::thread other([] {
      for (int i = 0; i < 2000; ++i) log::info("other {}", i);
    });
    std::thread on_shard([&] {
      shard_here shard(writer, 0);
      for (int i = 0; i < 2000; ++i) log::info("shard {}", i);
    });
    other.join();
    on_shard.join();
  }
  EXPECT_EQ(sink.lines().size(), 4000u);
}

TEST(log, a_process_that_logs_nothing_has_no_writer_thread) {
  const auto threads = [] {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) count += !entry.path().empty();
    return count;
  };
  const int before = threads();
  captured sink;
  log_writer writer({}, 4, std::ref(sink));
  shard_here shard(writer, 0);
  log::debug("below the level");
  EXPECT_TRUE(writer.flush(0ms));
  EXPECT_EQ(threads(), before);
  log::info("first");
  EXPECT_TRUE(writer.flush(60s));
  EXPECT_EQ(threads(), before + 1);
}

class pipe_sink : public testing::Test {
 protected:
  pipe_sink() {
    ::signal(SIGPIPE, SIG_IGN);
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  }
  ~pipe_sink() override {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  int ends[2];
};

TEST_F(pipe_sink, a_full_non_blocking_pipe_gets_everything_in_pieces) {
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  std::string lines;
  for (int i = 0; i < 50'000; ++i) lines += fmt::format("line {}\n", i);
  std::thread writing([&] {
    descriptor_sink sink(ends[1]);
    sink(lines);
  });
  std::string got;
  char bytes[3000];
  while (got.size() < lines.size()) {
    const ssize_t n = ::read(ends[0], bytes, sizeof bytes);
    ASSERT_GT(n, 0);
    got.append(bytes, static_cast<std::size_t>(n));
  }
  writing.join();
  EXPECT_EQ(got, lines);
}

TEST_F(pipe_sink, a_writer_thread_survives_a_closed_pipe_without_sigpipe) {
  ::signal(SIGPIPE, SIG_DFL);
  ::close(ends[0]);
  ends[0] = -1;
  log_writer writer({}, 1, descriptor_sink(ends[1]));
  shard_here shard(writer, 0);
  for (int i = 0; i < 3; ++i) {
    log::info("nobody reads this");
    EXPECT_TRUE(writer.flush(60s));
  }
}

TEST(descriptor_sink, a_line_torn_by_a_full_disk_does_not_swallow_the_next) {
  ::signal(SIGXFSZ, SIG_IGN);
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  descriptor_sink sink(::fileno(file));
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{8, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  sink("first\nsecond\n");
  sink("third\n");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  sink("fourth\n");
  char bytes[64] = "";
  ASSERT_GT(::pread(::fileno(file), bytes, sizeof bytes - 1, 0), 0);
  EXPECT_STREQ(bytes, "first\nse\nfourth\n");
  std::fclose(file);
}

TEST(log_death, a_second_log_for_other_threads_is_a_bug) {
  captured sink;
  log_writer first({}, 1, std::ref(sink)), second({}, 1, std::ref(sink));
  first.serve_other_threads();
  EXPECT_DEATH(second.serve_other_threads(), "one log of a process");
}

}  // namespace
