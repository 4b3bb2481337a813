// SPDX-License-Identifier: Apache-2.0
/// What channels promise when nobody is cancelled, what they cost in memory, and how misuse is reported. Cancellation:
/// sync_cancel_test; at random: sync_model_test.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/channel/broadcast.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/channel/oneshot.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <support/heap_count.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace test_support;
using numbers = std::vector<int>;

task<> send_range(channel<int>& to, int from, int end) {
  for (int i = from; i < end; ++i) EXPECT_TRUE(co_await to.send(i));
}

task<numbers> recv_all(channel<int>& from) {
  numbers got;
  while (auto item = co_await from.recv()) got.push_back(*item);
  co_return got;
}

numbers range(int from, int end) {
  numbers all;
  for (int i = from; i < end; ++i) all.push_back(i);
  return all;
}

TEST(channel, passes_items_in_order_and_holds_the_sender_back) {
  block_on([]() -> task<> {
    channel<int> c(3);
    auto sender = spawn(send_range(c, 0, 10));
    co_await let_others_run();
    EXPECT_EQ(c.size(), 3u);
    EXPECT_FALSE(c.try_send(99)) << "full";
    auto receiver = spawn(recv_all(c));
    co_await sender;
    c.close();
    EXPECT_EQ(co_await receiver, range(0, 10));
  });
}

TEST(channel, gives_what_is_in_it_after_it_was_closed_and_then_the_end) {
  block_on([]() -> task<> {
    channel<int> c(4);
    co_await send_range(c, 0, 3);
    c.close();
    c.close();
    EXPECT_FALSE(co_await c.send(9));
    EXPECT_FALSE(c.try_send(9));
    EXPECT_FALSE(c.is_drained());
    EXPECT_EQ(co_await recv_all(c), range(0, 3));
    EXPECT_TRUE(c.is_drained());
    EXPECT_FALSE(co_await c.recv());
    EXPECT_FALSE(c.try_recv());
  });
}

TEST(channel, close_wakes_all_who_wait) {
  block_on([]() -> task<> {
    channel<int> empty(1);
    channel<int> full(1);
    EXPECT_TRUE(full.try_send(0));
    std::vector<join_handle<bool>> tasks;
    for (int i = 0; i < 3; ++i) {
      tasks.push_back(spawn([&]() -> task<bool> {
        auto got = co_await empty.recv();
        co_return got.has_value();
      }));
      tasks.push_back(spawn([&]() -> task<bool> { co_return co_await full.send(1); }));
    }
    co_await let_others_run();
    empty.close();
    full.close();
    for (auto& each : tasks) EXPECT_FALSE(co_await each);
    EXPECT_EQ(full.size(), 1u);
  });
}

TEST(channel, may_go_as_soon_as_it_is_closed_and_nothing_is_on_its_way) {
  block_on([]() -> task<> {
    auto c = std::make_unique<channel<int>>(1);
    auto receiver = spawn([&c = *c]() -> task<> { EXPECT_FALSE(co_await c.recv()); });
    co_await let_others_run();
    c->close();
    c.reset();
    co_await receiver;
  });
}

TEST(channel, a_sender_whose_place_was_reserved_when_it_closed_has_not_sent) {
  block_on([]() -> task<> {
    channel<int> c(1);
    EXPECT_TRUE(c.try_send(0));
    auto sender = spawn([&]() -> task<bool> { co_return co_await c.send(1); });
    co_await let_others_run();
    EXPECT_EQ(c.try_recv(), 0);
    c.close();
    EXPECT_FALSE(co_await sender);
    EXPECT_TRUE(c.is_drained());
  });
}

TEST(channel, may_go_in_the_turn_in_which_those_who_wait_are_cancelled) {
  block_on([]() -> task<> {
    for (const bool closed : {false, true}) {
      auto full = std::make_unique<channel<int>>(1);
      auto empty = std::make_unique<channel<int>>(1);
      EXPECT_TRUE(full->try_send(0));
      auto sender = spawn([&full]() -> task<> { (void)co_await full->send(1); });
      auto receiver = spawn([&empty]() -> task<> { (void)co_await empty->recv(); });
      co_await let_others_run();
      sender.abort();
      receiver.abort();
      if (closed) full->close();
      full.reset();
      empty.reset();
      EXPECT_TRUE(co_await was_cancelled(sender));
      EXPECT_TRUE(co_await was_cancelled(receiver));
    }
  });
}

