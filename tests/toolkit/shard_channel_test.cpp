// SPDX-License-Identifier: Apache-2.0
/// Channels between shards that run in threads of their own.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/channel/shard_channel.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using test_support::let_others_run;
using test_support::run_shards;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t many = 20'000;
#else
constexpr std::uint64_t many = 50'000;
#endif

/// How many items exist on all shards; back to zero when nothing was lost and nothing was destroyed twice.
std::atomic<int> alive{0};

struct item {
  using crosses_shards = item;
  explicit item(std::uint64_t from, std::uint64_t n) noexcept : sender(from), number(n) { ++alive; }
  item(item&& other) noexcept : sender(other.sender), number(other.number) { ++alive; }
  item& operator=(item&&) = delete;
  ~item() { --alive; }
  std::uint64_t sender;
  std::uint64_t number;
};

task<std::uint64_t> send_until(channel_sender<item> to, std::uint64_t count) {
  for (std::uint64_t n = 0; n < count; ++n) {
    const bool sent = co_await to.send(item(this_shard_id(), n));
    if (!sent) co_return n;
  }
  co_return count;
}

constexpr auto send_from_here = [](channel_sender<item> to, std::uint64_t count) -> task<std::uint64_t> {
  co_return co_await send_until(std::move(to), count);
};

task<std::uint64_t> call(shard_id target, channel_sender<item> to, std::uint64_t count) {
  co_return co_await submit_to(target, send_from_here, std::move(to), count);
}

task<> everything_arrives_in_order(std::size_t capacity, std::uint64_t count) {
  mpsc_channel<item> from_all(capacity);
  std::vector<join_handle<std::uint64_t>> senders;
  for (shard_id s = 0; s < shard_count(); ++s) senders.push_back(spawn(call(s, from_all.sender(), count)));
  std::vector<std::uint64_t> next(shard_count());
  while (auto got = co_await from_all.recv()) {
    if (got->number != next[got->sender]++) ADD_FAILURE() << "from shard " << got->sender << ": " << got->number;
  }
  for (std::uint64_t received : next) EXPECT_EQ(received, count);
  for (auto& each : senders) EXPECT_EQ(co_await each, count);
}

TEST(mpsc_channel, items_of_every_shard_arrive_in_order_and_then_the_end) {
  for (const std::size_t capacity : {1u, 2u, 3u, 5u, 64u, 1000u}) {
    run_shards(3, [capacity] { return everything_arrives_in_order(capacity, capacity < 5 ? many / 50 : many); });
    EXPECT_EQ(alive, 0) << capacity;
  }
}

TEST(mpsc_channel, senders_that_send_nothing_end_it_too) {
  run_shards(2, []() -> task<> {
    mpsc_channel<item> empty(8);
    {
      channel_sender<item> dropped_at_home = empty.sender();
      EXPECT_EQ(co_await submit_to(1, send_from_here, empty.sender(), std::uint64_t{0}), 0u);
    }
    EXPECT_FALSE((co_await empty.recv()).has_value());
    EXPECT_FALSE((co_await empty.recv()).has_value());
  });
}

TEST(mpsc_channel, a_receiver_that_closes_turns_senders_away) {
  run_shards(2, []() -> task<> {
    mpsc_channel<item> some(16);
    auto sender = spawn(call(1, some.sender(), many * 1000));
    for (std::uint64_t n = 0; n < 100; ++n) EXPECT_EQ((co_await some.recv())->number, n);
    some.close();
    EXPECT_FALSE((co_await some.recv()).has_value());
    const std::uint64_t sent = co_await sender;
    EXPECT_GE(sent, 100u);
    EXPECT_LE(sent, 100u + 16u);
  });
  EXPECT_EQ(alive, 0);
}

TEST(mpsc_channel, a_receiver_may_go_while_items_are_on_the_way) {
  for (int round = 0; round < 50; ++round) {
    run_shards(2, [round]() -> task<> {
      auto some = std::make_unique<mpsc_channel<item>>(1 + round % 9);
      auto first = spawn(call(1, some->sender(), many * 1000));
      auto second = spawn(call(0, some->sender(), many * 1000));
      for (int n = 0; n < round * 3; ++n) (void)co_await some->recv();
      some.reset();
      co_await first;
      co_await second;
    });
    ASSERT_EQ(alive, 0) << round;
  }
}

TEST(mpsc_channel, a_sender_may_outlive_its_channel_unused) {
  run_shards(2, []() -> task<> {
    auto gone = std::make_unique<mpsc_channel<item>>(4);
    channel_sender<item> left = gone->sender();
    gone.reset();
    EXPECT_EQ(co_await submit_to(1, send_from_here, std::move(left), std::uint64_t{1000}), 4u);
  });
  EXPECT_EQ(alive, 0);
}

