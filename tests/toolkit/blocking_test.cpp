// SPDX-License-Identifier: Apache-2.0
/// blocking: calls that block, beside a shard that goes on.

#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/timed_executor.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sched.h>
#include <support/run_shards.hpp>
#include <support/waiting.hpp>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;
using std::chrono::milliseconds;

/// Keeps calls in a read of a pipe until it is told to let one go.
class turnstile {
 public:
  turnstile() { EXPECT_EQ(::pipe(ends_), 0); }
  ~turnstile() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  turnstile(const turnstile&) = delete;
  turnstile& operator=(const turnstile&) = delete;

  /// Blocks.
  void pass() {
    ++inside;
    char byte = 0;
    EXPECT_EQ(::read(ends_[0], &byte, 1), 1);
    --inside;
    ++passed;
  }
  void let_go(int count = 1) {
    for (int i = 0; i < count; ++i) EXPECT_EQ(::write(ends_[1], "x", 1), 1);
  }
  task<> until_inside(int count) {
    while (inside.load() != count) co_await yield();
  }
  auto call() {
    return blocking([](borrowed<turnstile> gate) { gate->pass(); }, borrowed(*this));
  }

  std::atomic<int> inside{0};
  std::atomic<int> passed{0};

 private:
  int ends_[2] = {};
};

blocking_options limits(unsigned threads, std::uint64_t calls) {
  blocking_options options;
  options.threads_max = threads;
  options.calls_max = calls;
  return options;
}

std::int64_t gauge(const std::string& name) {
  for (const observe::sample& each : this_shard().metrics->take_snapshot()) {
    if (each.info.name != name) continue;
    if (const auto* value = std::get_if<std::int64_t>(&each.value)) return *value;
    if (const auto* value = std::get_if<std::uint64_t>(&each.value)) return static_cast<std::int64_t>(*value);
    return static_cast<std::int64_t>(std::get<2>(each.value)->count());
  }
  return -1;
}

TEST(blocking, a_call_runs_on_no_shard_and_its_caller_goes_on_at_home) {
  run_shards(2, []() -> task<> {
    for (shard_id shard = 0; shard < 2; ++shard) {
      co_await submit_to(shard, []() -> task<> {
        const shard_id home = this_shard_id();
        auto text = std::make_unique<std::string>("moved in");
        std::unique_ptr<std::string> back = co_await blocking(
            [](std::unique_ptr<std::string> given) {
              EXPECT_FALSE(on_shard());
              *given += " and out";
              return given;
            },
            std::move(text));
        EXPECT_EQ(*back, "moved in and out");
        EXPECT_EQ(this_shard_id(), home);
      });
    }
  });
}

TEST(blocking, the_shard_goes_on_meanwhile) {
  run_shards(1, []() -> task<> {
    turnstile gate;
    auto call = spawn(gate.call());
    co_await gate.until_inside(1);
    co_await let_others_run();
    EXPECT_FALSE(call.is_finished());
    gate.let_go();
    co_await call;
    EXPECT_EQ(gate.passed, 1);
  });
}

TEST(blocking, what_the_call_throws_is_rethrown_with_its_type) {
  run_shards(1, []() -> task<> {
    std::string caught;
    try {
      co_await blocking([]() -> int { throw std::domain_error("from a thread"); });
    } catch (const std::domain_error& error) {
      caught = error.what();
    }
    EXPECT_EQ(caught, "from a thread");
  });
}

TEST(blocking, no_more_threads_than_allowed_and_every_call_is_made) {
  run_shards(1, []() -> task<> {
    limit_blocking(limits(3, 100));
    turnstile gate;
    std::vector<join_handle<>> calls;
    for (int i = 0; i < 10; ++i) calls.push_back(spawn(gate.call()));
    co_await gate.until_inside(3);
    EXPECT_EQ(gauge("skerry_blocking_threads"), 3);
    EXPECT_EQ(gauge("skerry_blocking_queued"), 7);
    EXPECT_EQ(gauge("skerry_blocking_jobs"), 10);
    gate.let_go(10);
    for (auto& each : calls) co_await each;
    EXPECT_EQ(gate.passed, 10);
    EXPECT_EQ(gauge("skerry_blocking_jobs"), 0);
    EXPECT_EQ(gauge("skerry_blocking_wait_seconds"), 10);
    EXPECT_EQ(gauge("skerry_blocking_run_seconds"), 10);
  });
}

TEST(blocking, at_the_bound_the_caller_suspends_until_a_call_has_returned) {
  run_shards(1, []() -> task<> {
    limit_blocking(limits(1, 2));
    turnstile gate;
    std::vector<join_handle<>> calls;
    for (int i = 0; i < 3; ++i) calls.push_back(spawn(gate.call()));
    co_await gate.until_inside(1);
    co_await let_others_run();
    EXPECT_EQ(gauge("skerry_blocking_jobs"), 2) << "the third waits for a slot";
    gate.let_go(3);
    for (auto& each : calls) co_await each;
    EXPECT_EQ(gate.passed, 3);
  });
}

