// SPDX-License-Identifier: Apache-2.0
/// Tasks that keep their CPU, and what the log says of them. A step here burns CPU time, measured by the thread's own
/// clock and by how often the kernel looks at it, so that a busy machine changes nothing.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/observe/stall_detector.hpp>
#include <skerry/toolkit/observe/symbols.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <time.h>
#include <unistd.h>

namespace skerry {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using test_support::manual_clock;
using test_support::quiet_options;
using test_support::run_shards;

nanoseconds cpu_time() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + nanoseconds(used.tv_nsec);
}

/// Counts the signals that a detector with a threshold of 10 ms would get. The kernel looks at a thread's time when its
/// clock ticks, which on a busy machine meets other threads most of the time.
class ticks {
 public:
  ticks() {
    struct sigaction action{};
    action.sa_handler = [](int) { seen_ = seen_ + 1; };
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGRTMIN + 5, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGRTMIN + 5;
    event._sigev_un._tid = ::gettid();
    SKERRY_ASSERT(::timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer_) == 0, "this test needs a timer");
    const timespec period{0, nanoseconds(milliseconds(5)).count()};
    const itimerspec every{period, period};
    ::timer_settime(timer_, 0, &every, nullptr);
    seen_ = 0;
  }
  ~ticks() { ::timer_delete(timer_); }
  ticks(const ticks&) = delete;
  ticks& operator=(const ticks&) = delete;
  static int seen() { return seen_; }

 private:
  static inline volatile std::sig_atomic_t seen_ = 0;
  timer_t timer_{};
};

