// SPDX-License-Identifier: Apache-2.0
#pragma once

/// toolkit_wait_cases: something to wait for of every kind that `toolkit` has, for the matrix that cancels it.

#include <skerry/toolkit/channel/shard_channel.hpp>
#include <skerry/toolkit/generator/for_each.hpp>
#include <skerry/toolkit/generator/generator.hpp>
#include <skerry/toolkit/time/interval.hpp>
#include <skerry/toolkit/time/precise_sleep.hpp>

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <support/channel_cases.hpp>
#include <support/wait_cases.hpp>

namespace skerry::test_support::waits {

struct of_channel_recv : of_sync<channel_recv_case> {};
struct of_channel_end : of_sync<channel_end_case> {};
struct of_channel_send : of_sync<channel_send_case> {};
struct of_channel_refuse : of_sync<channel_refuse_case> {};
struct of_unbounded_send : of_sync<unbounded_send_case> {};
struct of_oneshot : of_sync<oneshot_case> {};
struct of_broadcast : of_sync<broadcast_case> {};
struct of_watch : of_sync<watch_case> {};

struct for_each : inner {
  const std::vector<int> two{1, 2};
  task<> wait() {
    auto second_waits = [this](int n) -> task<> {
      if (n == 2) co_await event.wait();
    };
    co_await parallel_for_each(two, second_waits);
  }
};

struct mapped : for_each {
  task<> wait() {
    auto fn = [this](int n) -> task<int> {
      if (n == 2) co_await event.wait();
      co_return n;
    };
    co_await map(two, 1, fn);
  }
};

struct reduced : for_each {
  task<> wait() {
    auto fn = [this](int n) -> task<int> {
      if (n == 2) co_await event.wait();
      co_return n;
    };
    co_await reduce(two, 2, fn, 0, std::plus<>());
  }
};

struct generated : inner {
  generator<int> items = make();
  generator<int> make() {
    co_await event.wait();
    co_yield 1;
  }
  auto wait() { return items.next(); }
};

struct iterated : generated {
  task<> wait() {
    for (auto it = co_await items.begin(); it != items.end(); co_await ++it) co_await yield();
  }
};

struct shard_channel_recv : usual {
  static constexpr unsigned shards = 2;
  mpsc_channel<int> items{4};
  task<> prepare() {
    auto keep = [](channel_sender<int> to) { resources().emplace<channel_sender<int>>(std::move(to)); };
    co_await submit_to(1, keep, items.sender());
  }
  auto wait() { return items.recv(); }
  static task<> send() {
    co_await submit_to(1, [] { EXPECT_TRUE(resource<channel_sender<int>>().try_send(1)); });
  }
  void serve() { spawn(send()); }
};

struct shard_channel_send : usual {
  static constexpr unsigned shards = 2;
  std::optional<channel_sender<int>> to;
  task<> prepare() {
    auto make = [] { return resources().emplace<mpsc_channel<int>>(1).sender(); };
    to.emplace(co_await submit_to(1, make));
    EXPECT_TRUE(to->try_send(0));
  }
  auto wait() { return to->send(1); }
  static task<> receive() {
    auto one = []() -> task<> { co_await resource<mpsc_channel<int>>().recv(); };
    co_await submit_to(1, one);
  }
  void serve() { spawn(receive()); }
};

struct tick : in_time {
  interval hourly{1h};
  auto wait() { return hourly.tick(); }
};

struct every_hour : in_time {
  static constexpr bool forgets = true;
  struct came {};
  task<> wait() {
    auto end = [] { throw came{}; };
    try {
      co_await every(1h, end);
    } catch (came) {
    }
  }
};

struct precisely : usual {
  static constexpr bool by_itself = true;
  auto wait() { return precise_sleep_for(200us); }
  void serve() {}
};

}  // namespace skerry::test_support::waits
