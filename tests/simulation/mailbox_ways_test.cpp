// SPDX-License-Identifier: Apache-2.0
// Every way in which two shards can take turns while they call each other through queues of one entry, up to a number
// of preemptions: calls that cross, more than a queue holds, a call that is given up, a connection that moves, a stop.
// All come to their end, once, and in the order they were sent.
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/process/shutdown.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/campaign.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/toolkit/channel/shard_channel.hpp>

#include <cstdint>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace skerry;

/// What ran where, in order; one thread runs both shards.
std::vector<int> ran_on[2];

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned preemptions_max = 4;
#else
constexpr unsigned preemptions_max = 8;
#endif
constexpr auto run_number = [](int number) {
  ran_on[this_shard_id()].push_back(number);
  return number * 2;
};

task<> call(shard_id to, int number) {
  const int back = co_await submit_to(to, run_number, number);
  if (back != number * 2) sim::fail("another call's result came back");
}

void forget_runs() {
  for (std::vector<int>& each : ran_on) each.clear();
}

void expect_every_way_works(const std::function<task<>()>& fn, unsigned preemptions = preemptions_max) {
  sim::options o;
  o.shards = 2;
  o.settings = [](app_options& settings) { settings.mailbox_capacity = 1; };
  const sim::exploration all = sim::explore(o, preemptions, 1'000'000, fn);
  std::cout << all.runs << " ways to take turns, up to " << preemptions << " preemptions\n";
  EXPECT_EQ(all.first_violation.violation, "");
  EXPECT_TRUE(all.complete);
  EXPECT_GT(all.runs, 30u);
}

TEST(mailbox_ways, calls_cross_and_both_return) {
  expect_every_way_works([]() -> task<> {
    forget_runs();
    const sim::exploring here;
    const auto back = []() -> task<> { return call(0, 2); };
    co_await when_all(call(1, 1), submit_to(1, back));
    if (ran_on[1] != std::vector{1} || ran_on[0] != std::vector{2}) sim::fail("a call was lost or ran twice");
  });
}

TEST(mailbox_ways, more_calls_than_the_queue_holds_run_once_and_in_order) {
  expect_every_way_works([]() -> task<> {
    forget_runs();
    const sim::exploring here;
    co_await when_all(call(1, 1), call(1, 2), call(1, 3));
    if (ran_on[1] != std::vector{1, 2, 3}) sim::fail("a call was lost, ran twice or out of order");
  });
}

int inside = 0;

task<> wait_for_ever() {
  struct counted {
    counted() { ++inside; }
    ~counted() { --inside; }
  };
  const counted here;
  event never("never");
  co_await never.wait();
}

TEST(mailbox_ways, a_call_that_is_given_up_ends_wherever_it_is) {
  expect_every_way_works([]() -> task<> {
    forget_runs();
    inside = 0;
    const sim::exploring here;
    const auto ask = []() -> task<> { co_await submit_to(1, [] { return wait_for_ever(); }); };
    join_handle<void> given_up = spawn(ask(), "given up");
    co_await call(1, 1);
    given_up.abort();
    bool cancelled = false;
    try {
      co_await given_up;
    } catch (const std::system_error&) {
      cancelled = true;
    }
    if (!cancelled || inside != 0) sim::fail("a caller went on while its handler was there");
    co_await call(1, 2);
    if (ran_on[1] != std::vector{1, 2}) sim::fail("a call was lost or ran twice");
  });
}

constexpr auto send_three = [](channel_sender<int> to) -> task<int> {
  int sent = 0;
  for (int n = 1; n <= 3; ++n) {
    const bool taken = co_await to.send(n);
    sent += taken;
  }
  co_return sent;
};

task<int> send_from_1(channel_sender<int> to) { co_return co_await submit_to(1, send_three, std::move(to)); }

TEST(mailbox_ways, a_channel_with_one_place_carries_three_items_and_the_end) {
  expect_every_way_works([]() -> task<> {
    const sim::exploring here;
    spsc_channel<int> numbers(1);
    auto sending = spawn(send_from_1(numbers.sender()));
    int received = 0;
    while (const auto n = co_await numbers.recv()) {
      if (*n != ++received) sim::fail("an item came out of order");
    }
    if (received != 3) sim::fail("not all came before the end");
    const int sent = co_await sending;
    if (sent != 3) sim::fail("an open channel declined");
  });
}

TEST(mailbox_ways, a_channel_that_its_receiver_closes_lets_its_sender_go) {
  expect_every_way_works([]() -> task<> {
    const sim::exploring here;
    spsc_channel<int> numbers(1);
    auto sending = spawn(send_from_1(numbers.sender()));
    const auto first = co_await numbers.recv();
    if (first != 1) sim::fail("the first item is not the first");
    numbers.close();
    const int sent = co_await sending;
    if (sent == 0) sim::fail("what was received was not sent");
  });
}

// --- a connection ---

std::string received;

task<> receive_there(net::stream connection) {
  while (true) {
    const buffer bytes = co_await connection.read();
    if (bytes.empty()) break;
    received.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  connection.shutdown_output();
}
constexpr auto receive_moved = [](net::stream connection) { return receive_there(std::move(connection)); };

TEST(mailbox_ways, a_connection_that_moves_takes_along_what_came_and_misses_nothing_that_comes) {
  const auto move_between_bytes = []() -> task<> {
    received.clear();
    net::listener listening(*net::address::parse("127.0.0.1", 7000));
    net::stream client = co_await net::connect(listening.where());
    std::optional<net::stream> server = co_await listening.accept();
    const sim::exploring here;
    const auto send = [&client]() -> task<> {
      co_await client.write("ab");
      co_await yield();
      co_await client.write("cd");
      client.shutdown_output();
    };
    auto sending = spawn(send());
    co_await server->readable();
    co_await std::move(*server).move_to(1, receive_moved);
    co_await sending;
    const buffer end = co_await client.read();
    if (!end.empty() || received != "abcd") sim::fail("bytes were lost");
  };
  expect_every_way_works(move_between_bytes);
}

// --- a drain ---

bool drained = false;

task<> call_both_ways_until_told_to_stop() {
  const sim::exploring here;
  const auto back = []() -> task<> { return call(0, 2); };
  const auto stop = [] { sim::host("server").stop(); };
  const auto calls = [=]() -> task<> { co_await when_all(submit_to(1, stop), call(1, 1), submit_to(1, back)); };
  auto calling = spawn(calls());
  const net::shutdown_hold stopping = co_await net::shutdown_signal();
  co_await calling;
  drained = true;
}

TEST(mailbox_ways, a_stop_waits_for_calls_on_their_way) {
  const auto stop_and_drain = []() -> task<> {
    forget_runs();
    drained = false;
    sim::host_handle server = sim::host("server", 2);
    server.settings().mailbox_capacity = 1;
    server.start(call_both_ways_until_told_to_stop);
    co_await server.ended();
    if (!drained) sim::fail("main did not hear of the stop");
    if (ran_on[1] != std::vector{1} || ran_on[0] != std::vector{2}) sim::fail("a call was lost or ran twice");
  };
  expect_every_way_works(stop_and_drain, preemptions_max / 2 + 1);  // with eight there are 558 592 ways, and all work
}

}  // namespace
