// SPDX-License-Identifier: Apache-2.0
/// alien: calls from threads that are no shards, and shards inside a program with a main loop of its own.

#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/alien/alien.hpp>
#include <skerry/toolkit/alien/embedded.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sched.h>
#include <support/heap_count.hpp>
#include <support/long_test.hpp>
#include <support/run_shards.hpp>
#include <support/test_seed.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;

/// Runs `aliens(door)` on a thread of its own beside shards that sleep.
template <class Fn>
void run_beside(unsigned shards, Fn aliens) {
  run_shards(shards, [&]() -> task<> {
    alien::entry door = co_await alien::open();
    event over("the aliens' end");
    std::thread outside([&aliens, &over, door]() mutable {
      aliens(door);
      auto end = [](borrowed<event> e) { e->set(); };
      EXPECT_TRUE(alien::post(door, 0, end, borrowed(over)));
    });
    co_await over.wait();
    outside.join();
  });
}

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

/// What a future's error says; 0 when there is none.
template <class T>
std::error_code code_of(std::future<T> result) {
  try {
    result.get();
  } catch (const std::system_error& error) {
    return error.code();
  }
  return {};
}

TEST(alien, a_future_has_what_a_function_or_a_task_returns) {
  run_beside(2, [](alien::entry& door) {
    EXPECT_EQ(door.shard_count(), 2u);
    for (shard_id shard = 0; shard < 2; ++shard) {
      EXPECT_EQ(alien::submit_to(door, shard, [] { return this_shard_id(); }).get(), shard);
      auto longer = [](std::unique_ptr<std::string> text) -> task<std::unique_ptr<std::string>> {
        co_await sleep_for(std::chrono::milliseconds(2));
        *text += " there and back";
        co_return text;
      };
      EXPECT_EQ(*alien::submit_to(door, shard, longer, std::make_unique<std::string>("it went")).get(),
                "it went there and back");
      alien::submit_to(door, shard, [] {}).get();
      alien::submit_to(door, shard, []() -> task<> { co_await yield(); }).get();
    }
  });
}

TEST(alien, what_is_thrown_comes_through_the_future_with_its_type) {
  run_beside(2, [](alien::entry& door) {
    EXPECT_THROW(alien::submit_to(door, 1, []() -> int { throw std::domain_error("plain"); }).get(), std::domain_error);
    EXPECT_THROW(alien::submit_to(door, 1,
                                  []() -> task<int> {
                                    co_await yield();
                                    throw std::domain_error("task");
                                  })
                     .get(),
                 std::domain_error);
  });
}

TEST(alien, a_task_is_charged_to_main_whoever_ran_last) {
  run_shards(1, []() -> task<> {
    alien::entry door = co_await alien::open();
    const scheduling_group batch = this_shard().ready->add_group("batch", 100);
    auto call_beside = [door]() -> task<> {
      EXPECT_NE(current_scheduling_group(), scheduling_group::main);
      std::atomic<int> told{0};
      std::thread outside([door, &told]() mutable {
        auto note = [](borrowed<std::atomic<int>> count) -> task<> {
          EXPECT_EQ(current_scheduling_group(), scheduling_group::main) << "first step";
          co_await yield();
          EXPECT_EQ(current_scheduling_group(), scheduling_group::main);
          ++*count;
        };
        alien::submit_to(door, 0, note, borrowed(told)).get();
        EXPECT_TRUE(alien::post(door, 0, note, borrowed(told)));
      });
      while (told != 2) co_await yield();
      outside.join();
    };
    co_await spawn(call_beside, "batch", batch);
  });
}

TEST(alien, a_receiver_is_told_on_the_shard) {
  run_beside(1, [](alien::entry& door) {
    struct receiver {
      std::promise<int>* told;
      void set_value(int n) noexcept { told->set_value(on_shard() ? n : -1); }
      void set_error(const std::exception_ptr& error) noexcept { told->set_exception(error); }
    };
    std::promise<int> told;
    alien::call(door, 0, receiver{&told}, [](int n) { return n + 1; }, 1);
    EXPECT_EQ(told.get_future().get(), 2);
    std::promise<int> failed;
    alien::call(door, 0, receiver{&failed}, []() -> int { throw std::domain_error("no"); });
    EXPECT_THROW(failed.get_future().get(), std::domain_error);
  });
}

