// SPDX-License-Identifier: Apache-2.0
/// Sockets that send crowds of datagrams receive in turns, by polls and looks (net/detail/datagram_state.hpp): what
/// comes is the same, in the same order, whatever fails between, and who sends few is back to one standing receive.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/shards/host.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>
#include <support/fault_run.hpp>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <sys/socket.h>

namespace skerry {
namespace {

using test_support::fault;
using test_support::fault_plan;
using test_support::loopback;
using test_support::open_descriptors;
using test_support::quiet_options;
using test_support::run_and_count;
using test_support::run_shards;
using test_support::run_with;
using test_support::turn;

constexpr int crowd = 64;

bool is_look(const submission& what) {
  return what.opcode == IORING_OP_RECVMSG && (what.msg_flags & MSG_DONTWAIT) != 0;
}

/// Sends all of them; again where it is told of an earlier receive's refusal, for then nothing was sent.
task<> send_all(net::datagram_socket& from, std::span<const net::outgoing> batch, std::vector<int>& told) {
  while (true) {
    try {
      co_await from.send_batch(batch);
      co_return;
    } catch (const std::system_error& refused) {
      told.push_back(refused.code().value());
    }
  }
}

/// The next; nothing in a drain.
task<std::optional<net::datagram>> receive_one(net::datagram_socket& to, std::vector<int>& told) {
  while (true) {
    try {
      co_return co_await to.receive();
    } catch (const std::system_error& refused) {
      told.push_back(refused.code().value());
    }
  }
}

std::optional<net::datagram> try_receive(net::datagram_socket& to, std::vector<int>& told) {
  while (true) {
    try {
      return to.try_receive();
    } catch (const std::system_error& refused) {
      told.push_back(refused.code().value());
    }
  }
}

/// Numbers from `first` as texts, in one batch.
task<> send_numbers(net::datagram_socket& from, net::address to, int first, int count, std::vector<int>& told) {
  std::vector<std::string> texts;
  for (int i = first; i < first + count; ++i) texts.push_back(std::to_string(i));
  std::vector<net::outgoing> batch;
  for (const std::string& each : texts) batch.push_back({to, std::as_bytes(std::span(each))});
  co_await send_all(from, batch, told);
}

/// Numbers, which come in order from one sender; in a simulation, where a send may be interrupted, as they like.
task<> expect_numbers(net::datagram_socket& to, int first, int count, std::vector<int>& told) {
  std::vector<std::string> came, expected;
  for (int i = first; i < first + count; ++i) {
    std::optional<net::datagram> got = co_await receive_one(to, told);
    came.emplace_back(got->text());
    expected.push_back(std::to_string(i));
  }
  if (test_support::simulated()) {
    std::ranges::sort(came);
    std::ranges::sort(expected);
  }
  EXPECT_EQ(came, expected);
}

/// Sends what comes back, as many at a time as have come.
task<> echo(net::datagram_socket& socket, std::vector<int>& told) {
  while (std::optional<net::datagram> next = co_await receive_one(socket, told)) {
    std::vector<net::datagram> come;
    std::vector<net::outgoing> answers;
    for (; next; next = come.size() < crowd ? try_receive(socket, told) : std::nullopt)
      come.push_back(std::move(*next));
    for (const net::datagram& each : come) answers.push_back({each.from(), each.bytes()});
    co_await send_all(socket, answers, told);
  }
}

task<> end(join_handle<>& serving) {
  serving.abort();
  try {
    co_await serving;
  } catch (const std::system_error& aborted) {
    EXPECT_EQ(aborted.code().value(), ECANCELED);
  }
}

TEST(datagram_turns, are_for_those_who_send_crowds_and_lose_reorder_and_double_nothing) {
  int looks = 0, polls = 0, standing = 0;
  const fault_plan watch = [&](const submission& what, std::uint64_t) {
    looks += is_look(what);
    standing += what.opcode == IORING_OP_RECVMSG && !is_look(what);
    polls += what.opcode == IORING_OP_POLL_ADD;
    return fault();
  };
  run_with(watch, [&]() -> task<> {
    std::vector<int> told;
    net::datagram_socket server(loopback());
    net::datagram_socket client(loopback());
    auto serving = spawn(echo(server, told), "echo");
    int number = 0;
    const auto ask = [&](int count) -> task<> {
      co_await send_numbers(client, server.where(), number, count, told);
      co_await expect_numbers(client, number, count, told);
      number += count;
    };
    for (int i = 0; i < 10; ++i) co_await ask(1);
    EXPECT_EQ(looks + polls, 0) << "few at a time";
    for (int rounds = 1; rounds <= 2; ++rounds) {
      looks = polls = 0;
      for (int i = 0; i < 20; ++i) co_await ask(crowd);
      EXPECT_GE(looks, 2 * 20) << "both sides take all that comes by looks";
      EXPECT_GT(polls, 0) << "and wait for what is to come";
      for (int i = 0; i < 20; ++i) co_await ask(1);
      looks = polls = standing = 0;
      for (int i = 0; i < 20; ++i) co_await ask(1);
      EXPECT_EQ(looks + polls + standing, 0) << "a receive stands there for each";
    }
    EXPECT_EQ(told, std::vector<int>());
    EXPECT_EQ(client.stats().received, static_cast<std::uint64_t>(number));
    EXPECT_FALSE(client.try_receive());
    co_await end(serving);
  });
}

TEST(datagram_turns, take_what_comes_though_nobody_asks_for_it_up_to_the_pause) {
  run_and_count([]() -> task<> {
    std::vector<int> told;
    net::datagram_socket server(loopback());
    net::datagram_socket client(loopback());
    co_await send_numbers(server, client.where(), 0, crowd, told);  // from now on in turns
    co_await expect_numbers(client, 0, crowd, told);
    int sent = 0;
    for (int i = 0; i < 4; ++i, sent += crowd) {
      co_await send_numbers(client, server.where(), sent, crowd, told);
      const auto most =
          std::min<std::uint64_t>(static_cast<std::uint64_t>(sent + crowd), net::datagram_socket::pause_at);
      while (server.stats().received < most) co_await turn();
    }
    EXPECT_LE(server.stats().received, net::datagram_socket::unread_max);
    co_await expect_numbers(server, 0, sent, told);
    EXPECT_EQ(told, std::vector<int>());
    EXPECT_EQ(server.stats().dropped, 0u);
  });
}

TEST(datagram_turns, go_on_where_they_stopped_after_a_cancel_and_leave_nothing_behind) {
  run_and_count([]() -> task<> {
    for (int turns = 0; turns < 8; ++turns) {
      SCOPED_TRACE(turns);
      std::vector<int> told;
      net::datagram_socket server(loopback());
      net::datagram_socket client(loopback());
      co_await send_numbers(server, client.where(), 0, crowd, told);
      for (int i = 0; i < turns; ++i) co_await turn();  // the standing receive ends, a look, a poll
      auto waiting = spawn([&]() -> task<> { co_await server.receive(); });
      for (int i = 0; i < turns; ++i) co_await turn();
      co_await end(waiting);
      co_await send_numbers(client, server.where(), 0, crowd, told);
      co_await expect_numbers(server, 0, crowd, told);
      co_await expect_numbers(client, 0, crowd, told);
      // Dropped wherever they are, with what is unread.
      co_await send_numbers(server, client.where(), 0, crowd, told);
      co_await send_numbers(client, server.where(), 0, crowd, told);
      for (int i = 0; i < turns; ++i) co_await turn();
      EXPECT_EQ(told, std::vector<int>());
    }
  });
}

TEST(datagram_turns, end_in_a_drain_after_what_has_come) {
  const std::ptrdiff_t before = open_descriptors();
  for (int turns = 0; turns < 8; ++turns) {
    run_shards(quiet_options(1), [turns]() -> task<> {
      std::vector<int> told;
      net::datagram_socket server(loopback());
      net::datagram_socket client = net::datagram_socket::connected_to(server.where());
      co_await send_numbers(server, client.where(), 0, crowd, told);
      co_await send_numbers(client, net::address(), 0, crowd, told);
      while (server.stats().received < crowd) co_await turn();
      for (int i = 0; i < turns; ++i) co_await turn();
      this_shard().host->request_stop();
      co_await expect_numbers(server, 0, crowd, told);
      std::optional<net::datagram> got = co_await server.receive();
      EXPECT_FALSE(got);
      co_await expect_numbers(client, 0, crowd, told);  // who asks others still may
      EXPECT_EQ(told, std::vector<int>());
    });
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(datagram_turns, wait_for_a_buffer_where_the_shard_has_none) {
  run_and_count([]() -> task<> {
    std::vector<int> told;
    net::datagram_socket server(loopback());
    net::datagram_socket hoarder(loopback());
    net::datagram_socket client(loopback());
    co_await send_numbers(server, client.where(), 0, crowd, told);
    co_await expect_numbers(client, 0, crowd, told);
    std::vector<net::datagram> held;
    while (resource<buffer_pool>().stats().exhausted == 0) {
      co_await client.send(hoarder.where(), "kept");
      co_await turn();
      while (std::optional<net::datagram> got = hoarder.try_receive()) held.push_back(std::move(*got));
    }
    const std::uint64_t exhausted = resource<buffer_pool>().stats().exhausted;
    co_await send_numbers(client, server.where(), 0, crowd, told);
    while (resource<buffer_pool>().stats().exhausted == exhausted) co_await turn();
    EXPECT_FALSE(server.try_receive());
    held.pop_back();  // the hoarder waits longer, for one datagram
    held.pop_back();
    co_await expect_numbers(server, 0, crowd, told);
    EXPECT_EQ(told, std::vector<int>());
  });
}

TEST(datagram_turns, hear_once_of_each_refusal_and_lose_nothing_by_it) {
  struct strike {
    const char* name;
    bool poll;
    std::vector<int> told, unnoticed;
  };
  const strike strikes[] = {{"poll", true, {ENOMEM}, {EINTR, EAGAIN}},
                            {"look", false, {ENOMEM}, {ENOBUFS, EINTR, EAGAIN}}};
  for (const strike& each : strikes) {
    for (const bool is_told : {true, false}) {
      for (const int error : is_told ? each.told : each.unnoticed) {
        for (std::uint64_t nth = 1; nth <= 12; ++nth) {
          SCOPED_TRACE(each.name + (" " + std::to_string(nth) + ": ") + std::generic_category().message(error));
          std::uint64_t seen = 0;
          const fault_plan strike_nth = [&](const submission& what, std::uint64_t) {
            fault planned;
            const bool hit = each.poll ? what.opcode == IORING_OP_POLL_ADD : is_look(what);
            if (hit && ++seen == nth) planned.error = error;
            return planned;
          };
          std::vector<int> told;
          const bool struck = run_with(strike_nth, [&]() -> task<> {
            net::datagram_socket server(loopback());
            net::datagram_socket client(loopback());
            auto serving = spawn(echo(server, told), "echo");
            for (int first = 0; first < 6 * crowd; first += crowd) {
              co_await send_numbers(client, server.where(), first, crowd, told);
              co_await expect_numbers(client, first, crowd, told);
            }
            for (int i = 0; i < 8; ++i) co_await turn();
            EXPECT_FALSE(try_receive(client, told));
            EXPECT_FALSE(try_receive(server, told));
            co_await end(serving);
          });
          EXPECT_TRUE(struck || nth > 1) << "a conversation has such operations";
          if (!struck) break;
          EXPECT_EQ(told, is_told ? std::vector<int>{error} : std::vector<int>());
        }
      }
    }
  }
}

}  // namespace
}  // namespace skerry