TEST(mpsc_channel, try_forms_decline_when_full_and_when_empty) {
  run_shards(1, []() -> task<> {
    mpsc_channel<int> few(3);
    channel_sender<int> to = few.sender();
    EXPECT_FALSE(few.try_recv().has_value());
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(to.try_send(i));
    EXPECT_FALSE(to.try_send(3));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(few.try_recv(), i);
    EXPECT_FALSE(few.try_recv().has_value());
    EXPECT_TRUE(to.try_send(4));
    to.close();
    EXPECT_FALSE(to.try_send(5));
    EXPECT_FALSE(co_await to.send(6));
    EXPECT_EQ(co_await few.recv(), 4);
    EXPECT_FALSE((co_await few.recv()).has_value());
  });
}

task<> send_one(channel_sender<int>& to, int number, int& sent) {
  const bool was_sent = co_await to.send(number);
  sent += static_cast<int>(was_sent);
}

TEST(mpsc_channel, a_cancelled_send_has_sent_nothing_and_the_next_one_goes_on) {
  run_shards(1, []() -> task<> {
    const std::size_t frames = this_shard().loop->frames().in_use();
    {
      mpsc_channel<int> one(1);
      channel_sender<int> to = one.sender();
      EXPECT_TRUE(to.try_send(1));
      int sent = 0;
      auto waiting = spawn(send_one(to, 2, sent));
      auto woken = spawn(send_one(to, 3, sent));
      auto last = spawn(send_one(to, 4, sent));
      co_await let_others_run();
      waiting.abort();
      co_await let_others_run();
      EXPECT_EQ(one.try_recv(), 1);  // reserves the place for `woken`, which is in the run queue
      woken.abort();                 // completion wins: it sends, then it ends
      co_await let_others_run();
      EXPECT_EQ(co_await one.recv(), 3);
      EXPECT_EQ(co_await one.recv(), 4);
      co_await last;
      EXPECT_EQ(sent, 2);
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), frames);
  });
}

task<> receive_one(mpsc_channel<int>& from, std::vector<int>& got) {
  got.push_back((co_await from.recv()).value_or(-1));
}

TEST(mpsc_channel, a_cancelled_receive_leaves_the_item) {
  run_shards(1, []() -> task<> {
    const std::size_t frames = this_shard().loop->frames().in_use();
    {
      mpsc_channel<int> one(1);
      channel_sender<int> to = one.sender();
      std::vector<int> got;
      auto waiting = spawn(receive_one(one, got));
      auto next = spawn(receive_one(one, got));
      co_await let_others_run();
      waiting.abort();
      co_await let_others_run();
      EXPECT_TRUE(to.try_send(7));
      co_await next;
      EXPECT_EQ(got, std::vector<int>{7});
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), frames);
  });
}

TEST(mpsc_channel, closing_wakes_everybody_who_waits) {
  run_shards(1, []() -> task<> {
    mpsc_channel<int> one(1);
    channel_sender<int> to = one.sender();
    EXPECT_TRUE(to.try_send(1));
    int sent = 0;
    auto sender = spawn(send_one(to, 2, sent));
    co_await let_others_run();
    one.close();
    co_await sender;
    EXPECT_EQ(sent, 0);

    mpsc_channel<int> other(1);
    std::vector<int> got;
    auto receiver = spawn(receive_one(other, got));
    co_await let_others_run();
    other.close();
    co_await receiver;
    EXPECT_EQ(got, std::vector<int>{-1});
  });
}

TEST(spsc_channel_death, a_second_sender_is_refused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(run_shards(1,
                          []() -> task<> {
                            spsc_channel<int> one(4);
                            auto first = one.sender();
                            auto second = one.sender();
                            co_return;
                          }),
               "one sender");
}

/// Senders on every shard, some of them cancelled at a random moment, and a receiver that comes and goes.
task<> random_traffic(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    mpsc_channel<item> from_all(1 + random() % 40);
    std::vector<join_handle<std::uint64_t>> senders;
    const std::uint64_t each = 1 + random() % 600;
    for (int i = 0; i < 6; ++i) {
      senders.push_back(spawn(call(static_cast<shard_id>(random() % shard_count()), from_all.sender(), each)));
    }
    const std::uint64_t wanted = random() % 3 == 0 ? random() % (6 * each) : UINT64_MAX;
    std::uint64_t received = 0;
    for (; received < wanted; ++received) {
      if (random() % 64 == 0) senders[random() % senders.size()].abort();
      if (random() % 16 == 0) co_await yield();
      if (!(co_await from_all.recv()).has_value()) break;
    }
    EXPECT_LE(received, 6 * each);
  }
}

TEST(mpsc_channel, nothing_is_lost_or_destroyed_twice_in_random_traffic) {
  const std::uint64_t seed = test_support::test_seed();
  run_shards(3, [seed] { return random_traffic(seed); });
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace skerry
