// SPDX-License-Identifier: Apache-2.0
// The simulator itself: time, turns, messages, connections, crashes, and that a seed repeats.
#include <skerry/framework/io/readiness.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

sim::options with(std::uint64_t seed, unsigned shards = 1) {
  sim::options o;
  o.seed = seed;
  o.shards = shards;
  return o;
}

std::vector<bool> provoked(std::uint64_t seed) {
  std::vector<bool> drawn;
  const sim::report ended = sim::run(with(seed), [&]() -> task<> {
    for (int n = 0; n < 100; ++n) drawn.push_back(sim::buggify(0.5));
    for (int n = 0; n < 100; ++n) {
      EXPECT_FALSE(sim::buggify(0));
      EXPECT_TRUE(sim::buggify(1));
    }
    co_return;
  });
  EXPECT_EQ(ended.violation, "");
  return drawn;
}

TEST(sim, buggify_provokes_as_often_as_it_is_told_by_the_seed_and_never_outside) {
  const std::vector<bool> drawn = provoked(1);
  const auto times = std::ranges::count(drawn, true);
  EXPECT_GT(times, 20);
  EXPECT_LT(times, 80);
  EXPECT_EQ(provoked(1), drawn);
  EXPECT_NE(provoked(2), drawn);
  EXPECT_FALSE(sim::buggify(1));
}

TEST(sim, time_jumps_to_what_is_next) {
  clock::duration slept{};
  const sim::report ended = sim::run(with(1), [&]() -> task<> {
    const clock::time_point begun = clock::now();
    co_await sleep_for(24h);
    slept = clock::now() - begun;
  });
  EXPECT_EQ(ended.violation, "");
  EXPECT_GE(slept, 24h);
  EXPECT_LT(ended.steps, 1000u);
}

TEST(sim, a_call_to_another_shard_comes_back) {
  int answer = 0;
  const sim::report ended = sim::run(with(2, 4), [&]() -> task<> {
    for (shard_id s = 0; s < shard_count(); ++s)
      answer += co_await submit_to(s, [] { return static_cast<int>(this_shard_id()) + 1; });
  });
  EXPECT_EQ(ended.violation, "");
  EXPECT_EQ(answer, 10);
}

task<> echo(net::stream s) {
  while (true) {
    buffer got = co_await s.read();
    if (got.empty()) co_return;
    co_await s.write(std::span(got.begin(), got.size()));
  }
}

task<> echo_all() {
  net::listener doors(*net::address::parse("0.0.0.0", 7777));
  while (true) {
    std::optional<net::stream> come = co_await doors.accept();
    if (!come) co_return;
    spawn(echo(std::move(*come)), "echo");
  }
}

TEST(sim, hosts_talk) {
  std::string back;
  const sim::report ended = sim::run(with(3), [&]() -> task<> {
    sim::host_handle server = sim::host("server");
    server.start(echo_all);
    co_await sleep_for(10ms);
    net::stream s = co_await net::connect(*net::address::parse(server.ip(), 7777));
    const std::string text = "hello";
    co_await s.write(std::as_bytes(std::span(text)));
    while (back.size() < text.size()) {
      buffer got = co_await s.read();
      back.append(reinterpret_cast<const char*>(got.data()), got.size());
    }
    server.crash();
    co_await server.ended();
  });
  EXPECT_EQ(ended.violation, "");
  EXPECT_EQ(back, "hello");
}

TEST(sim, a_host_that_is_ended_before_it_began_has_ended) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    int begun = 0;
    const sim::report ended = sim::run(with(seed), [&]() -> task<> {
      const auto begin = [&begun]() -> task<> {
        ++begun;
        co_return;
      };
      sim::host_handle other = sim::host("other");
      other.start(begin);
      other.stop();
      co_await other.ended();
      other.start(begin);
      other.crash();
      co_await other.ended();
    });
    EXPECT_EQ(ended.violation, "");
    EXPECT_LE(begun, 2);
  }
}

