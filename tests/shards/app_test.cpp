// SPDX-License-Identifier: Apache-2.0
/// An app as a program sees it: its exit status, its end, its signals, and the knobs that only the builder has.
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/signals.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <coroutine>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <support/run_shards.hpp>
#include <unistd.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;

int run(app& program, const std::function<task<>()>& main, std::vector<const char*> arguments = {}) {
  arguments.insert(arguments.begin(), {"program", "--shards", "2", "--overprovision", "--log-level", "error"});
  return program.run(static_cast<int>(arguments.size()), arguments.data(), main);
}

int run(const std::function<task<>()>& main, std::vector<const char*> arguments = {}) {
  app program("program");
  return run(program, main, std::move(arguments));
}

task<> wait_for_ever() {
  while (true) co_await sleep_for(1h);
}

TEST(app, ends_with_0_when_everything_has_ended) {
  bool ran = false;
  EXPECT_EQ(run([&ran]() -> task<> {
              spawn(
                  [](bool& flag) -> task<> {
                    flag = true;
                    co_return;
                  }(ran),
                  "last");
              co_return;
            }),
            0);
  EXPECT_TRUE(ran);
}

TEST(app, without_auto_shutdown_ends_at_shutdown_on_any_shard) {
  app program("program");
  bool asked = false;
  EXPECT_EQ(run(program.auto_shutdown(false),
                [&asked]() -> task<> {
                  auto ask_later = [](borrowed<bool> flag) {
                    spawn(
                        [](borrowed<bool> asked_here) -> task<> {
                          // Long after main and the scopes of the others have ended.
                          co_await sleep_for(20ms);
                          *asked_here = true;
                          app::shutdown();
                        }(flag),
                        "asks");
                  };
                  co_await submit_to(1, ask_later, borrowed(asked));
                }),
            0);
  EXPECT_TRUE(asked);
}

TEST(app, ends_with_0_at_the_first_signal) {
  EXPECT_EQ(run([]() -> task<> {
              ::kill(::getpid(), SIGTERM);
              co_await wait_for_ever();
            }),
            0);
}

TEST(app, whose_main_throws_ends_with_1_and_says_why) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(run([]() -> task<> {
              co_await yield();
              throw std::runtime_error("the file is missing");
            }),
            1);
  EXPECT_EQ(run([]() -> task<> {
              co_await yield();
              throw 7;
            }),
            1);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("program: the file is missing\n"), std::string::npos) << said;
  EXPECT_NE(said.find("program: main ended with an exception that is no std::exception\n"), std::string::npos) << said;
}

TEST(app, without_net_refuses_an_admin_endpoint_and_says_why) {
  for (const char* place : {"127.0.0.1:0", "off", "auto"}) {
    bool ran = false;
    testing::internal::CaptureStderr();
    const int status = run([&ran]() -> task<> { co_return void(ran = true); }, {"--admin", place});
    const std::string said = testing::internal::GetCapturedStderr();
    const bool is_named = std::string(place).contains(':');
    EXPECT_EQ(status, is_named ? 1 : 0) << place;
    EXPECT_EQ(ran, !is_named) << place;
    EXPECT_EQ(said, is_named ? "program: this program has no admin endpoint: link skerry::net\n" : "") << place;
  }
}

TEST(app, may_run_again_in_the_same_process) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run([]() -> task<> { co_return; }), 0);
  EXPECT_FALSE(on_shard());
}

TEST(stop_signals, that_come_before_there_is_a_host_stop_it_when_there_is_one) {
  std::optional<host> machine;
  stop_signals guard;
  ::raise(SIGTERM);  // without the guard, the end of this program
  placement where;
  where.shards.resize(1);
  where.count_reason = "test";
  machine.emplace(test_support::quiet_options(1), where);
  guard.serve(*machine);
  machine->run(wait_for_ever, false);
  EXPECT_TRUE(machine->stop_requested());
}

std::string thread_name() {
  char name[16] = "";
  pthread_getname_np(pthread_self(), name, sizeof name);
  return name;
}

TEST(builder, names_threads_or_not) {
  for (bool named : {true, false}) {
    app program("program");
    program.defaults().thread_names = named;
    std::string first = thread_name();
    EXPECT_EQ(run(program,
                  [named, &first]() -> task<> {
                    EXPECT_EQ(thread_name(), first);  // the process's own, by which people find it
                    std::string second = co_await submit_to(1, [] { return thread_name(); });
                    EXPECT_EQ(second == "shard-1", named);
                  }),
              0);
  }
}

TEST(builder, lets_shards_sleep_or_not) {
  for (bool park : {true, false}) {
    app program("program");
    program.defaults().park = park;
    EXPECT_EQ(run(program,
                  [park]() -> task<> {
                    co_await sleep_for(20ms);
                    EXPECT_EQ(stats().loop.sleeps > 0, park);
                  }),
              0);
  }
}

