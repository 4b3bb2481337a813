// SPDX-License-Identifier: Apache-2.0
/// Calls between shards that run in threads of their own.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using test_support::quiet_options;
using test_support::run_shards;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned storm_messages = 20'000;
#else
constexpr unsigned storm_messages = 100'000;
#endif

/// What the handlers of one shard have seen.
struct notes {
  std::vector<int> numbers;
  int started = 0;
  int destroyed = 0;
};

notes& notes_here() {
  notes* found = resources().find<notes>();
  return found != nullptr ? *found : resources().emplace<notes>();
}

/// Counts on the shard where it is destroyed.
struct guard {
  guard() noexcept { ++notes_here().started; }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { ++notes_here().destroyed; }
};

template <class T>
task<bool> join_says_cancelled(join_handle<T>& handle) {
  try {
    co_await handle;
  } catch (const std::system_error& error) {
    co_return error.code() == std::errc::operation_canceled;
  }
  co_return false;
}

TEST(submit_to, a_value_comes_back_and_the_caller_is_still_at_home) {
  run_shards(3, []() -> task<> {
    for (shard_id target = 0; target < shard_count(); ++target) {
      const shard_id ran_on = co_await submit_to(target, [] { return this_shard_id(); });
      EXPECT_EQ(ran_on, target);
      EXPECT_EQ(this_shard_id(), 0u);
    }
  });
}

TEST(submit_to, arguments_and_results_that_can_only_be_moved_cross) {
  run_shards(2, []() -> task<> {
    std::string text(1000, 'x');
    std::string back = co_await submit_to(
        1, [](std::string given, int more) { return given + std::string(static_cast<std::size_t>(more), 'y'); }, text,
        3);
    EXPECT_EQ(back, text + "yyy");
    auto number = std::make_unique<int>(4);
    auto doubled = co_await submit_to(
        1,
        [](std::unique_ptr<int> p) {
          *p *= 2;
          return p;
        },
        std::move(number));
    EXPECT_EQ(*doubled, 8);
  });
}

TEST(submit_to, a_function_without_result_has_run_when_the_caller_goes_on) {
  run_shards(2, []() -> task<> {
    int here = 1;
    co_await submit_to(1, [](borrowed<int> x) { *x = 2; }, borrowed(here));
    EXPECT_EQ(here, 2);
  });
}

TEST(submit_to, exceptions_of_functions_and_tasks_are_rethrown_at_home) {
  run_shards(2, []() -> task<> {
    for (shard_id target = 0; target < 2; ++target) {
      int caught = 0;
      try {
        co_await submit_to(target, []() -> int { throw std::runtime_error("plain"); });
      } catch (const std::runtime_error& error) {
        caught += std::string(error.what()) == "plain";
      }
      try {
        co_await submit_to(target, []() -> task<> {
          co_await yield();
          throw std::runtime_error("task");
        });
      } catch (const std::runtime_error& error) {
        caught += std::string(error.what()) == "task";
      }
      EXPECT_EQ(caught, 2);
      EXPECT_EQ(this_shard_id(), 0u);
    }
  });
}

TEST(submit_to, a_task_may_wait_and_call_further_shards) {
  run_shards(4, []() -> task<> {
    const shard_id sum = co_await submit_to(
        1,
        [](shard_id base) -> task<shard_id> {
          co_await sleep_for(std::chrono::milliseconds(1));
          shard_id total = base;
          for (shard_id s = 0; s < shard_count(); ++s) total += co_await submit_to(s, [] { return this_shard_id(); });
          EXPECT_EQ(this_shard_id(), 1u);
          co_return total;
        },
        shard_id{10});
    EXPECT_EQ(sum, 16u);
  });
}

TEST(submit_to, cancelling_the_caller_cancels_the_remote_task_and_waits_for_it) {
  run_shards(2, []() -> task<> {
    auto caller = spawn([]() -> task<> {
      co_await submit_to(1, []() -> task<> {
        guard here;
        co_await sleep_for(std::chrono::hours(1));
      });
    });
    for (int started = 0; started == 0; co_await yield()) {
      started = co_await submit_to(1, [] { return notes_here().started; });
    }
    caller.abort();
    EXPECT_FALSE(caller.is_finished()) << "the frame must live until the other shard has answered";
    EXPECT_TRUE(co_await join_says_cancelled(caller));
    EXPECT_EQ(co_await submit_to(1, [] { return notes_here().destroyed; }), 1);
  });
}