TEST(blocking, a_call_that_waits_is_withdrawn_and_never_made) {
  run_shards(1, []() -> task<> {
    limit_blocking(limits(1, 2));
    turnstile gate;
    auto first = spawn(gate.call());
    co_await gate.until_inside(1);
    auto queued = spawn(gate.call());
    auto without_slot = spawn(gate.call());
    co_await let_others_run();
    without_slot.abort();
    queued.abort();
    EXPECT_TRUE(co_await ends_cancelled(queued)) << "at once: the first is still inside";
    EXPECT_TRUE(co_await ends_cancelled(without_slot));
    EXPECT_EQ(gauge("skerry_blocking_withdrawn_total"), 1);
    gate.let_go();
    co_await first;
    EXPECT_EQ(gate.passed, 1);
    EXPECT_EQ(gauge("skerry_blocking_jobs"), 0);
  });
}

TEST(blocking, a_call_under_way_is_waited_for) {
  run_shards(1, []() -> task<> {
    turnstile gate;
    auto call = spawn(gate.call());
    co_await gate.until_inside(1);
    call.abort();
    co_await let_others_run();
    EXPECT_FALSE(call.is_finished()) << "it uses what is in its caller's frame";
    gate.let_go();
    EXPECT_TRUE(co_await ends_cancelled(call));
    EXPECT_EQ(gate.passed, 1);
  });
}

TEST(blocking, the_end_of_a_shard_cancels_what_waits) {
  std::atomic<int> made{0};
  run_alone(
      [&made]() -> task<> {
        limit_blocking(limits(1, 100));
        auto count = [](borrowed<std::atomic<int>> n) { ++*n; };
        for (int i = 0; i < 50; ++i) spawn([&made, count]() -> task<> { co_await blocking(count, borrowed(made)); });
        co_await blocking(count, borrowed(made));
      },
      backends_for_test(1));
  EXPECT_GE(made, 1);
  EXPECT_LE(made, 51);
}

TEST(blocking, its_threads_take_no_signals_and_may_use_the_cpus_of_all_shards) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  placement where;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE && where.shards.size() < 2; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) where.shards.push_back({{cpu}, {}});
  }
  const int cpus = static_cast<int>(where.shards.size());
  std::thread([&] {  // which the host pins
    host machine(quiet_options(static_cast<unsigned>(cpus)), where);
    machine.run(
        [cpus]() -> task<> {
          EXPECT_EQ(co_await blocking([] {
                      cpu_set_t mine;
                      CPU_ZERO(&mine);
                      EXPECT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
                      return CPU_COUNT(&mine);
                    }),
                    cpus);
          EXPECT_TRUE(co_await blocking([] {
            sigset_t blocked;
            pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
            return sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGSEGV) == 0;
          }));
          sigset_t blocked;
          pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
          EXPECT_EQ(sigismember(&blocked, SIGTERM), 0) << "the shard's own mask is as it was";
        },
        true);
  })
      .join();
}

/// When each of some jobs ended, on an executor of events.
std::vector<clock::duration> times_with_seed(std::uint64_t seed) {
  std::vector<clock::duration> ended;
  manual_clock time;
  app_options options = quiet_options(1);
  options.seed = seed;
  run_shards(
      options,
      [&]() -> task<> {
        auto events = std::make_shared<timed_executor>(milliseconds(10), milliseconds(1000));
        resources().emplace<blocking_calls>(events, 4u);
        const clock::time_point begin = clock::now();
        std::vector<join_handle<>> calls;
        for (int i = 0; i < 8; ++i) {
          calls.push_back(spawn([&ended, begin]() -> task<> {
            EXPECT_TRUE(co_await blocking([] { return on_shard(); }));
            ended.push_back(clock::now() - begin);
          }));
        }
        while (ended.size() < calls.size()) {
          time.pass(milliseconds(1));
          co_await let_others_run();
        }
        for (auto& each : calls) co_await each;
      },
      time);
  return ended;
}

TEST(timed_executor, a_job_is_an_event_whose_time_repeats_with_the_seed) {
  const auto first = times_with_seed(7);
  EXPECT_EQ(first.size(), 8u);
  EXPECT_GE(first.front(), milliseconds(20));
  EXPECT_EQ(times_with_seed(7), first);
  EXPECT_NE(times_with_seed(8), first);
}

TEST(timed_executor, a_cancel_meets_jobs_that_wait_and_jobs_under_way) {
  manual_clock time;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        resources().emplace<blocking_calls>(std::make_shared<timed_executor>(milliseconds(100), milliseconds(100)), 4u);
        int made = 0;
        auto count = [](borrowed<int> n) { ++*n; };
        auto waits = spawn([&made, count]() -> task<> { co_await blocking(count, borrowed(made)); });
        co_await let_others_run();
        time.pass(milliseconds(50));
        co_await let_others_run();
        waits.abort();
        EXPECT_TRUE(co_await ends_cancelled(waits));
        EXPECT_EQ(made, 0);

        auto under_way = spawn([&made, count]() -> task<> { co_await blocking(count, borrowed(made)); });
        co_await let_others_run();
        time.pass(milliseconds(150));
        under_way.abort();
        co_await let_others_run();
        EXPECT_FALSE(under_way.is_finished());
        time.pass(milliseconds(100));
        EXPECT_TRUE(co_await ends_cancelled(under_way));
        EXPECT_EQ(made, 1);
      },
      time);
}

}  // namespace
}  // namespace skerry
