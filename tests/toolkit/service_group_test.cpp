// SPDX-License-Identifier: Apache-2.0
/// service_group: credits, chains that climb and those that do not, and no deadlock at full load.

#include <skerry/framework/random.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/sharded.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/flow/deadline.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>
#include <skerry/toolkit/flow/post_to.hpp>
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
    static std::atomic<bool> looked;
    inside = most = done = 0;
    looked = false;
    auto handler = []() -> task<> {
      const int now = ++inside;
      if (now > most) most = now;
      for (int i = 0; i < 20 || !looked; ++i) co_await yield();
      --inside;
      ++done;
    };
    std::vector<join_handle<>> calls;
    for (int i = 0; i < 20; ++i)
      calls.push_back(spawn([handler]() -> task<> { co_await submit_to(wide, 1, handler); }));
    co_await let_others_run();
    EXPECT_EQ(gauge("skerry_group_calls", "wide"), 3);
    EXPECT_EQ(gauge("skerry_group_waiting", "wide"), 17);
    looked = true;
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

/// Waits for what other tasks, here or on another shard, will do.
template <class Condition>
task<> until(Condition so) {
  while (!so()) co_await yield();
}

task<std::string> front_again() {
  return refusal(submit_to(front, other(), [] {}));
}

TEST(service_group, a_branch_belongs_to_the_chain) {
  run_shards(2, []() -> task<> {
    auto by_a_branch = []() -> task<std::string> {
      co_return co_await with_timeout(std::chrono::hours(1), front_again());
    };
    EXPECT_NE(co_await submit_to(front, 1, by_a_branch), "");
    auto by_two = []() -> task<bool> {
      auto [a, b] = co_await when_all(front_again(), refusal(submit_to(back, other(), [] {})));
      co_return !a.empty() && b.empty();
    };
    EXPECT_TRUE(co_await submit_to(front, 1, by_two));
    auto by_a_child = []() -> task<std::string> {
      std::string said;
      auto body = [&said](group& g) -> task<> {
        g.spawn([&said]() -> task<> { said = co_await front_again(); });
        co_return;
      };
      co_await with_group(body);
      co_return said;
    };
    EXPECT_NE(co_await submit_to(front, 1, by_a_child), "");
  });
}

TEST(service_group, a_spawned_task_that_is_joined_belongs_to_the_chain) {
  run_shards(2, []() -> task<> {
    auto joins = []() -> task<std::string> { co_return co_await spawn(front_again()); };
    const std::string said = co_await submit_to(front, 1, joins);
    EXPECT_NE(said.find("comes back into service group \"front\""), std::string::npos) << said;
    EXPECT_NE(said.find("front (shard 0 to 1), front (shard 1 to 0)"), std::string::npos) << said;
    auto joins_one_that_joins = []() -> task<std::string> {
      auto handle = spawn([]() -> task<std::string> {
        co_return co_await spawn(
            []() -> task<std::string> { co_return co_await with_timeout(std::chrono::hours(1), front_again()); });
      });
      co_return co_await with_timeout(std::chrono::hours(1), handle);
    };
    EXPECT_NE(co_await submit_to(front, 1, joins_one_that_joins), "");
    EXPECT_EQ(co_await joins(), "") << "no chain to belong to";
  });
}

TEST(service_group, a_spawned_task_that_nobody_joins_is_free_while_its_maker_runs_and_after) {
  run_shards(2, []() -> task<> {
    static std::string said;
    static int ended;
    ended = 0;
    said = "not yet";
    auto makes = []() -> task<> {
      static_cast<void>(spawn([]() -> task<> {
        said = co_await refusal(submit_to(middle, other(), [] {}));
        ++ended;
      }));
      co_await until([] { return ended == 1; });
      static_cast<void>(spawn([]() -> task<> {
        for (int i = 0; i < 10; ++i) co_await yield();
        said += co_await refusal(submit_to(middle, other(), [] {}));
        ++ended;
      }));
    };
    co_await submit_to(middle, 0, makes);
    co_await until([] { return ended == 2; });
    EXPECT_EQ(said, "");
  });
}

