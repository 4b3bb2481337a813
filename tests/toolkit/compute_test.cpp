// SPDX-License-Identifier: Apache-2.0
/// compute: jobs on threads that steal, what crosses to them and back, cancels, priorities, forks.

#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/pool/compute_pool.hpp>
#include <skerry/toolkit/pool/parallel.hpp>
#include <skerry/toolkit/pool/timed_executor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <support/long_test.hpp>
#include <support/run_shards.hpp>
#include <support/test_seed.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;

compute_options with_threads(std::uint64_t threads, std::uint64_t jobs_max = 256) {
  compute_options options;
  options.threads = threads;
  options.jobs_max = jobs_max;
  return options;
}

/// Runs `body` on shard 0 of `shards` beside `threads` workers.
template <class Fn>
void run_computing(unsigned shards, std::uint64_t threads, Fn body, std::uint64_t jobs_max = 256) {
  run_shards(shards, [&]() -> task<> {
    co_await start_compute(with_threads(threads, jobs_max));
    co_await body();
  });
}

/// Keeps jobs until it is told to let one go.
struct turnstile {
  std::atomic<int> inside{0};
  std::atomic<int> passed{0};
  std::counting_semaphore<> passes{0};

  void pass() {
    ++inside;
    passes.acquire();
    ++passed;
  }
  task<> until_inside(int count) {
    while (inside.load() < count) co_await yield();
  }
  task<> job() {
    return compute([](borrowed<turnstile> gate) { gate->pass(); }, borrowed(*this));
  }
};

long fib(compute_worker& here, int n) {
  if (n < 2) return n;
  auto [a, b] =
      here.join([n](compute_worker& on) { return fib(on, n - 1); }, [n](compute_worker& on) { return fib(on, n - 2); });
  return a + b;
}

TEST(compute, a_job_of_any_shard_runs_on_no_shard_and_its_caller_goes_on_at_home) {
  run_computing(3, 2, []() -> task<> {
    for (shard_id shard = 0; shard < 3; ++shard) {
      co_await submit_to(shard, []() -> task<> {
        const shard_id home = this_shard_id();
        auto doubled = co_await compute(
            [](std::unique_ptr<int> n) {
              EXPECT_FALSE(on_shard());
              *n *= 2;
              return n;
            },
            std::make_unique<int>(21));
        EXPECT_EQ(*doubled, 42);
        EXPECT_EQ(this_shard_id(), home);
      });
    }
  });
}

TEST(compute, what_the_job_throws_is_rethrown_with_its_type) {
  run_computing(1, 1, []() -> task<> {
    std::string caught;
    try {
      co_await compute([](int n) -> int { throw std::out_of_range("below " + std::to_string(n)); }, 7);
    } catch (const std::out_of_range& error) {
      caught = error.what();
    }
    EXPECT_EQ(caught, "below 7");
  });
}

TEST(compute, without_threads_the_error_says_what_to_do) {
  run_shards(1, []() -> task<> {
    co_await start_compute(with_threads(0));
    std::string caught;
    try {
      co_await compute([] {});
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::operation_not_supported);
      caught = error.what();
    }
    EXPECT_NE(caught.find("--compute-threads"), std::string::npos) << caught;
  });
}