TEST(alien, what_one_thread_posts_arrives_in_order) {
  constexpr int threads = 3;
  const int each = test::rounds(20'000);
  run_shards(2, [each]() -> task<> {
    alien::entry door = co_await alien::open();
    struct seen {
      int next[threads] = {};
      int in_order = 0;
      event all{"all posts"};
    } got;
    std::vector<std::thread> aliens;
    for (int i = 0; i < threads; ++i) {
      aliens.emplace_back([&got, door, i, each]() mutable {
        auto note = [](borrowed<seen> s, int from, int n, int last) {
          s->in_order += s->next[from] == n;
          s->next[from] = n + 1;
          if (s->in_order == last) s->all.set();
        };
        for (int n = 0; n < each;) {
          if (alien::post(door, 0, note, borrowed(got), i, n, threads * each)) {
            ++n;
          } else {
            std::this_thread::yield();  // the shard is behind
          }
        }
      });
    }
    co_await got.all.wait();
    for (std::thread& alien : aliens) alien.join();
    EXPECT_EQ(got.in_order, threads * each);
  });
}

/// Messages small and large, to shards that are done with them in any order, from a copy that goes before they are.
TEST(alien, the_memory_of_messages_comes_back_whoever_is_last) {
  run_shards(3, []() -> task<> {
    alien::entry door = co_await alien::open();
    std::atomic<std::uint64_t> bytes{0};
    constexpr int messages = 3000;
    std::thread([&bytes, door]() mutable {
      for (int n = 0; n < messages; ++n) {
        const auto shard = static_cast<shard_id>(n % 3);
        auto small = [](borrowed<std::atomic<std::uint64_t>> sum, std::string text) { *sum += text.size(); };
        auto large = [](borrowed<std::atomic<std::uint64_t>> sum, std::array<char, 600> room) { *sum += room.size(); };
        EXPECT_TRUE(n % 7 == 0 ? alien::post(door, shard, large, borrowed(bytes), std::array<char, 600>())
                               : alien::post(door, shard, small, borrowed(bytes), std::string(100, 'x')));
        if (n % 500 == 0) door = alien::entry(door);
      }
    }).join();
    constexpr std::uint64_t large_ones = (messages + 6) / 7;
    while (bytes != 600 * large_ones + 100 * (messages - large_ones)) co_await yield();
  });
}

/// Posts to a shard that cannot look meanwhile, so that all are on their way at once, on a thread; then lets them
/// arrive. How often that thread went to the heap.
task<std::uint64_t> post_at_once(alien::entry& door, int posts) {
  int arrived = 0;
  std::uint64_t allocations = 0;
  std::thread([&door, &arrived, &allocations, posts] {
    auto count = [](borrowed<int> n) { ++*n; };
    const std::uint64_t before = heap_allocations();
    for (int n = 0; n < posts; ++n) ASSERT_TRUE(alien::post(door, 0, count, borrowed(arrived)));
    allocations = heap_allocations() - before;
  }).join();
  while (arrived != posts) co_await yield();
  co_return allocations;
}

constexpr int posts_per_chunk = alien::detail::message_chunk::room / 64;

TEST(alien, posts_in_the_steady_state_take_nothing_from_the_heap) {
  run_shards(1, []() -> task<> {
    alien::entry door = co_await alien::open();
    constexpr int posts = 8 * posts_per_chunk;
    const std::uint64_t first = co_await post_at_once(door, posts + posts_per_chunk);  // where each begins differs
    EXPECT_GE(first, 8u);
    for (int round = 0; round < 50; ++round) EXPECT_EQ(co_await post_at_once(door, posts - round), 0u) << round;
  });
}

TEST(alien, the_memory_of_a_burst_goes_but_for_the_bound) {
  run_shards(1, []() -> task<> {
    alien::entry door = co_await alien::open();
    constexpr int chunks = 60;
    constexpr std::uint64_t kept_max = alien::detail::emptied_chunks::kept_max;
    EXPECT_GE(co_await post_at_once(door, chunks * posts_per_chunk), chunks - 1u);
    for (int burst = 0; burst < 3; ++burst) {
      const std::uint64_t again = co_await post_at_once(door, chunks * posts_per_chunk);
      EXPECT_GE(again, chunks - kept_max - 1);  // what was not kept; one may have been begun before
      EXPECT_LE(again, chunks - kept_max);
    }
  });
}

/// Threads whose memory is used for a while and left behind, some messages of it still on their way.
TEST(alien, threads_may_come_and_go_while_their_memory_comes_back) {
  random_source random(test_seed());
  run_shards(2, [&random]() -> task<> {
    alien::entry door = co_await alien::open();
    std::array<std::atomic<std::uint64_t>, 2> arrived{};
    std::atomic<int> ended = 0;
    std::uint64_t posted = 0;
    for (int round = 0; round < test::rounds(10); ++round) {
      std::vector<std::thread> aliens;
      for (int i = 0; i < 3; ++i) {
        const int posts = static_cast<int>(random.uniform(static_cast<std::uint64_t>(20 * posts_per_chunk)));
        posted += static_cast<std::uint64_t>(posts);
        aliens.emplace_back([&arrived, &ended, door, posts]() mutable {
          auto count = [](borrowed<std::array<std::atomic<std::uint64_t>, 2>> n) { ++(*n)[this_shard_id()]; };
          for (int n = 0; n < posts;) {
            if (alien::post(door, static_cast<shard_id>(n % 2), count, borrowed(arrived))) {
              ++n;
            } else {
              std::this_thread::yield();
            }
          }
          ++ended;
        });
      }
      while (ended != 3 * (round + 1)) co_await yield();  // a shard that joins looks at no messages, and makes no room
      for (std::thread& alien : aliens) alien.join();
    }
    while (arrived[0] + arrived[1] != posted) co_await yield();
  });
}

TEST(alien, a_post_that_fails_is_logged_and_counted) {
  run_shards(1, []() -> task<> {
    alien::entry door = co_await alien::open();
    const auto before = unseen_errors();
    std::thread([door]() mutable {
      EXPECT_TRUE(alien::post(door, 0, [] { throw std::runtime_error("expected in this test"); }));
      alien::submit_to(door, 0, [] {});
    }).join();
    while (unseen_errors() == before) co_await yield();
    EXPECT_EQ(unseen_errors(), before + 1);
  });
}

TEST(alien, a_shard_that_does_not_look_gets_no_more_than_the_bound) {
  run_shards(1, []() -> task<> {
    alien::entry door = co_await alien::open();
    int arrived = 0;
    std::thread([&arrived, door]() mutable {  // joined in one step of the shard, which cannot look meanwhile
      auto count = [](borrowed<int> n) { ++*n; };
      for (std::uint64_t i = 0; i < alien::waiting_max; ++i)
        ASSERT_TRUE(alien::post(door, 0, count, borrowed(arrived)));
      EXPECT_FALSE(alien::post(door, 0, count, borrowed(arrived)));
      EXPECT_EQ(code_of(alien::submit_to(door, 0, [] { return 1; })), std::errc::resource_unavailable_try_again);
    })
        .join();
    co_await let_others_run();
    EXPECT_EQ(arrived, static_cast<int>(alien::waiting_max));
    std::thread([door]() mutable { EXPECT_TRUE(alien::post(door, 0, [] {})); }).join();
  });
}

TEST(alien, an_entry_outlives_its_host_and_says_so) {
  alien::entry door;
  EXPECT_FALSE(door);
  run_shards(2, [&door]() -> task<> { door = co_await alien::open(); });
  EXPECT_TRUE(door);
  EXPECT_EQ(code_of(alien::submit_to(door, 1, [] { return 1; })), std::errc::operation_canceled);
  EXPECT_EQ(code_of(alien::submit_to(door, 0, []() -> task<> { co_return; })), std::errc::operation_canceled);
  EXPECT_FALSE(alien::post(door, 0, [] {}));
}

TEST(alien, a_task_that_a_stop_cancels_says_so) {
  alien::embedded_app shards(quiet_options(2));
  shards.start();
  std::future<int> never = alien::submit_to(shards.door(), 1, []() -> task<int> {
    co_await sleep_for(std::chrono::hours(1));
    co_return 1;
  });
  alien::submit_to(shards.door(), 1, [] {}).get();  // it has begun
  shards.stop();
  EXPECT_EQ(code_of(std::move(never)), std::errc::operation_canceled);
}

/// Each future is kept, whenever the stop comes: with a result, or with the word that the shard is stopping.
TEST(alien, every_call_under_way_at_a_stop_is_answered) {
  random_source random(test_seed());
  for (int round = 0; round < test::rounds(20); ++round) {
    alien::embedded_app shards(quiet_options(2));
    shards.start();
    std::atomic<bool> over{false};
    std::atomic<int> answered{0};
    std::vector<std::thread> aliens;
    for (int i = 0; i < 2; ++i) {
      aliens.emplace_back([&, door = shards.door()]() mutable {
        std::vector<std::future<int>> asked;
        while (!over) {
          asked.clear();
          for (int n = 0; n < 8; ++n) {
            asked.push_back(alien::submit_to(
                door, static_cast<shard_id>(n % 2),
                [](int m) -> task<int> {
                  co_await yield();
                  co_return m;
                },
                n));
          }
          for (auto& each : asked) {
            try {
              each.get();
            } catch (const std::system_error&) {
              // The shard is stopping. (What the error says ThreadSanitizer believes to be read too late: it does not
              // see how libstdc++ counts the holders of an exception.)
            }
            ++answered;
          }
        }
      });
    }
    const int enough = static_cast<int>(random.uniform(400));
    while (answered < enough) std::this_thread::yield();
    shards.stop();
    over = true;
    for (std::thread& alien : aliens) alien.join();
  }
}

/// The shard sleeps or is about to, each time: no ring is lost.
TEST(alien, a_sleeping_shard_hears_every_call) {
  random_source random(test_seed());
  run_beside(1, [&random](alien::entry& door) {
    for (int i = 0; i < test::rounds(5'000); ++i) {
      EXPECT_EQ(alien::submit_to(door, 0, [](int n) { return n; }, i).get(), i);
      for (std::uint64_t pause = random.uniform(2000); pause > 0; --pause) asm volatile("");
    }
  });
}

TEST(embedded_app, starts_stops_and_starts_again_and_leaves_nothing) {
  const std::ptrdiff_t before = open_descriptors();
  alien::embedded_app shards(quiet_options(2));
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> begun{0};
    shards.start([&begun]() -> task<> {
      ++begun;
      co_return;
    });
    EXPECT_TRUE(shards.started());
    EXPECT_EQ(alien::submit_to(shards.door(), 1, [](int n) { return n + 1; }, round).get(), round + 1);
    shards.stop();
    EXPECT_FALSE(shards.started());
    EXPECT_EQ(begun, 1);
    EXPECT_FALSE(alien::post(shards.door(), 0, [] {}));
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(embedded_app, the_programs_thread_stays_as_it_was_and_shards_take_no_signals) {
  cpu_set_t before, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  app_options options = quiet_options(1);
  options.pin = pin_mode::on;
  alien::embedded_app shards(options);
  shards.start();
  ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
  EXPECT_TRUE(alien::submit_to(shards.door(), 0, [] {
                sigset_t blocked;
                pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
                return sigismember(&blocked, SIGTERM) == 1;
              }).get());
  EXPECT_EQ(alien::submit_to(shards.door(), 0,
                             [] {
                               cpu_set_t mine;
                               CPU_ZERO(&mine);
                               EXPECT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
                               return CPU_COUNT(&mine);
                             })
                .get(),
            1);
}

TEST(embedded_app, what_main_throws_ends_the_shards_and_comes_out_of_stop) {
  alien::embedded_app shards(quiet_options(2));
  shards.start([]() -> task<> {
    co_await yield();
    throw std::domain_error("from main");
  });
  EXPECT_THROW(shards.stop(), std::domain_error);
  shards.start();
  EXPECT_EQ(alien::submit_to(shards.door(), 1, [] { return 5; }).get(), 5);
}

TEST(embedded_app, what_the_machine_refuses_start_says) {
  EXPECT_THROW(alien::embedded_app([] {
                 app_options options = quiet_options(4);
                 options.ring_entries = 5;
                 return options;
               }()),
               startup_error);
  alien::embedded_app idle(quiet_options(1));
  EXPECT_FALSE(idle.started());
}

TEST(embedded_app, its_end_is_a_stop) {
  std::atomic<bool> ended{false};
  {
    alien::embedded_app shards(quiet_options(1));
    shards.start([&ended]() -> task<> {
      struct at_end {
        std::atomic<bool>& flag;
        ~at_end() { flag = true; }
      } const mark{ended};
      co_await sleep_for(std::chrono::hours(1));
    });
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace skerry
