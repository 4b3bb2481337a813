// SPDX-License-Identifier: Apache-2.0
/// What every task waits for, as text, and on SIGQUIT.

#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/generator/generator.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <unistd.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::let_others_run;
using test_support::manual_clock;
using test_support::quiet_options;
using test_support::run_shards;

task<> sit_by_the_river(event& flood) { co_await flood.wait(); }
task<> watch_the_water(event& flood) { co_await sit_by_the_river(flood); }

generator<int> count_the_ships(event& flood) {
  co_await watch_the_water(flood);
  co_yield 1;
}
task<int> ask_for_a_ship(event& flood) {
  auto ships = count_the_ships(flood);
  int* first = co_await ships.next();
  co_return *first;
}

/// Whether `parts` come in this order.
testing::AssertionResult in_order(const std::string& text, std::initializer_list<const char*> parts) {
  std::size_t at = 0;
  for (const char* part : parts) {
    at = text.find(part, at);
    if (at == text.npos)
      return testing::AssertionFailure() << "\"" << part << "\" does not come in its place:\n" << text;
  }
  return testing::AssertionSuccess();
}

TEST(tasks_as_text, says_what_a_task_waits_for_since_when_and_who_awaits_whom) {
  manual_clock time;
  const auto main = [&time]() -> task<> {
    event flood("flood");
    time.pass(1h);
    auto waits = spawn(ask_for_a_ship(flood), "pilot");
    time.pass(3min);
    co_await let_others_run();
    time.pass(10s);
    auto young = spawn(sit_by_the_river(flood), "apprentice");
    const std::string text = tasks_as_text();
    EXPECT_TRUE(in_order(
        text, {"shard 0: 3 tasks\n", "\"main\" of group main", "running\n",
               "\"pilot\" of group main, 3.2 min old, waits 10.0 s for flood\n", "sit_by_the_river(skerry::event&)",
               "watch_the_water(skerry::event&)", "count_the_ships(skerry::event&)", "ask_for_a_ship(skerry::event&)",
               "\"apprentice\" of group main, 0 ms old, ready\n"}));
    flood.set();
    EXPECT_EQ(co_await waits, 1);
    co_await young;
  };
  run_shards(quiet_options(1), main, time);
}

TEST(tasks_as_text, shows_the_branches_of_what_a_task_waits_for) {
  run_shards(1, []() -> task<> {
    event flood("flood");
    auto both = spawn([&]() -> task<> { co_await when_all(watch_the_water(flood), sleep_for(1ms)); }, "both");
    co_await let_others_run();
    const std::string text = tasks_as_text();
    EXPECT_TRUE(
        in_order(text, {"\"both\"", "for when_all", "    branch #", "for flood", "sit_by_the_river(", "branch #"}));
    flood.set();
    co_await both;
  });
}

/// Standard error is a pipe meanwhile.
class captured_error {
 public:
  captured_error() : kept_(::dup(2)) {
    EXPECT_EQ(::pipe2(ends_.data(), O_CLOEXEC | O_NONBLOCK), 0);
    EXPECT_EQ(::dup2(ends_[1], 2), 2);
  }
  ~captured_error() {
    ::dup2(kept_, 2);
    for (const int fd : {kept_, ends_[0], ends_[1]}) ::close(fd);
  }
  /// Waits until it has all of `parts`.
  task<std::string> text_with(std::vector<std::string> parts) {
    std::string text;
    const auto lacks = [&text](const std::string& part) { return text.find(part) == text.npos; };
    while (std::any_of(parts.begin(), parts.end(), lacks)) {
      co_await readable(ends_[0]);
      text += read_some();
    }
    co_return text;
  }
  std::string read_some() {
    std::array<char, 4096> some{};
    const ssize_t size = ::read(ends_[0], some.data(), some.size());
    return std::string(some.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  }
  void fill() {
    const std::string block(4096, 'x');
    while (::write(ends_[1], block.data(), block.size()) > 0) {
    }
  }

 private:
  int kept_;
  std::array<int, 2> ends_{};
};

task<> wait_here() {
  auto here = []() -> task<> { co_await resources().emplace<event>("something").wait(); };
  spawn(here(), "waits here");
  co_return;
}

task<> end_the_waits() {
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, [] { resource<event>().set(); });
}

TEST(dump_on_sigquit, comes_from_every_shard_and_the_program_goes_on) {
  captured_error error;
  run_shards(3, [&error]() -> task<> {
    co_await dump_tasks_on_sigquit();
    co_await dump_tasks_on_sigquit();
    for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, [] { return wait_here(); });
    const std::vector<std::string> of_all{"shard 0: ", "shard 1: ", "shard 2: "};
    for (int round = 0; round < 3; ++round) {
      ::kill(::getpid(), SIGQUIT);
      const std::string all = co_await error.text_with(of_all);
      EXPECT_NE(all.find("\"waits here\" of group main"), all.npos) << all;
    }
    co_await end_the_waits();
  });
}

TEST(dump_on_sigquit, waits_for_nobody_who_does_not_read_it) {
  captured_error error;
  run_shards(1, [&error]() -> task<> {
    co_await dump_tasks_on_sigquit();
    error.fill();
    ::kill(::getpid(), SIGQUIT);
    co_await let_others_run();
    while (error.read_some()[0] == 'x') {
      if (error.read_some().empty()) break;
    }
    ::kill(::getpid(), SIGQUIT);  // this one is read
    const std::vector<std::string> of_this{"shard 0: "};
    co_await error.text_with(of_this);
  });
}

TEST(dump_on_sigquit, gives_back_what_the_signal_did_before) {
  struct sigaction before{}, during{}, after{};
  ::sigaction(SIGQUIT, nullptr, &before);
  run_shards(2, [&during]() -> task<> {
    co_await dump_tasks_on_sigquit();
    ::sigaction(SIGQUIT, nullptr, &during);
  });
  ::sigaction(SIGQUIT, nullptr, &after);
  EXPECT_NE(during.sa_handler, before.sa_handler);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
}

}  // namespace
}  // namespace skerry
