// SPDX-License-Identifier: Apache-2.0
/// What datagrams come to when the kernel refuses, has no buffers or cannot cut segments, and when more are to be sent
/// than go at a time: what is lost is told to whoever sent it, once, and nothing else is lost or doubled.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/datagram.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
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
using test_support::numbered_bytes;
using test_support::run_and_count;
using test_support::run_with;
using test_support::turn;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    co_await what;
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

/// What a receiver has got, and how often.
using tally = std::map<std::string, int>;

task<> receive_all(net::datagram_socket& from, tally& into) {
  while (std::optional<net::datagram> got = co_await from.receive()) ++into[std::string(got->text())];
}

task<int> error_of(task<> what) {
  try {
    co_await std::move(what);
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

// ---- every errno at every place ----

struct faulty_kind {
  const char* name;
  io_uring_op opcode;
  std::vector<int> told, unnoticed;
};

const faulty_kind kinds[] = {
    {"send",
     IORING_OP_SEND,
     {EPERM, ENETUNREACH, EHOSTUNREACH, ECONNREFUSED, EMSGSIZE, ENOBUFS, ENOMEM},
     {EINTR, EAGAIN}},
    {"receive", IORING_OP_RECVMSG, {ECONNREFUSED, ENOMEM}, {ENOBUFS, EINTR, EAGAIN}},
};

class datagram_faults : public testing::TestWithParam<std::tuple<faulty_kind, bool>> {};

INSTANTIATE_TEST_SUITE_P(kinds, datagram_faults, testing::Combine(testing::ValuesIn(kinds), testing::Bool()),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param).name) +
                                  (std::get<1>(row.param) ? "_in_blocks" : "_in_lent_buffers");
                         });

/// Five datagrams one by one, then twenty in a batch, to a socket of the same shard.
struct outcome {
  tally got;
  std::vector<int> told;
  int lost = 0;  ///< as their senders know
};

task<> converse(outcome& of, bool in_blocks) {
  net::datagram_options options;
  options.bytes_max = in_blocks ? 65535 : 0;
  net::datagram_socket server(loopback(), options);
  net::datagram_socket client(loopback());
  constexpr int single = 5, together = 20;
  const auto note = [&](int error) {
    if (error == 0) return;
    of.told.push_back(error);
    ++of.lost;
  };
  for (int i = 0; i < single; ++i) {
    const std::string text = std::to_string(i);
    note(co_await error_of(client.send(server.where(), text)));
  }
  std::vector<std::string> texts;
  for (int i = single; i < single + together; ++i) texts.push_back(std::to_string(i));
  std::vector<net::outgoing> batch;
  for (const std::string& each : texts) batch.push_back({server.where(), bytes_of(each)});
  note(co_await error_of(client.send_batch(batch)));
  for (int left = single + together - of.lost; left > 0;) {
    int error = 0;
    try {
      std::optional<net::datagram> got = co_await server.receive();
      ++of.got[std::string(got->text())];
      --left;
    } catch (const std::system_error& refused) {
      error = refused.code().value();
    }
    if (error != 0) of.told.push_back(error);
  }
  for (int i = 0; i < 8; ++i) co_await turn();
  for (net::datagram_socket* each : {&server, &client}) {
    try {
      EXPECT_FALSE(each->try_receive());
    } catch (const std::system_error& refused) {
      of.told.push_back(refused.code().value());  // of a receive behind the last datagram, or of the client's own
    }
  }
}

TEST_P(datagram_faults, at_every_place_lose_what_they_tell_of_and_nothing_else) {
  const auto& [kind, in_blocks] = GetParam();
  for (const bool is_told : {true, false}) {
    for (int error : is_told ? kind.told : kind.unnoticed) {
      for (std::uint64_t nth = 1; nth <= 30; ++nth) {
        SCOPED_TRACE(kind.name + (" " + std::to_string(nth) + ": ") + std::generic_category().message(error));
        outcome of;
        const bool struck = run_with(test_support::fail_nth(kind.opcode, nth, error),
                                     [&]() -> task<> { return converse(of, in_blocks); });
        EXPECT_TRUE(struck || nth > 1) << "a conversation has such operations";
        if (!struck) break;
        for (const auto& [text, times] : of.got) EXPECT_EQ(times, 1) << text;
        EXPECT_EQ(of.told, is_told ? std::vector<int>{error} : std::vector<int>());
        if (kind.opcode == IORING_OP_SEND) {
          EXPECT_EQ(of.lost, is_told ? 1 : 0);
        }
      }
    }
  }
}

