// SPDX-License-Identifier: Apache-2.0
/// Pools: who gets what in which order, what is dropped when, and against a simple model with random steps.

#include <skerry/framework/random.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/pool.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using net::pool;
using net::pool_options;
using net::pooled;
using namespace std::chrono_literals;
using test_support::let_others_run;
using test_support::was_cancelled;

/// Counts those that live.
struct counted {
  explicit counted(int of) noexcept : number(of) { ++live; }
  counted(counted&& other) noexcept : number(std::exchange(other.number, -1)) { ++live; }
  counted& operator=(counted&& other) noexcept {
    std::swap(number, other.number);
    return *this;
  }
  ~counted() { --live; }
  int number;
  static inline int live = 0;
};

class pools : public testing::Test {
 protected:
  void run(const std::function<task<>()>& body) {
    counted::live = 0;
    test_support::run_shards(test_support::quiet_options(1), body, time_);
    EXPECT_EQ(counted::live, 0);
  }
  task<> pass(std::chrono::nanoseconds time) {
    time_.pass(time);
    for (int i = 0; i < 3; ++i) co_await sleep_until(clock::now() - 1h);  // through the whole loop
  }
  pool<counted>::maker numbered() {
    return [this]() -> task<counted> { co_return counted(++made_); };
  }
  static pool_options bounded(std::size_t items, std::size_t idle) {
    pool_options options;
    options.items_max = items;
    options.idle_max = idle;
    return options;
  }

  int made_ = 0;

 private:
  test_support::manual_clock time_;
};

TEST_F(pools, give_out_again_what_came_back_last) {
  run([this]() -> task<> {
    pool<counted> all(numbered());
    std::optional<pooled<counted>> first(co_await all.acquire()), second(co_await all.acquire());
    EXPECT_EQ((*first)->number, 1);
    EXPECT_EQ((*second)->number, 2);
    first.reset();
    second.reset();
    pooled<counted> again = co_await all.acquire();
    EXPECT_EQ(again->number, 2);
    EXPECT_EQ(all.stats().idle, 1u);
    EXPECT_EQ(all.stats().in_use, 1u);
    EXPECT_EQ(all.stats().reused, 1u);
    again.discard();
    EXPECT_EQ(all.stats().in_use, 0u);
  });
}

TEST_F(pools, let_those_who_find_no_place_wait_in_turn_and_skip_who_went) {
  run([this]() -> task<> {
    pool<counted> all(numbered(), {}, bounded(1, 1));
    std::optional<pooled<counted>> held(co_await all.acquire());
    std::vector<int> order;
    auto user = [&](int number) -> task<> {
      pooled<counted> mine = co_await all.acquire();
      EXPECT_EQ(mine->number, 1);
      order.push_back(number);
      co_await yield();
    };
    auto one = spawn(user(1)), two = spawn(user(2)), three = spawn(user(3));
    co_await let_others_run();
    EXPECT_TRUE(order.empty());
    two.abort();
    EXPECT_TRUE(co_await was_cancelled(two));
    EXPECT_THROW((void)co_await with_timeout(0ms, all.acquire()), timeout_error);
    held.reset();
    co_await one;
    co_await three;
    EXPECT_EQ(order, (std::vector<int>{1, 3}));
    EXPECT_EQ(made_, 1);
  });
}

TEST_F(pools, give_the_place_of_one_that_could_not_be_made_to_the_next) {
  run([]() -> task<> {
    event may_fail;
    int tries = 0;
    auto make = [&]() -> task<counted> {
      if (++tries > 1) co_return counted(7);
      co_await may_fail.wait();
      throw std::runtime_error("no such server");
    };
    pool<counted> all(make, {}, bounded(1, 1));
    auto user = [&]() -> task<int> {
      pooled<counted> mine = co_await all.acquire();
      co_return mine->number;
    };
    auto unlucky = spawn(user()), next = spawn(user());
    co_await let_others_run();
    may_fail.set();
    EXPECT_THROW((void)co_await unlucky, std::runtime_error);
    EXPECT_EQ(co_await next, 7);
  });
}

TEST_F(pools, drop_what_the_check_refuses_or_fails_at) {
  run([this]() -> task<> {
    auto check = [](counted& each) -> task<bool> {
      co_await yield();
      if (each.number == 1) throw std::runtime_error("broken");
      co_return each.number != 2;
    };
    pool<counted> all(numbered(), check);
    {
      pooled<counted> a = co_await all.acquire(), b = co_await all.acquire(), c = co_await all.acquire();
      EXPECT_EQ(counted::live, 3);
    }
    // They went in the order c, b, a: the last one back is 1, then 2, then 3.
    pooled<counted> good = co_await all.acquire();
    EXPECT_EQ(good->number, 3);
    EXPECT_EQ(all.stats().refused, 2u);
    EXPECT_EQ(counted::live, 1);
  });
}