TEST(compute, cpus_that_are_not_ours_are_refused) {
  run_shards(1, []() -> task<> {
    compute_options options = with_threads(1);
    options.cpus = "8191";
    bool refused = false;
    try {
      co_await start_compute(options);
    } catch (const startup_error&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
  });
}

TEST(compute, the_options_are_off_by_default_and_checked) {
  for (const char* given : {"", "3", "1025", "x"}) {
    compute_options options;
    command_line line("test", "", "1");
    options.add_to(line);
    const std::string argument = std::string("--compute-threads=") + given;
    const char* argv[] = {"test", argument.c_str()};
    auto parsed = line.parse(*given == 0 ? 1 : 2, argv);
    const std::string text = given;
    EXPECT_EQ(std::holds_alternative<app_options>(parsed), text.empty() || text == "3") << text;
    EXPECT_EQ(options.threads, text == "3" ? 3u : 0u);
  }
}

TEST(compute, a_job_that_waits_is_withdrawn_and_one_under_way_is_told_and_waited_for) {
  run_computing(
      1, 1,
      []() -> task<> {
        turnstile gate;
        std::atomic<bool> saw_stop{false};
        auto first = spawn([&]() -> task<> {
          co_await compute(
              [](compute_worker& here, borrowed<turnstile> g, borrowed<std::atomic<bool>> saw) {
                g->pass();
                saw->store(here.stop_requested());
              },
              borrowed(gate), borrowed(saw_stop));
        });
        co_await gate.until_inside(1);
        auto queued = spawn(gate.job());
        auto without_slot = spawn(gate.job());
        co_await let_others_run();
        without_slot.abort();
        queued.abort();
        EXPECT_TRUE(co_await ends_cancelled(queued)) << "at once: the first is still inside";
        EXPECT_TRUE(co_await ends_cancelled(without_slot));
        first.abort();
        co_await let_others_run();
        EXPECT_FALSE(first.is_finished());
        gate.passes.release();
        EXPECT_TRUE(co_await ends_cancelled(first));
        EXPECT_TRUE(saw_stop);
        EXPECT_EQ(gate.passed, 1);
      },
      2);
}

TEST(compute, at_the_bound_the_caller_suspends_until_a_job_is_home) {
  run_computing(
      1, 1,
      []() -> task<> {
        turnstile gate;
        std::vector<join_handle<>> jobs;
        for (int i = 0; i < 3; ++i) jobs.push_back(spawn(gate.job()));
        co_await gate.until_inside(1);
        co_await let_others_run();
        EXPECT_EQ(compute_jobs::here().slots().jobs(), 2u);
        EXPECT_EQ(compute_jobs::here().slots().does().waiting(), 1u);
        gate.passes.release(3);
        for (auto& each : jobs) co_await each;
        EXPECT_EQ(gate.passed, 3);
      },
      2);
}

/// One worker is kept busy while jobs queue up; then it tells in which order it takes them.
TEST(compute, high_goes_first_and_low_is_not_kept_out_for_ever) {
  run_computing(1, 1, []() -> task<> {
    turnstile gate;
    std::vector<int> order;  // the one worker's
    auto busy = spawn(gate.job());
    co_await gate.until_inside(1);
    auto note = [](borrowed<std::vector<int>> taken, int n) { taken->push_back(n); };
    std::vector<join_handle<>> jobs;
    for (int i = 0; i < 40; ++i) {
      const int n = i == 0 ? 2 : i == 1 ? 1 : 0;  // the low one first, then the normal one, then a flood
      jobs.push_back(spawn(
          [&order, note, n]() -> task<> { co_await compute(static_cast<job_priority>(n), note, borrowed(order), n); }));
    }
    co_await let_others_run();
    gate.passes.release();
    for (auto& each : jobs) co_await each;
    co_await busy;
    EXPECT_EQ(std::ranges::count(order, 0), 38);
    EXPECT_EQ(order.front(), 0);
    const auto low = std::ranges::find(order, 2) - order.begin();
    EXPECT_LT(low, static_cast<std::ptrdiff_t>(compute_pool::fair_every));
    EXPECT_LT(order.end() - std::ranges::find(order, 1), 40) << "the normal one, too";
  });
}

TEST(compute_worker, alone_join_is_two_calls) {
  compute_worker alone;
  EXPECT_EQ(fib(alone, 15), 610);
  EXPECT_FALSE(alone.stop_requested());
}

TEST(compute_worker, a_join_gives_what_its_functions_give) {
  run_computing(1, 2, []() -> task<> {
    co_await compute([](compute_worker& here) {
      int left = 0;
      int right = 0;
      here.join([&] { left = 1; }, [&] { right = 2; });
      EXPECT_EQ(left + right, 3);
      auto moved = here.join([] { return std::make_unique<int>(4); }, [] { return std::string("five"); });
      EXPECT_EQ(*moved.first, 4);
      EXPECT_EQ(moved.second, "five");
      EXPECT_EQ(here.join([] {}, [] { return 6; }).second, 6);
      EXPECT_EQ(here.join([] { return 7; }, [] {}).first, 7);
    });
  });
}

TEST(compute_worker, forks_are_stolen_and_add_up) {
  for (std::uint64_t threads : {1u, 2u, 4u}) {
    run_computing(2, threads, []() -> task<> {
      auto one = spawn([]() -> task<long> {
        co_return co_await compute([](compute_worker& here, int n) { return fib(here, n); }, 22);
      });
      auto other = spawn([]() -> task<long> {
        co_return co_await submit_to(
            1, []() -> task<long> { co_return co_await compute([](compute_worker& here) { return fib(here, 21); }); });
      });
      EXPECT_EQ(co_await one, 17711);
      EXPECT_EQ(co_await other, 10946);
    });
  }
}

/// Both functions of one join meet: possible only if the second was stolen, by a worker that was called for it.
TEST(compute_worker, a_parked_worker_is_called_for_a_fork) {
  run_computing(1, 2, []() -> task<> {
    for (int round = 0; round < test::rounds(200); ++round) {
      co_await compute([](compute_worker& here) {
        std::binary_semaphore met{0};
        here.join([&] { met.acquire(); }, [&] { met.release(); });
      });
    }
  });
}

/// The worker that waits for a stolen fork parks, and is called when that forks again.
TEST(compute_worker, a_worker_that_waits_helps_what_it_waits_for) {
  run_computing(1, 2, []() -> task<> {
    for (int round = 0; round < test::rounds(50); ++round) {
      co_await compute([](compute_worker& here) {
        std::binary_semaphore stolen{0};
        std::binary_semaphore met{0};
        here.join([&] { stolen.acquire(); },
                  [&](compute_worker& thief) {
                    stolen.release();
                    thief.join([&] { met.acquire(); }, [&] { met.release(); });
                  });
      });
    }
  });
}

TEST(compute_worker, what_a_function_throws_leaves_join_after_the_other_has_ended) {
  run_computing(1, 2, []() -> task<> {
    for (int round = 0; round < test::rounds(50); ++round) {
      for (bool first_throws : {true, false}) {
        std::string caught;
        std::atomic<int> ended{0};
        try {
          co_await compute(
              [](compute_worker& here, bool first, borrowed<std::atomic<int>> count) {
                std::binary_semaphore stolen{0};
                auto in_time = [&] {
                  if (first) throw std::domain_error("first");
                  ++*count;
                };
                here.join(
                    [&] {
                      stolen.acquire();
                      in_time();
                    },
                    [&] {
                      stolen.release();
                      ++*count;
                      if (!first) throw std::domain_error("second");
                    });
              },
              first_throws, borrowed(ended));
        } catch (const std::domain_error& error) {
          caught = error.what();
        }
        EXPECT_EQ(caught, first_throws ? "first" : "second");
        EXPECT_EQ(ended, first_throws ? 1 : 2);
      }
    }
  });
}

TEST(compute_worker, a_fork_that_nobody_stole_is_not_begun_when_the_first_throws) {
  run_computing(1, 1, []() -> task<> {
    bool begun = false;
    bool thrown = false;
    try {
      co_await compute(
          [](compute_worker& here, borrowed<bool> b) {
            here.join([] { throw std::domain_error("first"); }, [&] { *b = true; });
          },
          borrowed(begun));
    } catch (const std::domain_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    EXPECT_FALSE(begun);
  });
}

/// A join within a join within ... until the deque declines.
long nest(compute_worker& here, std::size_t depth) {
  if (depth == 0) return 0;
  return here.join([depth](compute_worker& on) { return nest(on, depth - 1); }, [] { return 1L; }).first + 1;
}

TEST(compute_worker, deeper_than_the_deque_is_called_at_once) {
  run_computing(1, 1, []() -> task<> {
    constexpr std::size_t depth = 3 * detail::work_deque<int>::capacity;
    EXPECT_EQ(co_await compute([](compute_worker& here) { return nest(here, depth); }), static_cast<long>(depth));
  });
}

TEST(parallel, a_range_is_covered_once_and_reduced_in_order) {
  run_computing(1, 3, []() -> task<> {
    for (std::size_t size : {0u, 1u, 7u, 1000u, 12345u}) {
      std::vector<int> touched = co_await compute(
          [](compute_worker& here, std::size_t n) {
            std::vector<int> seen(n);
            parallel_for(here, 0, n, 10, [&](std::size_t from, std::size_t to) {
              EXPECT_LE(to - from, 10u);
              for (; from < to; ++from) ++seen[from];
            });
            return seen;
          },
          size);
      EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(touched, 1)), size);
    }
    std::string text = co_await compute([](compute_worker& here) {
      return parallel_reduce(
          here, 0, 26, 3,
          [](std::size_t from, std::size_t to) {
            std::string part;
            for (; from < to; ++from) part += static_cast<char>('a' + from);
            return part;
          },
          std::plus<>());
    });
    EXPECT_EQ(text, "abcdefghijklmnopqrstuvwxyz") << "associative, not commutative";
  });
}

