// SPDX-License-Identifier: Apache-2.0
// Simulated datagrams with the shipped UDP API: what comes, what is lost, what comes twice and in another order.
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

sim::options with(std::uint64_t seed) {
  sim::options o;
  o.seed = seed;
  o.steps_max = 2'000'000;
  return o;
}

net::address at(const std::string& ip, std::uint16_t port = 0) { return *net::address::parse(ip, port); }
net::address own(std::uint16_t port = 0) { return at("127.0.0.1", port); }
std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    if constexpr (requires { what.await_ready(); }) {
      co_await what;
    } else {
      co_await std::forward<Awaitable>(what);
    }
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

task<> echo_all() {
  net::datagram_socket s(at("0.0.0.0", 7777));
  while (true) {
    const std::optional<net::datagram> got = co_await s.receive();
    if (!got) co_return;
    co_await error_of(s.send(got->from(), got->bytes()));
  }
}

/// What of so many numbered datagrams a host gets from another.
struct arrived {
  std::map<int, int> times;
  int out_of_order = 0;
};

arrived send_numbered(const sim::options& o, int count) {
  arrived all;
  const sim::report ended = sim::run(o, [&]() -> task<> {
    sim::host_handle receiver = sim::host("receiver");
    receiver.start([&all]() -> task<> {
      net::datagram_socket s(at("0.0.0.0", 7777));
      int last = -1;
      while (true) {
        const std::optional<net::datagram> got = co_await s.receive();
        if (!got) co_return;
        const int number = std::stoi(std::string(got->text()));
        ++all.times[number];
        if (number < last) ++all.out_of_order;
        last = number;
      }
    });
    co_await sleep_for(10ms);
    net::datagram_socket s(at("0.0.0.0"));
    for (int i = 0; i < count; ++i) {
      co_await s.send(at(receiver.ip(), 7777), std::to_string(i));
      if (i % 100 == 0) co_await sleep_for(1ms);  // no queue gets full
    }
    co_await sleep_for(1s);
    receiver.crash();
  });
  EXPECT_EQ(ended.violation, "");
  return all;
}

TEST(sim_datagram, between_hosts_comes_once_and_in_any_order) {
  const arrived all = send_numbered(with(1), 500);
  EXPECT_EQ(all.times.size(), 500u);
  EXPECT_TRUE(std::ranges::all_of(all.times, [](const auto& each) { return each.second == 1; }));
  EXPECT_GT(all.out_of_order, 10);
}