std::atomic<int> stage;

task<int> five_at_stage(int awaited) {
  co_await until([awaited] { return stage >= awaited; });
  co_return 5;
}
task<int> call_for_five() {
  co_return co_await submit_to(front, other(), [] { return five_at_stage(1); });
}
task<> expect_five(join_handle<int>& handle) { EXPECT_EQ(co_await handle, 5); }

task<std::string> join_late() {
  auto first = spawn([]() -> task<int> { co_return co_await with_timeout(std::chrono::hours(1), call_for_five()); });
  auto second = spawn(call_for_five());  // waits for the credit
  co_await let_others_run();
  const std::string said = co_await refusal(expect_five(first));
  EXPECT_NE(co_await refusal(expect_five(second)), "");
  auto by_a_branch = [&]() -> task<> { co_await with_timeout(std::chrono::hours(1), expect_five(second)); };
  EXPECT_NE(co_await refusal(by_a_branch()), "");
  stage = 1;
  co_await until([&] { return first.is_finished() && second.is_finished(); });
  EXPECT_EQ(co_await refusal(expect_five(first)), "");
  EXPECT_EQ(co_await refusal(expect_five(second)), "");
  co_return said;
}

TEST(service_group, joining_a_task_whose_call_is_under_way_is_refused_until_that_has_ended) {
  run_shards(2, []() -> task<> {
    stage = 0;
    const std::string said = co_await submit_to(front, 1, [] { return join_late(); });
    EXPECT_NE(said.find("front (shard 0 to 1), front (shard 1 to 0)"), std::string::npos) << said;
    auto climbs = []() -> task<int> {
      auto above = spawn([]() -> task<int> { co_return co_await submit_to(middle, other(), [] { return 6; }); });
      co_await yield();
      co_return co_await above;
    };
    EXPECT_EQ(co_await submit_to(front, 1, climbs), 6);
    stage = 0;
    auto no_chain = spawn(call_for_five());
    co_await let_others_run();
    auto opens = spawn([]() -> task<> {
      stage = 1;
      co_return;
    });
    EXPECT_EQ(co_await no_chain, 5);
  });
}

std::string said_far_away;

task<> call_and_call_on() {
  said_far_away = co_await submit_to(middle, other(), []() -> task<std::string> {
    stage = 1;
    co_await until([] { return stage == 2; });
    co_return co_await refusal(submit_to(middle, other(), [] {}));
  });
  stage = 3;
}

/// `Call` is sent by a task that is joined into a chain, whose join is given up before the call goes on: what is said
/// far away then names `chain` all the same.
template <task<> (*Call)()>
void outlives_the_join(const char* chain) {
  run_shards(2, [chain]() -> task<> {
    stage = 0;
    auto caller = spawn([]() -> task<> {
      co_await submit_to(front, 0, []() -> task<> {
        auto joined = spawn(Call());
        co_await joined;
      });
    });
    co_await until([] { return stage == 1; });
    caller.abort();
    EXPECT_TRUE(co_await ends_cancelled(caller));
    caller = {};
    stage = 2;
    co_await until([] { return stage == 3; });
    EXPECT_NE(said_far_away.find(chain), std::string::npos) << said_far_away;
  });
}

TEST(service_group, a_call_outlives_the_join_by_which_it_came_into_a_chain) {
  outlives_the_join<call_and_call_on>("front (shard 0 to 0), middle (shard 0 to 1), middle (shard 1 to 0)");
}

/// As front_again, or that it was not refused: it waits for the credit that its own chain holds.
task<std::string> front_again_or_waits() {
  auto waits = []() -> task<std::string> {
    co_await until([] { return detail::group_table::here().of(front).waiting > 0; });
    co_return "waits for itself";
  };
  auto [first, said] = co_await when_any(front_again(), waits());
  co_return first == 0 ? *std::get<0>(said) : *std::get<1>(said);
}