TEST_F(pools, drop_what_is_idle_too_long_or_too_many) {
  run([this]() -> task<> {
    pool_options options = bounded(8, 3);
    options.idle_timeout = 10s;
    pool<counted> all(numbered(), {}, options);
    {
      std::vector<pooled<counted>> many;
      for (int i = 0; i < 5; ++i) many.push_back(co_await all.acquire());
    }
    EXPECT_EQ(all.stats().idle, 3u);
    EXPECT_EQ(counted::live, 3);
    co_await pass(5s);
    {
      pooled<counted> used = co_await all.acquire();
    }
    co_await pass(6s);
    EXPECT_EQ(all.stats().idle, 1u) << "the one that was used since";
    EXPECT_EQ(all.stats().timed_out, 2u);
    co_await pass(5s);
    EXPECT_EQ(counted::live, 0);
  });
}

TEST_F(pools, lose_nothing_when_a_user_is_cancelled_wherever_it_is) {
  // While it waits, makes, checks or uses, after so many turns.
  for (int turns = 0; turns < 12; ++turns) {
    run([this, turns]() -> task<> {
      auto make = [this]() -> task<counted> {
        co_await yield();
        co_return counted(++made_);
      };
      auto check = [](counted&) -> task<bool> {
        co_await yield();
        co_return true;
      };
      pool<counted> all(make, check, bounded(2, 2));
      auto user = [&]() -> task<> {
        while (true) {
          pooled<counted> mine = co_await all.acquire();
          co_await yield();
        }
      };
      std::vector<join_handle<void>> users;
      for (int i = 0; i < 4; ++i) users.push_back(spawn(user()));
      for (int i = 0; i < turns; ++i) co_await yield();
      for (auto& each : users) {
        each.abort();
        EXPECT_TRUE(co_await was_cancelled(each));
      }
      EXPECT_EQ(all.stats().in_use, 0u);
      EXPECT_EQ(static_cast<std::size_t>(counted::live), all.stats().idle);
      pooled<counted> one = co_await all.acquire(), two = co_await all.acquire();
    });
  }
}

TEST_F(pools, do_what_a_simple_model_does) {
  if (test_support::simulation != nullptr) GTEST_SKIP() << "the model takes time to stand still";
  const std::uint64_t seed = test_support::test_seed();
  run([this, seed]() -> task<> {
    random_source draw(seed);
    constexpr std::size_t items_max = 5, idle_max = 3;
    pool_options options = bounded(items_max, idle_max);
    options.idle_timeout = 50ms;
    pool<counted> all(numbered(), {}, options);
    std::vector<pooled<counted>> held;
    std::deque<std::pair<int, clock::time_point>> idle;  // the model: number and when it goes
    int newest = 0;
    for (int step = 0; step < 20'000; ++step) {
      switch (draw.uniform(4)) {
        case 0:
        case 1:
          if (held.size() < items_max) {
            held.push_back(co_await all.acquire());
            const int expected = idle.empty() ? ++newest : idle.back().first;
            if (!idle.empty()) idle.pop_back();
            EXPECT_EQ(held.back()->number, expected) << "step " << step;
          } else {
            EXPECT_THROW((void)co_await with_timeout(0ms, all.acquire()), timeout_error);
          }
          break;
        case 2:
          if (!held.empty()) {
            std::swap(held[draw.uniform(held.size())], held.back());
            const bool discarded = draw.uniform(4) == 0;
            if (discarded) held.back().discard();
            if (!discarded && idle.size() < idle_max) idle.emplace_back(held.back()->number, clock::now() + 50ms);
            held.pop_back();
          }
          break;
        default:
          co_await pass(std::chrono::milliseconds(draw.uniform(20)));
          while (!idle.empty() && idle.front().second <= clock::now()) idle.pop_front();
      }
      EXPECT_EQ(all.stats().idle, idle.size()) << "step " << step;
      EXPECT_EQ(all.stats().in_use, held.size());
      EXPECT_EQ(static_cast<std::size_t>(counted::live), held.size() + idle.size());
      if (HasFailure()) co_return;
    }
  });
}

}  // namespace
}  // namespace skerry
