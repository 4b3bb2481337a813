// SPDX-License-Identifier: Apache-2.0
/// service_group: credits, chains that climb and those that do not, and no deadlock at full load.

#include <skerry/framework/random.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/flow/service_group.hpp>

#include <atomic>
#include <chrono>
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

constexpr service_group front("front", 1, 1);
constexpr service_group middle("middle", 2, 1);
constexpr service_group back("back", 3, 1);
constexpr service_group wide("wide", 1, 3);

shard_id other() { return 1 - this_shard_id(); }

/// The message of the group_reentered that `body` ends with; empty without one.
template <class T>
task<std::string> refusal(task<T> body) {
  try {
    co_await std::move(body);
  } catch (const group_reentered& refused) {
    EXPECT_EQ(refused.code(), std::errc::resource_deadlock_would_occur);
    co_return refused.what();
  }
  co_return "";
}

std::int64_t gauge(const std::string& name, const std::string& group) {
  for (const observe::sample& each : this_shard().metrics->take_snapshot()) {
    if (each.info.name != name || each.info.labels.front().value != group) continue;
    return std::get<std::int64_t>(each.value);
  }
  return -1;
}

TEST(service_group, calls_as_submit_to_does) {
  run_shards(2, []() -> task<> {
    EXPECT_EQ(co_await submit_to(front, 1, [](int n) { return n + static_cast<int>(this_shard_id()); }, 40), 41);
    EXPECT_EQ(co_await submit_to(
                  front, 0, [](std::string s) -> task<std::string> { co_return s + "!"; }, std::string("here")),
              "here!");
    co_await submit_to(front, 1, [] {});
    co_await submit_to(front, 1, []() -> task<> { co_await yield(); });
    int caught = 0;
    try {
      co_await submit_to(front, 1, []() -> task<int> { throw failure(7); });
    } catch (const failure& thrown) {
      caught = thrown.number;
    }
    EXPECT_EQ(caught, 7);
    EXPECT_EQ(gauge("skerry_group_calls", "front"), 0);
  });
}

TEST(service_group, no_more_calls_than_credits_are_in_flight_to_one_shard) {
  run_shards(2, []() -> task<> {
    static std::atomic<int> inside, most, done;
    inside = most = done = 0;
    auto handler = []() -> task<> {
      const int now = ++inside;
      if (now > most) most = now;
      for (int i = 0; i < 20; ++i) co_await yield();
      --inside;
      ++done;
    };
    std::vector<join_handle<>> calls;
    for (int i = 0; i < 20; ++i)
      calls.push_back(spawn([handler]() -> task<> { co_await submit_to(wide, 1, handler); }));
    co_await let_others_run();
    EXPECT_EQ(gauge("skerry_group_calls", "wide"), 3);
    EXPECT_EQ(gauge("skerry_group_waiting", "wide"), 17);
    EXPECT_EQ(co_await submit_to(wide, 0, [] { return 5; }), 5) << "another shard has credits of its own";
    for (auto& each : calls) co_await each;
    EXPECT_EQ(most, 3);
    EXPECT_EQ(done, 20);
    EXPECT_EQ(gauge("skerry_group_waiting", "wide"), 0);
  });
}

TEST(service_group, who_waits_for_a_credit_can_be_cancelled_and_credits_come_back) {
  run_shards(2, []() -> task<> {
    auto sleeps = []() -> task<> { co_await sleep_for(std::chrono::hours(1)); };
    auto holds = spawn([sleeps]() -> task<> { co_await submit_to(front, 1, sleeps); });
    co_await let_others_run();
    auto waits = spawn([sleeps]() -> task<> { co_await submit_to(front, 1, sleeps); });
    co_await let_others_run();
    waits.abort();
    EXPECT_TRUE(co_await ends_cancelled(waits));
    holds.abort();
    EXPECT_TRUE(co_await ends_cancelled(holds)) << "the cancel crosses";
    EXPECT_EQ(co_await submit_to(front, 1, [] { return 1; }), 1);
  });
}

TEST(service_group, a_chain_that_comes_back_is_refused_and_named) {
  run_shards(2, []() -> task<> {
    auto there_and_back = []() -> task<std::string> {
      co_return co_await submit_to(
          middle, other(), []() -> task<std::string> { co_return co_await refusal(submit_to(front, other(), [] {})); });
    };
    const std::string said = co_await submit_to(front, 1, there_and_back);
    EXPECT_NE(said.find("comes back into service group \"front\""), std::string::npos) << said;
    EXPECT_NE(said.find("front (shard 0 to 1), middle (shard 1 to 0), front (shard 0 to 1)"), std::string::npos)
        << said;
    EXPECT_EQ(co_await refusal(submit_to(front, 1, [] {})), "") << "another chain is free to enter";
  });
}