TEST(submit_to, a_call_cancelled_before_it_was_flushed_never_runs) {
  run_shards(2, []() -> task<> {
    join_handle<> caller;
    caller = spawn([&caller]() -> task<> {
      auto call = [] { return submit_to(1, [] { notes_here().numbers.push_back(1); }); };
      co_await test_support::when_suspended(call, [&caller] { caller.abort(); });  // in the step that sent it
    });
    EXPECT_TRUE(co_await join_says_cancelled(caller));
    EXPECT_EQ(co_await submit_to(1, [] { return notes_here().numbers.size(); }), 0u);
  });
}

TEST(submit_to, cancels_at_any_moment_leave_nothing_behind) {
  run_shards(2, []() -> task<> {
    int completed = 0;
    int cancelled = 0;
    for (int i = 0; i < 2000; ++i) {
      auto caller = spawn([i]() -> task<int> {
        co_return co_await submit_to(
            1,
            [](int steps) -> task<int> {
              guard here;
              for (int step = 0; step < steps; ++step) co_await yield();
              co_return 1;
            },
            i % 8 == 7 ? 10'000 : 3);
      });
      // From still in the outbox, over on its way and running there, to answered: a sleep that is over lets this shard
      // flush, and a call behind the first comes back when that has started.
      if (i % 4 != 0) co_await yield();
      if (i % 4 == 2) co_await sleep_until(clock::now() - std::chrono::hours(1));
      if (i % 4 == 3) co_await submit_to(1, [] {});
      caller.abort();
      try {
        EXPECT_EQ(co_await caller, 1);
        ++completed;
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::operation_canceled);
        ++cancelled;
      }
    }
    const int started = co_await submit_to(1, [] { return notes_here().started; });
    const bool balanced = co_await submit_to(1, [] { return notes_here().started == notes_here().destroyed; });
    EXPECT_TRUE(balanced);
    EXPECT_EQ(completed + cancelled, 2000);
    EXPECT_GT(cancelled, 0);
    std::cout << cancelled << " cancelled, " << started << " of 2000 calls started\n";
    EXPECT_EQ(stats().messages_outstanding, 0u);
  });
}

task<> keep_order(unsigned capacity) {
  std::vector<join_handle<>> senders;
  for (int i = 0; i < 1000; ++i) {
    senders.push_back(
        spawn([i]() -> task<> { co_await submit_to(1, [](int n) { notes_here().numbers.push_back(n); }, i); }));
    if (i % 37 == 0) co_await yield();
  }
  for (auto& sender : senders) co_await sender;
  const std::vector<int> seen = co_await submit_to(1, [] { return notes_here().numbers; });
  EXPECT_EQ(seen.size(), 1000u) << "capacity " << capacity;
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int>(i)) << "capacity " << capacity;
}

TEST(submit_to, messages_of_a_pair_run_in_the_order_they_were_sent) {
  for (const unsigned capacity : {1u, 2u, 128u}) {
    app_options options = quiet_options(2);
    options.mailbox_capacity = capacity;
    run_shards(options, [capacity] { return keep_order(capacity); });
  }
}

/// More calls in one phase than an outbox's array holds, one of them given up: the first 128 were flushed or wait for
/// room in the queue, the others are in the array. One that is given up at home never runs.
task<> give_up_wherever_it_is(unsigned capacity) {
  constexpr int calls = 150;
  int never_ran[2] = {0, 0};
  for (int given_up = 0; given_up < calls; given_up += 7) {
    std::vector<join_handle<>> callers;
    for (int i = 0; i < calls; ++i) {
      callers.push_back(
          spawn([i]() -> task<> { co_await submit_to(1, [](int n) { notes_here().numbers.push_back(n); }, i); }));
    }
    co_await yield();
    callers[static_cast<std::size_t>(given_up)].abort();
    for (int i = 0; i < calls; ++i) {
      const bool cancelled = co_await join_says_cancelled(callers[static_cast<std::size_t>(i)]);
      EXPECT_TRUE(!cancelled || i == given_up);
    }
    const std::vector<int> ran = co_await submit_to(1, [] { return std::exchange(notes_here().numbers, {}); });
    std::vector<int> expected;
    const bool left_out = std::ranges::find(ran, given_up) == ran.end();
    for (int i = 0; i < calls; ++i) {
      if (i != given_up || !left_out) expected.push_back(i);
    }
    EXPECT_EQ(ran, expected) << "capacity " << capacity << ", given up " << given_up;
    never_ran[given_up >= 128] += left_out;
  }
  EXPECT_TRUE(never_ran[0] > 0 || capacity > 64) << "behind a full queue";
  EXPECT_GT(never_ran[1], 0) << "in the array";
}

TEST(submit_to, a_call_that_is_given_up_at_home_is_found_there) {
  for (const unsigned capacity : {1u, 2u, 128u}) {
    app_options options = quiet_options(2);
    options.mailbox_capacity = capacity;
    run_shards(options, [capacity] { return give_up_wherever_it_is(capacity); });
  }
}

