// SPDX-License-Identifier: Apache-2.0
/// Room for tasks that is claimed before there is work for it.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/task_slab.hpp>

#include <array>
#include <cstddef>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/heap_count.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace test_support;

task<int> double_of(int n) { co_return 2 * n; }
task<> wait_for(event& e) { co_await e.wait(); }

TEST(task_slab, declines_when_all_places_are_claimed_or_taken) {
  block_on([]() -> task<> {
    task_slab<3> slab;
    event end("end");
    std::vector<task_slab<3>::claim> claims;
    while (auto claim = slab.try_claim()) claims.push_back(std::move(*claim));
    EXPECT_EQ(claims.size(), 3u);
    EXPECT_EQ(slab.free(), 0u);
    auto first = claims[0].spawn("first", wait_for, end);
    EXPECT_FALSE(slab.try_claim());
    claims.pop_back();
    EXPECT_EQ(slab.free(), 1u) << "what was claimed and not used";
    end.set();
    co_await first;
    EXPECT_EQ(slab.free(), 1u) << "its handle keeps its node";
    first = {};
    EXPECT_EQ(slab.free(), 2u);
  });
}

TEST(task_slab, gives_results_like_any_spawn_and_the_name) {
  block_on([]() -> task<> {
    task_slab<2> slab;
    auto claim = slab.try_claim();
    auto handle = claim->spawn("doubles", double_of, 21);
    bool named = false;
    this_shard().root->for_each([&](const detail::chain& each) { named |= std::string(each.name()) == "doubles"; });
    EXPECT_TRUE(named);
    EXPECT_EQ(co_await handle, 42);
    auto other = slab.try_claim();
    auto thrown = other->spawn("fails", []() -> task<> {
      throw std::bad_alloc();
      co_return;
    });
    EXPECT_THROW(co_await thrown, std::bad_alloc);
  });
}

TEST(task_slab, a_claim_holds_where_the_shards_pool_has_no_room) {
  block_on([]() -> task<> {
    task_slab<40> slab;
    event end("end");
    std::vector<task_slab<40>::claim> claims;
    while (auto claim = slab.try_claim()) claims.push_back(std::move(*claim));
    std::vector<join_handle<>> tasks;
    {
      frame_pool full(0);
      frame_pool* usual = std::exchange(this_shard().frames, &full);
      EXPECT_THROW((void)wait_for(end), std::bad_alloc);
      for (auto& each : claims) tasks.push_back(each.spawn("waits", wait_for, end));
      this_shard().frames = usual;
    }
    end.set();
    for (auto& each : tasks) co_await each;
    tasks.clear();
    claims.clear();
    EXPECT_EQ(slab.free(), 40u);
  });
}

/// A frame of about `Bytes`.
template <std::size_t Bytes>
task<> carry(event& e) {
  std::array<char, Bytes> load{};
  co_await e.wait();
  load[0] = 'x';
  EXPECT_EQ(load[Bytes - 1], 0);
}

TEST(task_slab, takes_all_frames_up_to_its_limit_whatever_their_size) {
  block_on([]() -> task<> {
    const auto fill = []<std::size_t Bytes>() -> task<> {
      task_slab<500> slab(4096);
      event end("end");
      std::vector<join_handle<>> tasks;
      for (int round = 0; round < 3; ++round) {
        while (auto claim = slab.try_claim()) tasks.push_back(claim->spawn("carries", carry<Bytes>, end));
        EXPECT_EQ(tasks.size(), 500u);
        end.set();
        for (auto& each : tasks) co_await each;
        end.reset();
        tasks.clear();
        EXPECT_EQ(slab.free(), 500u);
      }
    };
    co_await fill.operator()<16>();
    co_await fill.operator()<700>();
    co_await fill.operator()<1900>();
    co_await fill.operator()<3800>();
  });
}

TEST(task_slab, refuses_frames_past_its_limit_and_keeps_the_claim) {
  block_on([]() -> task<> {
    task_slab<1> slab(256);
    event end("end");
    end.set();
    std::optional<task_slab<1>::claim> claim = slab.try_claim();
    using too_large = std::array<char, 2 << 20>;
    const auto carries_much = [](event& e) -> task<> {
      too_large load{};
      co_await e.wait();
      load[0] = 'x';
    };
    EXPECT_THROW((void)claim->spawn("carries much", carries_much, end), std::bad_alloc);
    co_await claim->spawn("waits", wait_for, end);
  });
}

TEST(task_slab, a_cancelled_task_gives_its_place_back) {
  block_on([]() -> task<> {
    task_slab<2> slab;
    event never("never");
    for (int round = 0; round < 10; ++round) {
      auto first = slab.try_claim()->spawn("waits", wait_for, never);
      auto unstarted = slab.try_claim()->spawn("waits", wait_for, never);
      unstarted.abort();
      if (round % 2 == 0) co_await let_others_run();
      first.abort();
      EXPECT_TRUE(co_await was_cancelled(first));
      EXPECT_TRUE(co_await was_cancelled(unstarted));
    }
    EXPECT_EQ(slab.free(), 2u);
  });
}

TEST(task_slab, takes_nothing_from_the_heap_once_it_has_its_memory) {
  block_on([]() -> task<> {
    task_slab<8> slab;
    std::uint64_t before = 0;
    for (int round = 0; round < 20; ++round) {
      if (round == 1) before = heap_allocations();
      std::array<join_handle<int>, 8> tasks;
      for (auto& each : tasks) each = slab.try_claim()->spawn("doubles", double_of, round);
      for (auto& each : tasks) EXPECT_EQ(co_await each, 2 * round);
    }
    EXPECT_EQ(heap_allocations(), before);
  });
}

void destroy_with_a_task() {
  block_on([]() -> task<> {
    event end("end");
    std::optional<task_slab<1>> slab(std::in_place);
    auto handle = slab->try_claim()->spawn("waits", wait_for, end);
    slab.reset();
    co_await handle;
  });
}

TEST(task_slab_death, outlives_its_tasks) { EXPECT_DEATH(destroy_with_a_task(), "a task_slab outlives its claims"); }

}  // namespace
}  // namespace skerry