TEST(parallel, no_piece_is_begun_once_nobody_wants_the_result) {
  run_computing(1, 2, []() -> task<> {
    turnstile gate;
    std::atomic<int> pieces{0};
    auto work = spawn([&]() -> task<> {
      co_await compute(
          [](compute_worker& here, borrowed<turnstile> g, borrowed<std::atomic<int>> count) {
            parallel_for(here, 0, 1'000'000, 1, [&](std::size_t, std::size_t) {
              ++*count;
              g->pass();
            });
          },
          borrowed(gate), borrowed(pieces));
    });
    co_await gate.until_inside(2);
    work.abort();
    co_await let_others_run();
    gate.passes.release(2);
    EXPECT_TRUE(co_await ends_cancelled(work));
    EXPECT_EQ(pieces, 2);
  });
}

/// Jobs that fork, cancels at any moment, from all shards at once, with pauses in which workers park.
task<int> storm(std::uint64_t seed, int rounds) {
  random_source random(seed);
  int right = 0;
  for (int round = 0; round < rounds; ++round) {
    const int n = static_cast<int>(random.uniform(14));
    auto work = spawn([n]() -> task<long> {
      co_return co_await compute([](compute_worker& here, int m) { return fib(here, m); }, n);
    });
    for (std::uint64_t i = random.uniform(4); i > 0; --i) co_await yield();
    if (random.uniform(4) == 0) {
      work.abort();
      try {
        co_await work;
      } catch (const std::system_error&) {
        // It was in time.
      }
      ++right;
      continue;
    }
    const long expected[] = {0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233};
    right += co_await work == expected[n];
    if (random.uniform(8) == 0) {
      for (int i = 0; i < 200; ++i) co_await yield();
    }
  }
  co_return right;
}