TEST(options, idle_spin_keeps_a_shard_awake_for_that_long) {
  auto main = []() -> task<> {
    co_await sleep_for(20ms);
    EXPECT_EQ(stats().loop.sleeps, 0u);
  };
  EXPECT_EQ(run(main, {"--idle-spin-us", "1000000"}), 0);
}

TEST(builder, has_the_knobs_of_the_command_line) {
  app program("program");
  program.defaults().task_budget = 123us;
  program.defaults().idle_spin = 45us;
  EXPECT_EQ(run(program,
                []() -> task<> {
                  EXPECT_EQ(this_shard().loop->options().task_budget, 123us);
                  EXPECT_EQ(this_shard().loop->options().idle_spin, 7us);
                  co_return;
                },
                {"--idle-spin-us", "7"}),
            0);
}

/// Keeps a shard from draining.
class never_drained final : public drainable {
 public:
  never_drained() { this_assembled_shard().add_drainable(*this); }
  void begin_drain() noexcept override {}
  bool drained() const noexcept override { return false; }
  bool empty() const noexcept override { return false; }
};

/// Does not let go.
class deaf final : public detail::leaf {
 public:
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept { suspend(resume_point); }
  void await_resume() const noexcept {}
  void let_go() noexcept override {}
  const char* describe() const noexcept override { return "nothing"; }
};

class app_death : public testing::Test {
 protected:
  // The other style forks a process that may have threads.
  app_death() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(app_death, a_connection_that_never_ends_meets_the_deadline_and_tasks_are_listed) {
  auto main = []() -> task<> {
    co_await submit_to(1, [] { resources().emplace<never_drained>(); });
    spawn(wait_for_ever(), "sleeper");
    ::kill(::getpid(), SIGTERM);
    co_await wait_for_ever();
  };
  EXPECT_EXIT(std::exit(run(main, {"--drain-timeout", "50ms"})), testing::ExitedWithCode(2),
              "drain deadline passed(.|\n)*left: task \"sleeper\" waits for sleep");
}

TEST_F(app_death, a_task_that_does_not_let_go_meets_the_deadline) {
  auto signalled = []() -> task<> {
    ::kill(::getpid(), SIGTERM);
    co_await deaf();
  };
  EXPECT_EXIT(std::exit(run(signalled, {"--drain-timeout", "50ms"})), testing::ExitedWithCode(2),
              "left: task \"main\" waits for nothing");
  auto failed = []() -> task<> {
    spawn([]() -> task<> { co_await deaf(); }, "deaf");
    co_await yield();
    throw std::runtime_error("no");
  };
  EXPECT_EXIT(std::exit(run(failed, {"--drain-timeout", "50ms"})), testing::ExitedWithCode(2),
              "left: task \"deaf\" waits for nothing");
}

TEST_F(app_death, a_task_that_keeps_its_cpu_does_not_outlast_the_deadline_by_much) {
  for (shard_id where : {0u, 1u}) {
    auto main = [where]() -> task<> {
      auto spin = [] {
        spawn([]() -> task<> {
          ::kill(::getpid(), SIGTERM);
          // It never waits for anything of ours. The call is there for ThreadSanitizer, which delivers signals in
          // calls.
          while (true) ::poll(nullptr, 0, 0);
          co_return;
        });
      };
      co_await submit_to(where, spin);
      co_await wait_for_ever();
    };
    EXPECT_EXIT(std::exit(run(main, {"--drain-timeout", "0s"})), testing::ExitedWithCode(2),
                where == 0 ? "the stop is overdue" : "drain deadline passed");
  }
}

TEST_F(app_death, a_second_signal_ends_it_at_once) {
  auto main = []() -> task<> {
    resources().emplace<never_drained>();
    ::kill(::getpid(), SIGTERM);
    while (!this_assembled_shard().draining()) co_await yield();
    ::kill(::getpid(), SIGINT);
    co_await wait_for_ever();
  };
  EXPECT_EXIT(std::exit(run(main, {"--drain-timeout", "60s"})), testing::ExitedWithCode(128 + SIGINT), "");
}

TEST_F(app_death, a_shard_that_cannot_start_beside_others_ends_the_process_with_1) {
  auto start = [] {
    placement where;
    where.shards.resize(2);
    where.shards[1].cpus = {cpu_id_max};
    where.count_reason = "test";
    host machine(test_support::quiet_options(2), where);
    machine.run(wait_for_ever, false);
  };
  EXPECT_EXIT(start(), testing::ExitedWithCode(1), "cannot start shard 1: CPU 8191 is not available: allowed are");
}

}  // namespace
}  // namespace skerry