TEST(channel, a_receiver_waits_past_the_close_for_an_item_that_another_may_leave) {
  block_on([]() -> task<> {
    channel<int> c(1);
    std::optional<int> got;
    join_handle<> gone;
    gone = spawn([&]() -> task<> {
      gone.abort();
      (void)co_await when_suspended([&] { return c.recv(); }, [&] { EXPECT_TRUE(c.try_send(5)); });
    });
    auto second = spawn([&]() -> task<> {
      c.close();
      got = co_await c.recv();
    });
    EXPECT_TRUE(co_await was_cancelled(gone));
    co_await second;
    EXPECT_EQ(got, 5);
    EXPECT_FALSE(co_await c.recv());
  });
}

TEST(channel, receivers_who_wait_are_served_in_the_order_they_came) {
  block_on([]() -> task<> {
    channel<int> c(8);
    std::string out;
    std::vector<join_handle<>> tasks;
    for (char name : {'a', 'b', 'c'}) {
      tasks.push_back(spawn([&, name]() -> task<> {
        auto item = co_await c.recv();
        out += name + std::to_string(item.value_or(-1));
      }));
    }
    co_await let_others_run();
    co_await send_range(c, 0, 3);
    EXPECT_FALSE(c.try_recv()) << "all three are on their way";
    for (auto& each : tasks) co_await each;
    EXPECT_EQ(out, "a0b1c2");
  });
}

TEST(channel, ready_sends_and_receives_let_nobody_run) {
  block_on([]() -> task<> {
    channel<int> c(4);
    bool ran = false;
    auto other = spawn([&]() -> task<> {
      ran = true;
      co_return;
    });
    for (int i = 0; i < 1000; ++i) {
      EXPECT_TRUE(co_await c.send(i));
      EXPECT_EQ(co_await c.recv(), i);
    }
    EXPECT_FALSE(ran);
    co_await other;
  });
}

TEST(channel, items_may_be_moved_only_and_a_send_that_declines_leaves_them) {
  block_on([]() -> task<> {
    channel<std::unique_ptr<int>> c(1);
    auto first = std::make_unique<int>(1);
    auto second = std::make_unique<int>(2);
    EXPECT_TRUE(c.try_send(std::move(first)));
    EXPECT_FALSE(c.try_send(std::move(second)));
    EXPECT_EQ(*second, 2);
    auto got = co_await c.recv();
    EXPECT_EQ(**got, 1);
    EXPECT_TRUE(co_await c.send(std::move(second)));
  });  // and goes with an item in it
}

std::int64_t gauge_value(const char* name) {
  const observe::snapshot all = this_shard().metrics->take_snapshot();
  for (const auto& each : all) {
    if (each.info.name == name) return std::get<std::int64_t>(each.value);
  }
  return -1;
}

TEST(unbounded_channel, holds_the_sender_back_at_the_shards_limit_and_shows_its_depth) {
  block_on([]() -> task<> {
    resources().emplace<unbounded_channels>(100 * sizeof(int));
    {
      channel<int> one(unbounded);
      channel<int> two(unbounded);
      co_await send_range(one, 0, 60);
      co_await send_range(two, 0, 40);
      EXPECT_EQ(gauge_value("skerry_unbounded_channel_items"), 100);
      EXPECT_EQ(gauge_value("skerry_unbounded_channel_bytes"), 100 * std::int64_t{sizeof(int)});
      EXPECT_FALSE(one.try_send(60));
      auto more = spawn(send_range(two, 40, 50));
      auto refused = spawn([&]() -> task<bool> { co_return co_await one.send(60); });
      co_await let_others_run();
      one.close();
      EXPECT_FALSE(co_await refused) << "woken by its own channel";
      EXPECT_FALSE(more.is_finished()) << "and not by another's";
      EXPECT_EQ(co_await recv_all(one), range(0, 60));
      co_await more;
      EXPECT_EQ(two.size(), 50u);
    }
    EXPECT_EQ(gauge_value("skerry_unbounded_channel_items"), 0);
    EXPECT_EQ(resource<unbounded_channels>().bytes(), 0u);
  });
}