TEST(compute, a_storm_of_jobs_and_cancels_loses_nothing) {
  const std::uint64_t seed = test_seed();
  const int rounds = test::rounds(300);
  run_computing(3, 3, [seed, rounds]() -> task<> {
    std::vector<join_handle<int>> storms;
    for (unsigned i = 0; i < 12; ++i) {
      auto one = [](shard_id on, std::uint64_t s, int r) -> task<int> {
        co_return co_await submit_to(on, [](std::uint64_t of, int count) { return storm(of, count); }, s, r);
      };
      storms.push_back(spawn(one(i % 3, seed + i, rounds)));
    }
    for (auto& each : storms) EXPECT_EQ(co_await each, rounds);
  });
}

TEST(compute, behind_an_executor_of_events_joins_run_alone) {
  manual_clock time;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        using std::chrono::milliseconds;
        auto events = std::make_shared<timed_executor>(milliseconds(1), milliseconds(5));
        resources().emplace<compute_jobs>(events, 4u);
        auto work = spawn([]() -> task<long> {
          co_return co_await compute([](compute_worker& here, int n) { return fib(here, n); }, 10);
        });
        while (!work.is_finished()) {
          time.pass(milliseconds(1));
          co_await let_others_run();
        }
        EXPECT_EQ(co_await work, 55);
      },
      time);
}

/// Eight CPUs, CPU n and n + 4 of one core.
TEST(compute_places, cpus_without_a_shard_come_first_and_cores_without_one_before_all) {
  const cpu_list cpus{0, 1, 2, 3, 4, 5, 6, 7};
  const std::vector<unsigned> cores{0, 1, 2, 3, 0, 1, 2, 3};
  placement shards;
  shards.shards = {{{0}, {}}, {{1}, {}}};
  const std::vector<cpu_list> one_each{{2}, {3}, {6}, {7}, {4}, {5}};
  EXPECT_EQ(place_compute_threads(cpus, cores, shards, 6), one_each);
  EXPECT_EQ(place_compute_threads(cpus, cores, shards, 2), (std::vector<cpu_list>{{2}, {3}}));
  EXPECT_EQ(place_compute_threads(cpus, cores, shards, 7), std::vector<cpu_list>(7, cpu_list{2, 3, 4, 5, 6, 7}));
}

TEST(compute_places, where_shards_have_every_cpu_threads_float_beside_them) {
  placement shards;
  shards.shards = {{{0}, {}}, {{1}, {}}};
  EXPECT_EQ(place_compute_threads({0, 1}, {0, 1}, shards, 1), (std::vector<cpu_list>{{0, 1}}));
  placement unpinned;
  unpinned.shards.resize(2);
  EXPECT_EQ(place_compute_threads({0, 1}, {0, 1}, unpinned, 2), (std::vector<cpu_list>{{0}, {1}}));
}

}  // namespace
}  // namespace skerry