TEST(service_group, a_chain_that_comes_back_by_a_call_without_a_group_is_refused_and_named) {
  run_shards(2, []() -> task<> {
    auto plain = []() -> task<std::string> {
      const std::size_t before = frames_in_use();
      std::string said = co_await submit_to(other(), [] { return front_again_or_waits(); });
      EXPECT_EQ(frames_in_use(), before) << "nothing stays";
      co_return said;
    };
    const std::string said = co_await submit_to(front, 1, plain);
    EXPECT_NE(said.find("comes back into service group \"front\""), std::string::npos) << said;
    EXPECT_NE(said.find("front (shard 0 to 1), no group (shard 1 to 0), front (shard 0 to 1)"), std::string::npos)
        << said;
    EXPECT_EQ(co_await plain(), "") << "no chain to belong to";
    EXPECT_EQ(gauge("skerry_group_calls", "front"), 0);
  });
}

TEST(service_group, calls_without_a_group_are_named_one_by_one_and_shards_that_never_heard_of_groups_see_them) {
  run_shards(3, []() -> task<> {
    auto plain = []() -> task<std::string> {
      co_return co_await submit_to(2, []() -> task<std::string> {
        co_return co_await submit_to(0, []() -> task<std::string> {
          co_return co_await refusal(submit_to(wide, 1, [] {})) + co_await refusal(submit_to(back, 1, [] {}));
        });
      });
    };
    const std::string said = co_await submit_to(middle, 1, plain);
    EXPECT_NE(said.find("does not climb to service group \"wide\" of level 1"), std::string::npos) << said;
    EXPECT_NE(
        said.find("middle (shard 0 to 1), no group (shard 1 to 2), no group (shard 2 to 0), wide (shard 0 to 1);"),
        std::string::npos)
        << said;
    EXPECT_NE(said.find("above 2"), std::string::npos) << said;
    EXPECT_EQ(said.find("back"), std::string::npos) << "it climbs: " << said;
  });
}

struct counter {
  int n = 0;
};

TEST(service_group, a_chain_goes_on_by_every_call_that_is_waited_for) {
  run_shards(2, []() -> task<> {
    static sharded<counter> all;
    static std::atomic<int> posted;
    posted = 0;
    co_await all.start();
    auto itself = []() -> task<std::string> {
      co_return co_await submit_to(this_shard_id(), [] { return front_again(); });
    };
    const std::string said = co_await submit_to(front, 1, itself);
    EXPECT_NE(said.find("front (shard 0 to 1), no group (shard 1 to 1), front (shard 1 to 0)"), std::string::npos)
        << said;
    auto on_an_instance = []() -> task<std::string> {
      co_return co_await all.invoke_on(other(), [](counter&) { return front_again_or_waits(); });
    };
    EXPECT_NE((co_await submit_to(front, 1, on_an_instance)).find("no group"), std::string::npos);
    auto everywhere = []() -> task<std::string> {
      const std::vector<std::string> both = co_await map_all([] { return front_again(); });
      co_return both[0].empty() || both[1].empty() ? "" : both[0] + both[1];
    };
    EXPECT_NE((co_await submit_to(front, 1, everywhere)).find("no group"), std::string::npos);
    auto by_a_deadline = []() -> task<std::string> {
      const by late(clock::now() + std::chrono::hours(1));
      co_return co_await submit_to(late, other(), [] { return front_again_or_waits(); });
    };
    EXPECT_NE((co_await submit_to(front, 1, by_a_deadline)).find("no group"), std::string::npos);
    auto by_post = []() -> task<> {
      auto begins_anew = []() -> task<> {
        EXPECT_EQ(co_await refusal(submit_to(wide, other(), [] {})), "") << "nobody waits for it";
        ++posted;
      };
      co_await post_to(other(), begins_anew);
      co_await until([] { return posted == 1; });
    };
    co_await submit_to(wide, 1, by_post);
    co_await all.stop();
  });
}