TEST(unbounded_channel, keeps_order_while_its_storage_grows) {
  block_on([]() -> task<> {
    channel<int> c(unbounded);
    int next = 0;
    for (int sent = 0; sent < 10'000; ++sent) {
      EXPECT_TRUE(c.try_send(int{sent}));
      if (sent % 3 == 0) {
        EXPECT_EQ(c.try_recv(), next++);
      }
    }
    c.close();
    EXPECT_EQ(co_await recv_all(c), range(next, 10'000));
  });
}

TEST(oneshot, brings_one_value_whoever_comes_first) {
  block_on([]() -> task<> {
    oneshot<std::unique_ptr<int>> early;
    EXPECT_TRUE(early.sender().send(std::make_unique<int>(1)));
    auto got = co_await early.recv();
    EXPECT_EQ(**got, 1);
    EXPECT_FALSE(early.try_recv()) << "it was taken";

    oneshot<int> late;
    auto asked = spawn([to = late.sender()]() mutable -> task<> {
      co_await yield();
      EXPECT_TRUE(to.send(7));
    });
    EXPECT_FALSE(late.is_finished());
    EXPECT_EQ(co_await late.recv(), 7);
    co_await asked;
  });
}

task<> wait_and_send(event& go, oneshot_sender<int> to) {
  co_await go.wait();
  to.send(1);
}

TEST(oneshot, says_that_no_value_comes_when_the_sender_goes_or_is_cancelled) {
  block_on([]() -> task<> {
    oneshot<int> o;
    event never;
    auto asked = spawn(wait_and_send(never, o.sender()));
    co_await let_others_run();
    asked.abort();
    EXPECT_FALSE(co_await o.recv());
    EXPECT_TRUE(co_await was_cancelled(asked));
  });
}

TEST(oneshot, tells_the_sender_that_nobody_wants_the_value) {
  block_on([]() -> task<> {
    std::optional<oneshot_sender<int>> sender;
    {
      oneshot<int> o;
      sender.emplace(o.sender());
    }
    EXPECT_FALSE(sender->send(1));
    co_return;
  });
}

TEST(broadcast, every_receiver_gets_what_is_sent_after_it_came) {
  block_on([]() -> task<> {
    broadcast<int> b(8);
    broadcast<int>::receiver first(b);
    b.send(1);
    broadcast<int>::receiver second(b);
    auto read = [](broadcast<int>::receiver& from) -> task<std::string> {
      std::string out;
      while (auto item = co_await from.recv()) {
        out += std::to_string(item->value);
        EXPECT_EQ(item->missed, 0u);
      }
      co_return out;
    };
    auto a = spawn(read(first));
    auto z = spawn(read(second));
    co_await let_others_run();
    b.send(2);
    co_await let_others_run();
    b.send(3);
    b.send(4);
    b.close();
    EXPECT_FALSE(b.send(5));
    EXPECT_EQ(co_await a, "1234");
    EXPECT_EQ(co_await z, "234");
  });
}

TEST(broadcast, a_receiver_that_lags_is_told_how_much_it_missed) {
  block_on([]() -> task<> {
    broadcast<int> b(5);
    broadcast<int>::receiver r(b);
    b.send(0);
    auto item = co_await r.recv();
    for (int i = 1; i < 8; ++i) b.send(i);
    EXPECT_EQ(r.size(), 5u);
    item = co_await r.recv();
    EXPECT_EQ(item->value, 3);
    EXPECT_EQ(item->missed, 2u);
    item = co_await r.recv();
    EXPECT_EQ(item->value, 4);
    EXPECT_EQ(item->missed, 0u);
    auto waits = spawn([&]() -> task<> {
      for (int i = 5; i < 8; ++i) (void)co_await r.recv();
      auto late = co_await r.recv();
      EXPECT_EQ(late->value, 15) << "replaced between its wake-up and its turn";
      EXPECT_EQ(late->missed, 7u);
    });
    co_await let_others_run();
    for (int i = 8; i < 20; ++i) b.send(i);
    co_await waits;
  });
}

TEST(watch, gives_the_latest_value_and_waits_for_the_next) {
  block_on([]() -> task<> {
    watch<std::string> w("a");
    watch<std::string>::receiver r(w);
    EXPECT_FALSE(r.has_changed());
    EXPECT_EQ(r.get(), "a");
    std::string out;
    auto reader = spawn([&]() -> task<> {
      for (bool news = co_await r.changed(); news; news = co_await r.changed()) out += r.get();
    });
    co_await let_others_run();
    w.set("b");
    w.set("c");
    co_await let_others_run();
    w.set("d");
    w.close();
    co_await reader;
    EXPECT_EQ(out, "cd");
    EXPECT_EQ(w.get(), "d");
  });
}

TEST(channels, pass_items_without_allocating) {
  block_on([]() -> task<> {
    channel<int> bounded(4);
    channel<int> free(unbounded);
    broadcast<int> b(4);
    broadcast<int>::receiver from_b(b);
    watch<int> w(0);
    watch<int>::receiver from_w(w);
    auto send = [&]() -> task<> {
      for (int i = 0; i < 200; ++i) {
        co_await bounded.send(i);
        co_await free.send(i);
        b.send(i);
        w.set(i);
        oneshot<int> o;
        auto to = o.sender();
        to.send(i);
        (void)co_await o.recv();
      }
    };
    auto recv = [&]() -> task<> {
      for (int i = 0; i < 200; ++i) {
        (void)co_await bounded.recv();
        (void)co_await free.recv();
        (void)co_await from_b.recv();
        if (from_w.has_changed()) (void)co_await from_w.changed();
      }
    };
    // The first round fills the frame pool.
    for (int round = 0; round < 2; ++round) {
      const std::uint64_t before = heap_allocations();
      auto receiver = spawn(recv());
      auto sender = spawn(send());
      co_await sender;
      co_await receiver;
      if (round > 0) {
        EXPECT_EQ(heap_allocations(), before);
      }
    }
  });
}

void destroy_with_a_receiver() {
  block_on([]() -> task<> {
    auto c = std::make_unique<channel<int>>(1);
    auto waits = spawn([&c = *c]() -> task<> { (void)co_await c.recv(); });
    co_await let_others_run();
    c.reset();
  });
}
void destroy_with_a_receiver_on_its_way() {
  block_on([]() -> task<> {
    auto c = std::make_unique<channel<int>>(1);
    auto waits = spawn([&c = *c]() -> task<> { (void)co_await c.recv(); });
    co_await let_others_run();
    (void)c->try_send(1);
    c.reset();
  });
}
void destroy_with_a_sender(bool on_its_way, bool bounded) {
  block_on([=]() -> task<> {
    resources().emplace<unbounded_channels>(sizeof(int));
    auto c = bounded ? std::make_unique<channel<int>>(1) : std::make_unique<channel<int>>(unbounded);
    (void)c->try_send(1);
    auto waits = spawn([&c = *c]() -> task<> { (void)co_await c.send(2); });
    co_await let_others_run();
    if (on_its_way) (void)c->try_recv();
    c.reset();
  });
}
void send_twice() {
  block_on([]() -> task<> {
    oneshot<int> o;
    auto sender = o.sender();
    sender.send(1);
    sender.send(2);
    co_return;
  });
}
void destroy_a_broadcast_with_a_receiver() {
  block_on([]() -> task<> {
    auto b = std::make_unique<broadcast<int>>(1);
    broadcast<int>::receiver r(*b);
    b.reset();
    co_return;
  });
}

TEST(channel_death, misuse_names_what_is_wrong_and_the_task) {
  EXPECT_DEATH(destroy_with_a_receiver(), "must outlive their wait.*task \"");
  EXPECT_DEATH(destroy_with_a_receiver_on_its_way(), "outlive the receivers it has woken.*task \"");
  EXPECT_DEATH(destroy_with_a_sender(false, true), "outlive those who wait to send.*task \"");
  EXPECT_DEATH(destroy_with_a_sender(true, true), "outlive the senders it has woken.*task \"");
  EXPECT_DEATH(destroy_with_a_sender(false, false), "outlive those who wait to send.*task \"");
  EXPECT_DEATH(send_twice(), "one value.*task \"");
  EXPECT_DEATH(destroy_a_broadcast_with_a_receiver(), "must outlive its receivers.*task \"");
}

}  // namespace
}  // namespace skerry