// ---- more than go at a time ----

TEST(datagram_crowd, more_sends_than_go_at_a_time_wait_in_turn_and_each_is_done_once) {
  std::size_t at_rest = SIZE_MAX, most = 0;
  const fault_plan slow = [&](const submission& what, std::uint64_t) {
    fault planned;
    if (what.opcode != IORING_OP_SEND) return planned;
    planned.entries_late = 3;
    most = std::max<std::size_t>(most, this_shard().loop->kernel().in_flight() - at_rest);
    return planned;
  };
  run_with(slow, [&]() -> task<> {
    constexpr int crowd = 300, together = 200, given_up = 100;
    net::datagram_socket server(loopback());
    net::datagram_socket client(loopback());
    tally got;
    auto receiver = spawn(receive_all(server, got), "receiver");
    co_await turn();
    co_await turn();
    at_rest = this_shard().loop->kernel().in_flight();
    const net::address to = server.where();
    auto send = [&](std::string text) -> task<> { co_await client.send(to, text); };
    std::vector<join_handle<>> kept, aborted;
    for (int i = 0; i < crowd; ++i) {
      kept.push_back(spawn(send("one " + std::to_string(i))));
      if (i % 3 == 0) aborted.push_back(spawn(send("perhaps " + std::to_string(i))));
    }
    EXPECT_EQ(aborted.size(), std::size_t{given_up});
    std::vector<std::string> texts;
    for (int i = 0; i < together; ++i) texts.push_back("of a batch " + std::to_string(i));
    std::vector<net::outgoing> batch;
    for (const std::string& each : texts) batch.push_back({to, bytes_of(each)});
    auto send_all = [&]() -> task<> { co_await client.send_batch(batch); };
    kept.push_back(spawn(send_all(), "batch"));
    for (std::size_t i = 0; i < aborted.size(); ++i) {
      if (i % 10 == 0) co_await turn();
      aborted[i].abort();  // some have gone, some are with the kernel, most wait
    }
    for (join_handle<>& each : kept) co_await each;
    int cancelled = 0;
    for (join_handle<>& each : aborted) {
      const int error = co_await error_of(each);
      if (error == ECANCELED) ++cancelled;
    }
    co_await client.send(to, "last");
    while (got["last"] == 0) co_await turn();
    receiver.abort();
    EXPECT_EQ(co_await error_of(receiver), ECANCELED);
    EXPECT_GT(cancelled, 0);
    for (const auto& [text, times] : got) EXPECT_EQ(times, 1) << text;
    for (int i = 0; i < crowd; ++i) EXPECT_EQ(got["one " + std::to_string(i)], 1) << i;
    for (const std::string& each : texts) EXPECT_EQ(got[each], 1) << each;
  });
  EXPECT_EQ(most, net::datagram_socket::sends_max);
}

TEST(datagram_crowd, who_holds_all_buffers_of_the_shard_stops_receiving_until_one_is_back) {
  run_and_count([]() -> task<> {
    net::datagram_socket server(loopback());
    net::datagram_socket other(loopback());
    net::datagram_socket client(loopback());
    std::vector<net::datagram> held;
    int sent = 0;
    while (resource<buffer_pool>().stats().exhausted == 0) {
      co_await client.send(server.where(), std::to_string(sent++));
      co_await turn();
      while (std::optional<net::datagram> got = server.try_receive()) held.push_back(std::move(*got));
    }
    EXPECT_EQ(held.size(), buffer_pool::buffers_max);
    for (int i = 0; i < 20; ++i) co_await client.send(server.where(), std::to_string(sent++));
    for (int i = 0; i < 20; ++i) co_await client.send(other.where(), std::to_string(i));
    for (int i = 0; i < 8; ++i) co_await turn();
    EXPECT_FALSE(server.try_receive());
    EXPECT_FALSE(other.try_receive());
    // One buffer is enough for both to go on, if both give it back.
    auto expect = [](net::datagram_socket& from, int next, int end) -> task<> {
      for (; next < end; ++next) {
        std::optional<net::datagram> got = co_await from.receive();
        EXPECT_EQ(got->text(), std::to_string(next));
      }
    };
    auto first = spawn(expect(server, static_cast<int>(buffer_pool::buffers_max), sent));
    auto second = spawn(expect(other, 0, 20));
    held.pop_back();
    co_await first;
    co_await second;
  });
}