TEST(sim_datagram, is_lost_and_doubled_as_often_as_the_options_say) {
  sim::options o = with(2);
  o.network.datagram_lost = 0.2;
  o.network.datagram_twice = 0.1;
  o.network.datagram_late = 0.05;
  const arrived all = send_numbered(o, 2'000);
  const auto twice = std::ranges::count_if(all.times, [](const auto& each) { return each.second == 2; });
  EXPECT_NEAR(static_cast<double>(all.times.size()), 1'600, 100);
  EXPECT_NEAR(static_cast<double>(twice), 160, 50);
  EXPECT_TRUE(std::ranges::all_of(all.times, [](const auto& each) { return each.second <= 2; }));
}

task<> within_a_host() {
  net::datagram_socket server(own());
  net::datagram_socket client(own());
  EXPECT_FALSE(client.cuts_segments());
  // In turn, in crowds (for which the socket receives in turns), cut into segments, empty, too long.
  for (int i = 0; i < 20; ++i) {
    co_await client.send(server.where(), "turn " + std::to_string(i));
    const std::optional<net::datagram> got = co_await server.receive();
    EXPECT_EQ(got->text(), "turn " + std::to_string(i));
    EXPECT_EQ(got->from().text(), client.where().text());
  }
  for (int round = 0; round < 5; ++round) {
    std::vector<std::string> texts;
    std::vector<net::outgoing> batch;
    for (int i = 0; i < 60; ++i) texts.push_back("crowd " + std::to_string(i));
    for (const std::string& each : texts) batch.push_back({client.where(), bytes_of(each)});
    co_await server.send_batch(batch);
    for (const std::string& each : texts) {
      const std::optional<net::datagram> got = co_await client.receive();
      EXPECT_EQ(got->text(), each);
      co_await server.send(server.where(), got->bytes());  // so that both have something to do
      const std::optional<net::datagram> back = co_await server.receive();
      EXPECT_EQ(back->text(), each);
    }
  }
  const std::string segments(1'207, 's');
  co_await client.send_segments(server.where(), bytes_of(segments), 100);
  for (int i = 0; i < 13; ++i) {
    const std::optional<net::datagram> got = co_await server.receive();
    EXPECT_EQ(got->bytes().size(), i < 12 ? 100u : 7u);
  }
  co_await client.send(server.where(), "");
  const std::optional<net::datagram> empty = co_await server.receive();
  EXPECT_TRUE(empty->bytes().empty());
  const std::string wide(20'000, 'w');
  co_await client.send(server.where(), wide);
  const std::optional<net::datagram> cut = co_await server.receive();
  EXPECT_TRUE(cut->truncated());
  EXPECT_EQ(cut->full_size(), wide.size());
  EXPECT_EQ(cut->text(), wide.substr(0, net::datagram_socket::lent_bytes_max));
  net::datagram_options in_blocks;
  in_blocks.coalesced = true;
  net::datagram_socket block(own(), in_blocks);
  EXPECT_FALSE(block.coalesces());
  co_await client.send(block.where(), wide);
  const std::optional<net::datagram> whole = co_await block.receive();
  EXPECT_EQ(whole->text(), wide);
  EXPECT_EQ(whole->from().text(), client.where().text());
  const std::string huge(70'000, 'h');
  EXPECT_EQ(co_await error_of(client.send(server.where(), huge)), EMSGSIZE);
}

TEST(sim_datagram, within_a_host_comes_in_order_whatever_the_kernel_breaks_off) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    sim::options o = with(seed);
    o.network.datagram_lost = o.network.datagram_twice = o.network.datagram_late = 0.5;  // not here
    o.system.ended_multishot = 0.1;
    o.system.late_completion = 0.1;
    ASSERT_EQ(sim::run(o, within_a_host).violation, "") << "seed " << seed;
  }
}

TEST(sim_datagram, to_a_port_that_nobody_has_is_told_to_a_connected_sender_once) {
  const sim::report ended = sim::run(with(4), []() -> task<> {
    sim::host_handle other = sim::host("other");
    other.start([]() -> task<> { co_await sleep_for(1h); });
    net::datagram_socket client = net::datagram_socket::connected_to(at(other.ip(), 9));
    EXPECT_EQ(co_await error_of(client.send("anybody?")), 0);
    EXPECT_EQ(co_await error_of(client.receive()), ECONNREFUSED);
    net::datagram_socket stranger(at("0.0.0.0"));
    co_await stranger.send(at(other.ip(), 9), "anybody?");  // who is not connected hears nothing
    EXPECT_EQ(co_await error_of(with_timeout(1s, stranger.receive())), ETIMEDOUT);
    // A host that is off says nothing either.
    other.crash();
    co_await other.ended();
    EXPECT_EQ(co_await error_of(client.send("anybody?")), 0);
    EXPECT_EQ(co_await error_of(with_timeout(1s, client.receive())), ETIMEDOUT);
    other.start(echo_all);
    co_await sleep_for(10ms);
    sim::partition({"test"}, {"other"}, true);
    client = net::datagram_socket::connected_to(at(other.ip(), 7777));
    EXPECT_EQ(co_await error_of(client.send("lost")), 0);
    EXPECT_EQ(co_await error_of(with_timeout(1s, client.receive())), ETIMEDOUT);
    sim::heal();
    co_await client.send("back");
    const std::optional<net::datagram> got = co_await client.receive();
    EXPECT_EQ(got->text(), "back");
    EXPECT_EQ(got->from().text(), at(other.ip(), 7777).text());
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim_datagram, ports_are_taken_and_free_again) {
  const sim::report ended = sim::run(with(5), []() -> task<> {
    std::optional<net::datagram_socket> one(own());
    const net::address where = one->where();
    EXPECT_NE(where.port(), 0);
    EXPECT_THROW(net::datagram_socket{where}, std::system_error);
    EXPECT_THROW(net::datagram_socket(at("10.9.9.9")), std::system_error);
    one.reset();
    for (bool taken = true; taken;) {
      co_await sleep_for(1ms);  // it is closed by an operation
      try {
        const net::datagram_socket again(where);
        taken = false;
      } catch (const std::system_error& refused) {
        EXPECT_EQ(refused.code().value(), EADDRINUSE);
      }
    }
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim_datagram, floods_are_bounded) {
  const sim::report ended = sim::run(with(6), []() -> task<> {
    net::datagram_socket server(own());
    server.set(net::receive_buffer{4096});
    net::datagram_socket client(own());
    for (int i = 0; i < 1'000; ++i) co_await client.send(server.where(), std::to_string(i));
    co_await sleep_for(10ms);
    int received = 0;
    while (server.try_receive()) {
      ++received;
      co_await sleep_for(1ms);
    }
    EXPECT_GE(received, static_cast<int>(net::datagram_socket::pause_at));
    EXPECT_LT(received, 300);
    co_await client.send(server.where(), "last");
    const std::optional<net::datagram> got = co_await server.receive();
    EXPECT_EQ(got->text(), "last");
  });
  EXPECT_EQ(ended.violation, "");
}

constexpr auto say_your_shard = [](net::datagram_socket s) -> task<> {
  while (true) {
    const std::optional<net::datagram> got = co_await s.receive();
    if (!got) co_return;
    co_await s.send(got->from(), std::to_string(this_shard_id()));
  }
};

TEST(sim_datagram, every_shard_has_its_share_of_a_port_and_keeps_its_senders) {
  const sim::report ended = sim::run(with(7), []() -> task<> {
    sim::host_handle server = sim::host("server", 3);
    server.start([]() -> task<> { co_await net::bind_on_all_shards(at("0.0.0.0", 7777), say_your_shard); });
    co_await sleep_for(50ms);
    std::set<std::string> shards;
    for (int i = 0; i < 30; ++i) {
      net::datagram_socket client = net::datagram_socket::connected_to(at(server.ip(), 7777));
      std::set<std::string> answers;
      for (int again = 0; again < 3; ++again) {
        co_await client.send("who?");
        const std::optional<net::datagram> got = co_await client.receive();
        answers.emplace(got->text());
      }
      EXPECT_EQ(answers.size(), 1u);
      shards.merge(answers);
    }
    EXPECT_EQ(shards.size(), 3u);
    server.stop();  // a drain ends them
    co_await server.ended();
  });
  EXPECT_EQ(ended.violation, "");
}

/// Asks until it is answered, over whatever network.
task<> ask_all(const net::address to, int questions, int& answered) {
  for (int i = 0; i < questions; ++i) {
    const std::string question = "question " + std::to_string(i);
    for (bool done = false; !done;) {
      try {
        net::datagram_socket s = net::datagram_socket::connected_to(to);
        co_await s.send(question);
        const std::optional<net::datagram> got = co_await with_timeout(100ms, s.receive());
        if (got->text() != question) sim::fail("an answer to a question that was not asked");
        done = true;
      } catch (const std::system_error&) {
        // Lost, refused, or the system had no room.
      }
      if (!done) co_await sleep_for(1ms);
    }
    ++answered;
  }
}

TEST(sim_datagram, who_asks_again_is_answered_through_every_fault_and_crash_and_a_seed_repeats) {
  const auto once = [](std::uint64_t seed) {
    sim::options o = with(seed);
    o.all_faults();
    o.network.datagram_lost = 0.1;
    int answered = 0;
    const sim::report ended = sim::run(o, [&answered]() -> task<> {
      sim::host_handle server = sim::host("server");
      const auto serve = []() -> task<> {
        while (true) {
          co_await error_of(echo_all());
          co_await sleep_for(1ms);
        }
      };
      server.start(serve);
      join_handle<void> asking = spawn(ask_all(at(server.ip(), 7777), 40, answered), "ask");
      for (int i = 0; i < 3; ++i) {
        co_await sleep_for(std::chrono::milliseconds(sim::draw(40)));
        server.crash();
        co_await server.ended();
        server.start(serve);
      }
      co_await std::move(asking);
    });
    EXPECT_EQ(ended.violation, "") << "seed " << seed;
    EXPECT_EQ(answered, 40);
    return ended;
  };
  for (std::uint64_t seed = 1; seed <= 200; ++seed) once(seed);
  EXPECT_EQ(once(9).trace_hash, once(9).trace_hash);
  EXPECT_NE(once(9).trace_hash, once(10).trace_hash);
}

}  // namespace