TEST(service_group, a_chain_that_does_not_climb_is_refused) {
  run_shards(2, []() -> task<> {
    const std::string said = co_await submit_to(
        middle, 1, []() -> task<std::string> { co_return co_await refusal(submit_to(wide, 0, [] {})); });
    EXPECT_NE(said.find("does not climb to service group \"wide\" of level 1"), std::string::npos) << said;
    EXPECT_NE(said.find("above 2"), std::string::npos) << said;
  });
}

TEST(service_group, a_branch_belongs_to_the_chain_and_a_spawned_task_does_not) {
  run_shards(2, []() -> task<> {
    auto by_a_branch = []() -> task<std::string> {
      co_return co_await with_timeout(std::chrono::hours(1), refusal(submit_to(front, other(), [] {})));
    };
    EXPECT_NE(co_await submit_to(front, 1, by_a_branch), "");
    auto by_two = []() -> task<bool> {
      auto [a, b] =
          co_await when_all(refusal(submit_to(front, other(), [] {})), refusal(submit_to(back, other(), [] {})));
      co_return !a.empty() && b.empty();
    };
    EXPECT_TRUE(co_await submit_to(front, 1, by_two));
    auto by_a_spawned_one = []() -> task<std::string> {
      co_return co_await spawn(refusal(submit_to(front, other(), [] {})));
    };
    EXPECT_EQ(co_await submit_to(front, 1, by_a_spawned_one), "");
  });
}

/// From one shard to the other and back and over again; each call by a group of its own.
task<int> third(int n) {
  co_await yield();
  co_return n + 1;
}
task<int> second(int n) {
  co_return co_await submit_to(back, other(), [](int m) { return third(m); }, n) + 10;
}
task<int> first(int n) {
  co_return co_await submit_to(middle, other(), [](int m) { return second(m); }, n) + 100;
}
task<int> mutual(int n) {
  co_return co_await submit_to(front, other(), [](int m) { return first(m); }, n);
}

TEST(service_group, mutual_calls_at_full_load_never_deadlock_with_one_credit_and_queues_of_one) {
  app_options options = quiet_options(2);
  options.mailbox_capacity = 1;
  run_shards(options, []() -> task<> {
    auto load = []() -> task<int> {
      std::vector<join_handle<int>> all;
      for (int n = 0; n < test::rounds(300); ++n) all.push_back(spawn(mutual(n)));
      int right = 0;
      for (int n = 0; n < test::rounds(300); ++n) right += co_await all[static_cast<std::size_t>(n)] == n + 111;
      co_return right;
    };
    auto there = spawn([load]() -> task<int> { co_return co_await submit_to(1, load); });
    EXPECT_EQ(co_await load(), test::rounds(300));
    EXPECT_EQ(co_await there, test::rounds(300));
  });
}

/// Any chain that climbs, cancelled at any moment, on three shards.
task<> climb(std::uint64_t seed) {
  random_source random(seed);
  const auto target = static_cast<shard_id>(random.uniform(shard_count()));
  switch (random.uniform(4)) {
    case 0: co_return co_await submit_to(front, target, [](std::uint64_t s) { return climb(s); }, random());
    case 1: co_return co_await submit_to(middle, target, [](std::uint64_t s) { return climb(s); }, random());
    case 2: co_return co_await submit_to(back, target, [](std::uint64_t s) { return climb(s); }, random());
    default: co_await yield();
  }
}

TEST(service_group, a_storm_of_chains_and_cancels_ends_with_all_credits_back) {
  const std::uint64_t seed = test_seed();
  app_options options = quiet_options(3);
  options.mailbox_capacity = 1;
  run_shards(options, [seed]() -> task<> {
    auto storm = [](std::uint64_t s) -> task<> {
      random_source random(s);
      for (int round = 0; round < test::rounds(30); ++round) {
        std::vector<join_handle<>> all;
        for (int i = 0; i < 20; ++i) all.push_back(spawn(climb(random())));
        for (auto& each : all) {
          if (random.uniform(3) == 0) each.abort();
          if (random.uniform(2) == 0) co_await yield();
        }
        for (auto& each : all) {
          try {
            co_await each;
          } catch (const std::system_error& error) {
            EXPECT_TRUE(error.code() == std::errc::operation_canceled ||
                        error.code() == std::errc::resource_deadlock_would_occur)
                << error.what();
          }
        }
      }
    };
    std::vector<join_handle<>> storms;
    for (shard_id shard = 0; shard < 3; ++shard) {
      storms.push_back(spawn([storm, shard, seed]() -> task<> { co_await submit_to(shard, storm, seed + shard); }));
    }
    for (auto& each : storms) co_await each;
    for (const service_group* group : {&front, &middle, &back}) {
      for (shard_id shard = 0; shard < 3; ++shard) {
        EXPECT_EQ(detail::group_table::here().of(*group).to(shard).available(), group->credits());
      }
    }
  });
}

}  // namespace
}  // namespace skerry