TEST(sim, time_that_is_skipped_is_over_for_everybody) {
  const sim::report ended = sim::run(with(4), []() -> task<> {
    sim::host_handle other = sim::host("other");
    bool over = false;
    const auto sleep_there = [&over]() -> task<> {
      co_await sleep_for(1h);
      over = true;
    };
    other.start(sleep_there, true);
    co_await sleep_for(1ms);
    const clock::time_point before = clock::now();
    sim::skip(2h);
    EXPECT_GE(clock::read() - before, 2h);
    co_await sleep_for(1ms);
    EXPECT_TRUE(over);
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim, plain_calls_talk_to_streams_and_those_that_may_not_wait_do_not) {
  const sim::report ended = sim::run(with(5), []() -> task<> {
    net::listener doors(*net::address::parse("127.0.0.1", 7777));
    const auto connect_to = [](const net::address& there) {
      net::unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      const int error = ::connect(made.get(), there.data(), there.size()) == 0 ? 0 : errno;
      return std::pair(std::move(made), error);
    };
    const auto [nowhere, begun] = connect_to(*net::address::parse("127.0.0.1", 7778));
    EXPECT_EQ(begun, EINPROGRESS);
    co_await writable(nowhere.get());
    int refused = 0;
    socklen_t size = sizeof refused;
    EXPECT_EQ(::getsockopt(nowhere.get(), SOL_SOCKET, SO_ERROR, &refused, &size), 0);
    EXPECT_EQ(refused, ECONNREFUSED);
    const auto [here, error] = connect_to(doors.where());
    EXPECT_EQ(error, EINPROGRESS);
    co_await writable(here.get());
    char byte = 0;
    EXPECT_EQ(::recv(here.get(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, EAGAIN);
    std::optional<net::stream> there = co_await doors.accept();
    EXPECT_EQ(::send(here.get(), "x", 1, MSG_NOSIGNAL), 1);
    const buffer got = co_await there->read();
    EXPECT_EQ(got.size(), 1u);
    co_await there->write("y");
    co_await readable(here.get());
    EXPECT_EQ(::recv(here.get(), &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'y');
    const std::string much(1 << 20, 'z');
    EXPECT_EQ(::send(here.get(), much.data(), much.size(), MSG_NOSIGNAL), 256 * 1024) << "what a socket holds";
    EXPECT_EQ(::send(here.get(), "x", 1, MSG_NOSIGNAL), -1);
    EXPECT_EQ(errno, EAGAIN);
    there.reset();
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim, a_seed_repeats) {
  const auto once = [](std::uint64_t seed) {
    return sim::run(with(seed, 3), []() -> task<> {
      sim::host_handle server = sim::host("server", 2);
      server.start(echo_all);
      co_await sleep_for(10ms);
      for (int i = 0; i < 20; ++i) {
        co_await submit_to(static_cast<shard_id>(i % 3), [] {});
        net::stream s = co_await net::connect(*net::address::parse(server.ip(), 7777));
        co_await s.write(std::as_bytes(std::span("x", 1)));
        co_await s.read();
      }
    });
  };
  const sim::report first = once(7), again = once(7), other = once(8);
  EXPECT_EQ(first.violation, "");
  EXPECT_EQ(again.violation, "");
  EXPECT_EQ(first.trace_hash, again.trace_hash);
  EXPECT_EQ(first.steps, again.steps);
  EXPECT_NE(first.trace_hash, other.trace_hash);
}

TEST(sim, signals_that_would_reach_the_real_world_are_reported) {
  const auto reported = [](const std::function<void()>& call) {
    const auto body = [&call]() -> task<> {
      call();
      co_return;
    };
    return sim::run(with(1), body).violation;
  };
  EXPECT_NE(reported([] { EXPECT_EQ(::kill(1, SIGUSR1), -1); }).find("another process (kill)"), std::string::npos);
  EXPECT_NE(reported([] { EXPECT_EQ(::kill(0, SIGUSR1), -1); }).find("another process (kill)"), std::string::npos);
  EXPECT_NE(reported([] { EXPECT_EQ(::tgkill(1, 1, SIGUSR1), -1); }).find("(tgkill)"), std::string::npos);
  EXPECT_NE(reported([] { EXPECT_EQ(::signal(SIGHUP, SIG_IGN), SIG_ERR); }).find("net::signals"), std::string::npos);
  struct sigaction mine{};
  mine.sa_handler = SIG_IGN;
  EXPECT_NE(reported([&] { EXPECT_EQ(::sigaction(SIGTERM, &mine, nullptr), -1); }).find("app's"), std::string::npos);
  mine.sa_flags = SA_NODEFER;
  EXPECT_NE(reported([&] { EXPECT_EQ(::sigaction(SIGHUP, &mine, nullptr), -1); }).find("flags"), std::string::npos);
  EXPECT_EQ(reported([] {
              EXPECT_EQ(::kill(::getpid(), 0), 0);
              EXPECT_EQ(::kill(::getpid(), 65), -1);
              EXPECT_EQ(errno, EINVAL);
            }),
            "");
}

}  // namespace