TEST(call_batch, results_come_in_the_order_of_add_and_slots_are_used_again) {
  run_shards(3, []() -> task<> {
    auto square = [](int n) { return n * n; };
    static_assert(sizeof(detail::call<detail::leaf, decltype(square), int>) == 64, "a small call is one cache line");
    call_batch<decltype(square), int> calls(30);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < 30; ++i) calls.add(static_cast<shard_id>(i) % shard_count(), square, i + round);
      co_await calls.all();
      for (int i = 0; i < 30; ++i) EXPECT_EQ(calls.take(static_cast<std::size_t>(i)), (i + round) * (i + round));
      calls.clear();
    }
  });
}

// ---- everybody calls everybody ----

task<std::uint64_t> send_some(unsigned first, unsigned count) {
  std::uint64_t sum = 0;
  for (unsigned i = first; i < first + count; ++i) {
    const shard_id target = i % shard_count();
    if (i % 8 == 0) {
      sum += co_await submit_to(
          target,
          [](std::uint64_t n) -> task<std::uint64_t> {
            co_await yield();
            co_return n + 1;
          },
          std::uint64_t{i});
    } else {
      sum += co_await submit_to(target, [](std::uint64_t n) { return n + 1; }, std::uint64_t{i});
    }
  }
  co_return sum;
}

constexpr unsigned senders_per_shard = 100;

/// Runs on each shard: many tasks, each with one message in flight.
task<std::uint64_t> storm(unsigned messages) {
  std::vector<join_handle<std::uint64_t>> senders;
  const unsigned each = messages / senders_per_shard;
  for (unsigned s = 0; s < senders_per_shard; ++s) senders.push_back(spawn(send_some(s * each, each)));
  std::uint64_t sum = 0;
  for (auto& sender : senders) sum += co_await sender;
  co_return sum;
}

struct left_over {
  using crosses_shards = left_over;
  left_over() {}
  std::size_t frames = 0;
  std::size_t messages = 0;
};

left_over left_here() {
  left_over left;
  const shard_stats now = stats();
  left.frames = now.frames_in_use;
  left.messages = now.messages_outstanding;
  return left;
}

task<> everybody_calls_everybody(std::uint64_t messages) {
  const shard_id shards = shard_count();
  const auto per_shard = static_cast<unsigned>(messages / shards);
  auto ask = [] { return left_here(); };
  std::vector<left_over> before;
  for (shard_id s = 0; s < shards; ++s) before.push_back(co_await submit_to(s, ask));
  auto run = [](unsigned count) { return storm(count); };
  call_batch<decltype(run), unsigned> storms(shards);
  for (shard_id s = 0; s < shards; ++s) storms.add(s, run, per_shard);
  co_await storms.all();
  const std::uint64_t n = per_shard / senders_per_shard * senders_per_shard;
  for (shard_id s = 0; s < shards; ++s) EXPECT_EQ(storms.take(s), n * (n + 1) / 2);
  storms.clear();
  for (shard_id s = 0; s < shards; ++s) {
    const left_over after = co_await submit_to(s, ask);
    EXPECT_EQ(after.frames, before[s].frames) << "shard " << s;
    EXPECT_EQ(after.messages, before[s].messages) << "shard " << s;
  }
}

// More callers than the queue holds: the receiver empties a full queue in several looks, none of them as long as the
// queue.
task<> call_often() {
  for (int i = 0; i < 300; ++i) EXPECT_EQ(co_await submit_to(1, [](int n) { return n + 1; }, i), i + 1);
}

TEST(submit_to, more_in_flight_than_a_queue_holds_all_come_home) {
  for (const unsigned capacity : {3u, 100u, 128u}) {
    app_options options;
    options.shards = 2;
    options.mailbox_capacity = capacity;
    options.idle_spin = std::chrono::microseconds(20);
    run_shards(options, []() -> task<> {
      std::vector<join_handle<>> callers;
      for (int i = 0; i < 256; ++i) callers.push_back(spawn(call_often()));
      for (auto& caller : callers) co_await caller;
    });
  }
}

TEST(submit_to, a_storm_in_all_directions_loses_nothing_at_any_capacity) {
  for (const unsigned shards : {2u, 4u}) {
    for (const unsigned capacity : {1u, 128u}) {
      SCOPED_TRACE(std::to_string(shards) + " shards, capacity " + std::to_string(capacity));
      app_options options = quiet_options(shards);
      options.mailbox_capacity = capacity;
      run_shards(options, [] { return everybody_calls_everybody(storm_messages); });
    }
  }
}

}  // namespace
}  // namespace skerry