// ---- too long, and not to be cut ----

TEST(datagram_segments, that_the_device_cannot_cut_go_one_by_one_and_it_is_not_asked_again) {
  for (const std::uint64_t fails_at : {1u, 2u}) {
    std::uint64_t asked = 0;
    const fault_plan no_gso = [&](const submission& what, std::uint64_t) {
      fault planned;
      if (what.opcode != IORING_OP_SENDMSG) return planned;
      const auto* message = reinterpret_cast<const msghdr*>(what.addr);
      if (message->msg_controllen != 0 && ++asked >= fails_at) planned.error = EIO;
      return planned;
    };
    const bool struck = run_with(no_gso, [&]() -> task<> {
      net::datagram_socket server(loopback());
      net::datagram_socket client(loopback());
      if (!client.cuts_segments()) co_return;
      const std::string sent = numbered_bytes(120 * 1200 + 7);
      std::string got;
      std::size_t datagrams = 0;
      auto receive = [&]() -> task<> {
        while (got.size() < 2 * sent.size()) {
          std::optional<net::datagram> next = co_await server.receive();
          EXPECT_EQ(next->bytes().size(), ++datagrams % 121 != 0 ? 1200u : 7u);
          got += next->text();
        }
      };
      auto receiver = spawn(receive, "receiver");
      co_await client.send_segments(server.where(), bytes_of(sent), 1200);
      EXPECT_FALSE(client.cuts_segments());
      EXPECT_EQ(asked, fails_at);
      while (got.size() < sent.size()) co_await turn();
      co_await client.send_segments(server.where(), bytes_of(sent), 1200);
      EXPECT_EQ(asked, fails_at);
      co_await receiver;
      EXPECT_TRUE(got == sent + sent);
    });
    if (!struck) GTEST_SKIP() << "this kernel has no UDP_SEGMENT";
  }
}

TEST(datagram_segments, another_refusal_is_told_and_says_nothing_of_the_device) {
  const fault_plan refused = test_support::fail_nth(IORING_OP_SENDMSG, 1, ENOBUFS);
  run_with(refused, []() -> task<> {
    net::datagram_socket server(loopback());
    net::datagram_socket client(loopback());
    const bool cut_before = client.cuts_segments();
    const std::string sent = numbered_bytes(5000);
    EXPECT_EQ(co_await error_of(client.send_segments(server.where(), bytes_of(sent), 1000)), ENOBUFS);
    EXPECT_EQ(client.cuts_segments(), cut_before);
  });
}

TEST(datagram_segments, too_long_for_a_datagram_is_told_and_the_socket_goes_on) {
  run_and_count([]() -> task<> {
    for (const char* ip : {"127.0.0.1", "::1"}) {
      net::datagram_socket server(loopback(0, ip));
      net::datagram_socket client(loopback(0, ip));
      const std::string longest = numbered_bytes(65'535), longer = longest + "x";
      EXPECT_EQ(co_await error_of(client.send(server.where(), longer)), EMSGSIZE);
      EXPECT_EQ(co_await error_of(client.send_segments(server.where(), bytes_of(longer), 65'535)), EMSGSIZE);
      net::datagram_socket connected = net::datagram_socket::connected_to(server.where());
      EXPECT_EQ(co_await error_of(connected.send(longer)), EMSGSIZE);
      co_await client.send(server.where(), "a");
      co_await connected.send("b");
      std::optional<net::datagram> got = co_await server.receive();
      EXPECT_EQ(got->text(), "a");
      got = co_await server.receive();
      EXPECT_EQ(got->text(), "b");
    }
  });
}

}  // namespace
}  // namespace skerry