/// Uses so much CPU time, and goes on until so many ticks have met it.
[[gnu::noinline]] std::uint64_t grind_the_corn(nanoseconds time, int ticks_min) {
  const nanoseconds end = cpu_time() + time;
  volatile std::uint64_t rounds = 0;
  const ticks met;
  while (cpu_time() < end || met.seen() < ticks_min) {
    for (int i = 0; i < 10'000; ++i) rounds = rounds + 1;
  }
  return rounds;
}

constexpr int enough_ticks = 10;  // three signals are a stall, and half as many come with a threshold of 20 ms

task<> one_long_step(nanoseconds time) {
  grind_the_corn(time, enough_ticks);
  co_return;
}

task<> many_steps(nanoseconds time, int steps, int ticks_min) {
  for (int i = 0; i < steps; ++i) {
    grind_the_corn(time / steps, ticks_min);
    co_await yield();
  }
}

struct seen {
  std::uint64_t stalls;
  std::string log;
};

seen watch(milliseconds threshold, const std::function<task<>()>& body, clock_source& time = kernel_clock()) {
  app_options options = quiet_options(1);
  seen result{};
  testing::internal::CaptureStderr();
  const auto main = [&]() -> task<> {
    co_await watch_for_stalls(threshold);
    co_await spawn(body(), "miller");
    co_await yield();  // a turn, in which it is reported
    co_await yield();
    const auto* detector = resources().find<stall_detector>();
    result.stalls = detector != nullptr ? detector->total() : 0;
  };
  run_shards(options, main, time);
  result.log = testing::internal::GetCapturedStderr();
  return result;
}

TEST(stall_detector, names_the_task_that_keeps_the_cpu_and_where_it_was) {
  const seen s = watch(milliseconds(20), [] { return one_long_step(milliseconds(200)); });
  EXPECT_EQ(s.stalls, 1u);
  EXPECT_NE(s.log.find("task \"miller\" kept the CPU for more than 20 ms in one step"), std::string::npos) << s.log;
  EXPECT_NE(s.log.find("grind_the_corn("), std::string::npos) << s.log;
  EXPECT_NE(s.log.find("one_long_step("), std::string::npos) << s.log;
  EXPECT_EQ(s.log.find("stall_detector"), std::string::npos) << s.log;
}

TEST(stall_detector, says_nothing_of_short_steps_however_many) {
  const seen s = watch(milliseconds(50), [] { return many_steps(milliseconds(300), 300, 0); });
  EXPECT_EQ(s.stalls, 0u);
  EXPECT_EQ(s.log, "");
}

TEST(stall_detector, reports_once_a_second_and_counts_all) {
  manual_clock time;
  const auto two_seconds = [](manual_clock& clock) -> task<> {
    co_await many_steps(milliseconds(500), 5, enough_ticks);
    clock.pass(std::chrono::seconds(1));
    co_await many_steps(milliseconds(100), 1, enough_ticks);
  };
  const seen s = watch(milliseconds(10), [&] { return two_seconds(time); }, time);
  EXPECT_EQ(s.stalls, 6u);
  EXPECT_EQ(std::count(s.log.begin(), s.log.end(), '\n'), 2) << s.log;
  EXPECT_NE(s.log.find("(4 others not shown)"), std::string::npos) << s.log;
}

TEST(stall_detector, a_threshold_of_zero_turns_it_off) {
  const seen s = watch(milliseconds(0), [] { return one_long_step(milliseconds(100)); });
  EXPECT_EQ(s.stalls, 0u);
  EXPECT_EQ(s.log, "");
}

TEST(stall_detector, a_threshold_that_is_none_is_refused) {
  const auto too_short = [] { return watch_for_stalls(std::chrono::microseconds(500)); };
  EXPECT_THROW(run_shards(quiet_options(1), too_short), startup_error);
}

TEST(stall_detector, watches_every_shard_once_and_is_among_its_metrics) {
  run_shards(quiet_options(3), []() -> task<> {
    co_await watch_for_stalls();
    co_await watch_for_stalls(milliseconds(50));
    for (shard_id s = 0; s < shard_count(); ++s) {
      const auto named = co_await submit_to(s, [] {
        const observe::snapshot all = this_shard().metrics->take_snapshot();
        return std::ranges::count(all, "skerry_stalls_total", [](const auto& each) { return each.info.name; });
      });
      EXPECT_EQ(named, 1);
    }
  });
}

TEST(stall_detector, the_option_turns_it_off_and_on) {
  const auto watched_with = [](std::vector<const char*> arguments) {
    command_line line("miller", "grinds", "1");
    stall_flag stalls(line);
    arguments.insert(arguments.begin(), "miller");
    const auto parsed = line.parse(static_cast<int>(arguments.size()), arguments.data());
    EXPECT_TRUE(std::holds_alternative<app_options>(parsed));
    bool watched = false;
    run_shards(quiet_options(1), [&]() -> task<> {
      co_await stalls.watch();
      watched = resources().find<stall_detector>() != nullptr;
    });
    return watched;
  };
  EXPECT_TRUE(watched_with({}));
  EXPECT_TRUE(watched_with({"--stall-threshold", "1s"}));
  EXPECT_FALSE(watched_with({"--stall-threshold=0"}));
}

TEST(symbols, names_of_coroutines_read_like_the_source) {
  // What g++ 12 and clang 19 make of `task<int> ready(int)` and of a lambda in it.
  EXPECT_EQ(observe::readable_name("_Z5readyPZ5readyiE15_Z5readyi.Frame.actor"), "ready(int)");
  EXPECT_EQ(observe::readable_name("_Z5readyi.resume"), "ready(int)");
  EXPECT_EQ(observe::readable_name("_Z5readyi"), "ready(int)");
  EXPECT_EQ(observe::readable_name("main"), "main");
}

TEST(symbols, finds_functions_of_the_program_and_of_libraries) {
  const observe::symbol_table names;
  EXPECT_NE(names.name_of(reinterpret_cast<const void*>(&grind_the_corn)).find("grind_the_corn("), std::string::npos);
  EXPECT_NE(names.name_of(reinterpret_cast<const void*>(&::clock_gettime)).find("clock_gettime"), std::string::npos);
  EXPECT_EQ(names.name_of(nullptr), "0x0");
}

}  // namespace
}  // namespace skerry