TEST(service_group, who_belongs_to_a_call_without_a_group_belongs_to_its_chain) {
  run_shards(2, []() -> task<> {
    auto plain = []() -> task<> {
      auto handler = []() -> task<> {
        EXPECT_NE(co_await with_timeout(std::chrono::hours(1), front_again()), "") << "a branch";
        EXPECT_NE(co_await spawn(front_again()), "") << "a joined task";
        std::string free = "not yet";
        auto alone = spawn([&free]() -> task<> { free = co_await front_again(); });
        co_await until([&] { return free != "not yet"; });
        EXPECT_EQ(free, "") << "nobody has joined it";
        stage = 0;
        EXPECT_NE((co_await join_late()).find("no group (shard 1 to 1)"), std::string::npos) << "joined too late";
      };
      co_await submit_to(this_shard_id(), handler);
    };
    co_await submit_to(front, 1, plain);
  });
}

task<> call_without_a_group() {
  said_far_away = co_await submit_to(other(), []() -> task<std::string> {
    stage = 1;
    co_await until([] { return stage == 2; });
    co_return co_await front_again();
  });
  stage = 3;
}

TEST(service_group, a_call_without_a_group_outlives_the_join_by_which_it_came_into_a_chain) {
  outlives_the_join<call_without_a_group>("front (shard 0 to 0), no group (shard 0 to 1), front (shard 1 to 0)");
}

TEST(service_group, tasks_that_join_each_other_in_a_ring_do_not_hang_who_looks_for_its_chain) {
  run_shards(2, []() -> task<> {
    struct ring {
      join_handle<> first, second, third;
      std::string said = "not yet";
    } all;
    auto join = [](join_handle<>& handle) -> task<> { co_await handle; };
    all.first = spawn([&]() -> task<> { co_await when_all(join(all.second), join(all.third)); });
    all.second = spawn([&]() -> task<> { co_await all.first; });
    all.third = spawn([&]() -> task<> {
      for (int i = 0; i < 10; ++i) co_await yield();
      all.said = co_await front_again();
    });
    co_await until([&] { return all.said != "not yet"; });
    EXPECT_EQ(all.said, "");
    all.second.abort();
    co_await until([&] { return all.first.is_finished() && all.second.is_finished() && all.third.is_finished(); });
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

/// The same with calls without a group in between.
task<int> second_by_plain(int n) {
  co_return co_await submit_to(other(), [](int m) { return second(m); }, n);
}
task<int> first_by_plain(int n) {
  auto handler = [](int m) -> task<int> {
    co_return co_await submit_to(middle, other(), [](int k) { return second_by_plain(k); }, m);
  };
  co_return co_await submit_to(this_shard_id(), handler, n) + 100;
}
task<int> mutual_by_plain(int n) {
  co_return co_await submit_to(front, other(), [](int m) { return first_by_plain(m); }, n);
}

TEST(service_group, mutual_calls_at_full_load_never_deadlock_with_one_credit_and_queues_of_one) {
  app_options options = quiet_options(2);
  options.mailbox_capacity = 1;
  run_shards(options, []() -> task<> {
    auto load = []() -> task<int> {
      std::vector<join_handle<int>> all;
      for (int n = 0; n < test::rounds(300); ++n) all.push_back(spawn(n % 3 == 0 ? mutual_by_plain(n) : mutual(n)));
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
  switch (random.uniform(6)) {
    case 0: co_return co_await submit_to(front, target, [](std::uint64_t s) { return climb(s); }, random());
    case 1: co_return co_await submit_to(middle, target, [](std::uint64_t s) { return climb(s); }, random());
    case 2: co_return co_await submit_to(back, target, [](std::uint64_t s) { return climb(s); }, random());
    case 3: co_return co_await submit_to(target, [](std::uint64_t s) { return climb(s); }, random());
    case 4: co_return co_await spawn(climb(random()));
    default: co_await yield();
  }
}

TEST(service_group, a_storm_of_chains_and_cancels_ends_with_all_credits_back) {
  const std::uint64_t seed = test_seed();
  app_options options = quiet_options(3);
  options.mailbox_capacity = 1;
  options.log_level = "off";  // nobody joins what a cancelled task had joined
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
        // What a cancelled task has joined runs on.
        const semaphore& credits = detail::group_table::here().of(*group).to(shard);
        co_await until([&] { return credits.available() == group->credits(); });
      }
    }
  });
}

}  // namespace
}  // namespace skerry
