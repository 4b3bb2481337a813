// SPDX-License-Identifier: Apache-2.0
/// Listeners and connects: both families, ports that are taken or closed, crowds, and running out of descriptors.

#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/acceptor.hpp>
#include <skerry/net/detail/freed_descriptors.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <sys/resource.h>
#include <unistd.h>

namespace skerry {
namespace {

using net::this_endpoints;
using test_support::loopback;
using test_support::manual_clock;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::run_and_count;
using test_support::run_shards;
using test_support::text_of;
using test_support::turn;

/// What `call` throws: its code and text.
template <class Call>
std::pair<int, std::string> thrown_by(Call call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return {error.code().value(), error.what()};
  } catch (const startup_error& error) {
    return {0, error.what()};
  }
  return {0, ""};
}

TEST(listener, serves_both_families) {
  run_and_count([]() -> task<> {
    for (const char* ip : {"127.0.0.1", "::1"}) {
      net::listener listening(loopback(0, ip));
      auto server = spawn([&]() -> task<> {
        std::optional<net::stream> client = co_await listening.accept();
        const std::string all = co_await test_support::read_all(*client);
        co_await client->write(all);
      });
      net::stream ours = co_await net::connect(listening.where());
      co_await ours.write("over " + std::string(ip));
      ours.shutdown_output();
      EXPECT_EQ(co_await test_support::read_all(ours), "over " + std::string(ip));
      co_await server;
    }
  });
}

TEST(listener, a_port_in_use_is_refused_with_its_address) {
  run_and_count([]() -> task<> {
    for (const char* ip : {"127.0.0.1", "::1"}) {
      // A socket that does not share its port, as another process's would not.
      net::unique_fd taken = net::make_stream_socket(loopback(0, ip).family());
      const net::address any = loopback(0, ip);
      EXPECT_EQ(::bind(taken.get(), any.data(), any.size()), 0);
      EXPECT_EQ(::listen(taken.get(), 1), 0);
      const net::address at = net::local_address(taken.get());
      auto [code, text] = thrown_by([&] { net::listener refused(at); });
      EXPECT_EQ(code, EADDRINUSE);
      EXPECT_NE(text.find(at.text()), std::string::npos) << text;
      std::string told;
      try {
        co_await net::listen_on_all_shards(at, [](net::stream) -> task<> { co_return; });
      } catch (const startup_error& error) {
        told = error.what();
      }
      EXPECT_NE(told.find("cannot listen on " + at.text()), std::string::npos) << told;
      EXPECT_NE(told.find("--port"), std::string::npos) << told;
      EXPECT_LE(std::count(told.begin(), told.end(), '\n'), 2);
    }
  });
}

TEST(listener, connections_that_nobody_takes_yet_wait_and_none_is_lost) {
  run_and_count([]() -> task<> {
    net::listener listening(loopback());
    std::vector<raw_peer> peers;
    for (int i = 0; i < 300; ++i) {
      peers.emplace_back(listening.where());
      if (i % 10 == 0) co_await turn();
    }
    for (int i = 0; i < 300; ++i) {
      std::optional<net::stream> client = co_await listening.accept();
      co_await client->write("x");
    }
    for (raw_peer& peer : peers) EXPECT_EQ(co_await peer.receive_all(), "x");
  });
}

TEST(listener, a_crowd_is_served_by_all_shards) {
  constexpr std::size_t crowd = 400;
  std::vector<std::size_t> served_by(3);
  run_shards(3, [&]() -> task<> {
    auto serve = [](net::stream client) -> task<> {
      while (true) {
        buffer bytes = co_await client.read();
        if (bytes.empty()) break;
        co_await client.write(std::string(1, static_cast<char>('0' + this_shard_id())));
      }
    };
    const net::address at = co_await net::listen_on_all_shards(loopback(), serve);
    std::vector<raw_peer> peers;
    for (std::size_t i = 0; i < crowd; ++i) peers.emplace_back(at);
    for (raw_peer& peer : peers) co_await peer.send("?");
    for (raw_peer& peer : peers) {
      const std::string shard = co_await peer.receive_exactly(1);
      EXPECT_EQ(shard.size(), 1u);
      if (!shard.empty()) ++served_by.at(static_cast<std::size_t>(shard[0] - '0'));
    }
    std::size_t open = 0;
    for (shard_id s = 0; s < shard_count(); ++s) open += co_await submit_to(s, [] { return this_endpoints().size(); });
    EXPECT_EQ(open, crowd);
    app::shutdown();
  });
  for (std::size_t served : served_by) EXPECT_GT(served, 0u);
}

TEST(connect, refused_names_the_address) {
  run_and_count([]() -> task<> {
    for (const char* ip : {"127.0.0.1", "::1"}) {
      // Bound and not listening: nobody else gets the port, and it refuses.
      net::unique_fd closed = net::make_stream_socket(loopback(0, ip).family());
      const net::address any = loopback(0, ip);
      EXPECT_EQ(::bind(closed.get(), any.data(), any.size()), 0);
      const net::address at = net::local_address(closed.get());
      std::string text;
      try {
        co_await net::connect(at);
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::connection_refused);
        text = error.what();
      }
      EXPECT_NE(text.find(at.text()), std::string::npos) << text;
    }
  });
}

// ---- out of descriptors ----

/// Lets this process open `more` further descriptors until it goes.
class descriptor_limit {
 public:
  explicit descriptor_limit(unsigned more) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    std::vector<net::unique_fd> next;
    for (unsigned i = 0; i <= more; ++i) next.emplace_back(::dup(0));
    rlimit lower = before_;
    lower.rlim_cur = static_cast<rlim_t>(next.back().get());
    ::setrlimit(RLIMIT_NOFILE, &lower);
  }
  ~descriptor_limit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  descriptor_limit(const descriptor_limit&) = delete;
  descriptor_limit& operator=(const descriptor_limit&) = delete;

 private:
  rlimit before_{};
};

TEST(accept, out_of_descriptors_it_pauses_without_spinning_and_resumes_every_time) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan looks at objects through a pipe, and there are no descriptors for one";
#endif
  manual_clock time;
  run_shards(
      quiet_options(1),
      [&]() -> task<> {
        net::listener listening(loopback());
        std::vector<raw_peer> peers;
        for (int i = 0; i < 12; ++i) peers.emplace_back(listening.where());
        net::unique_fd spare(::dup(0));
        descriptor_limit only(3);
        std::vector<net::stream> streams;
        auto accepting = spawn([&]() -> task<> {
          while (streams.size() < peers.size()) streams.push_back(*co_await listening.accept());
        });
        auto failures = [] { return this_endpoints().stats().accept_failures; };
        while (failures() == 0) co_await turn();
        while (streams.size() < 3) co_await turn();

        // Time stands still, so whatever the shard does meanwhile, it does not try again.
        auto echo = [&](std::size_t i) -> task<> {
          co_await peers[i].send("x");
          co_await streams[i].read();
          co_await streams[i].write("y");
          EXPECT_EQ(co_await peers[i].receive(), "y");
        };
        for (std::size_t i = 0; i < 300; ++i) co_await echo(i % 3);
        EXPECT_EQ(failures(), 1u);
        EXPECT_EQ(streams.size(), 3u);

        // A connection that goes makes room for one more, at once, again and again.
        for (std::uint64_t round = 1; round <= 5; ++round) {
          peers[round - 1].shut_down_output();  // its own descriptor stays
          {
            net::stream gone = std::move(streams[round - 1]);
          }
          while (streams.size() < 3 + round) co_await turn();
          while (failures() < 1 + round) co_await turn();
          co_await echo(2 + round);
          EXPECT_EQ(failures(), 1 + round) << "one try for one descriptor";
        }

        // One that somebody else gives back is found when the pause is over.
        ::close(spare.release());
        for (int i = 0; i < 10; ++i) co_await turn();
        EXPECT_EQ(streams.size(), 8u);
        time.pass(net::acceptor::failure_pause + std::chrono::milliseconds(1));
        while (streams.size() < 9) co_await turn();
        while (failures() < 7) co_await turn();
        for (int pauses = 1; pauses <= 3; ++pauses) {
          time.pass(net::acceptor::failure_pause + std::chrono::milliseconds(1));
          while (failures() < 7u + static_cast<unsigned>(pauses)) co_await turn();
          for (int i = 0; i < 10; ++i) co_await turn();
          EXPECT_EQ(failures(), 7u + static_cast<unsigned>(pauses)) << "one try for each pause";
        }
        accepting.abort();
        bool published = false;
        for (const observe::sample& each : this_shard().metrics->take_snapshot()) {
          if (each.info.name != "skerry_net_accept_failures_total") continue;
          published = std::get<std::uint64_t>(each.value) == failures();
        }
        EXPECT_TRUE(published);
      },
      time);
}

/// A listener of one shard, and those whom it accepted.
struct door {
  net::unique_fd closed = net::make_listening_socket(loopback(), 100);  // until somebody accepts from it
  std::optional<net::listener> listening;
  std::deque<net::stream> guests;
  std::uint64_t served = 0;
};

task<> keep_accepting(door& of) {
  of.listening.emplace(std::move(of.closed));
  while (std::optional<net::stream> guest = co_await of.listening->accept()) {
    co_await guest->write("x");
    of.guests.push_back(std::move(*guest));
    ++of.served;
  }
  of.guests.clear();
  of.listening.reset();
}

/// Time stands still, so no pause ends by itself; in a simulation it goes on, and is looked at.
TEST(accept, a_descriptor_that_is_closed_on_any_shard_is_used_at_once_by_who_waits_for_one_on_another) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan looks at objects through a pipe, and there are no descriptors for one";
#endif
  const auto build = [] { return net::local_address(resources().emplace<door>().closed.get()); };
  const auto open = [] { spawn(keep_accepting(resource<door>()), "accept"); };
  const auto served = [] { return resource<door>().served; };
  const auto failures = [] { return this_endpoints().stats().accept_failures; };
  const auto dismiss = [] { resource<door>().guests.pop_front(); };
  const auto close = [] { resource<door>().listening->end(); };
  const auto everywhere = [](auto what) -> task<std::uint64_t> {
    std::uint64_t sum = 0;
    for (shard_id s = 0; s < shard_count(); ++s) sum += co_await submit_to(s, what);
    co_return sum;
  };
  manual_clock time;
  run_shards(
      quiet_options(3),
      [&]() -> task<> {
        std::vector<raw_peer> guests, others;
        std::vector<net::address> at;
        for (shard_id s = 0; s < 3; ++s) at.push_back(co_await submit_to(s, build));
        for (int i = 0; i < 6; ++i) guests.emplace_back(at[2]);
        for (int i = 0; i < 12; ++i) others.emplace_back(at[static_cast<std::size_t>(i % 2)]);
        // Their side is over, so a server that closes waits for nothing.
        for (raw_peer& each : guests) each.shut_down_output();
        for (raw_peer& each : others) each.shut_down_output();
        std::optional<net::unique_fd> spare(::dup(0));
        {
          descriptor_limit only(6);
          co_await submit_to(2, open);
          for (std::uint64_t now = 0; now != 6; now = co_await submit_to(2, served)) co_await turn();
          for (shard_id s = 0; s < 2; ++s) {
            co_await submit_to(s, open);
            for (std::uint64_t now = 0; now == 0; now = co_await submit_to(s, failures)) co_await turn();
          }
          // Every shard knows who waits.
          const auto knows = [] {
            const auto& news = net::detail::this_freed_descriptors();
            return news.all_know() && !news.telling();
          };
          for (shard_id s = 0; s < 2; ++s) {
            for (bool known = false; !known; known = co_await submit_to(s, knows)) co_await turn();
          }
          const std::uint64_t failed = co_await everywhere(failures);
          const auto next_is_served = [&](std::uint64_t in_all, clock::time_point since) -> task<> {
            for (std::uint64_t now = 0; now != in_all; now = co_await everywhere(served)) co_await turn();
            EXPECT_LT(clock::now() - since, net::acceptor::failure_pause / 2) << "noticed when a pause was over";
          };
          std::uint64_t in_all = 6;
          for (int i = 0; i < 6; ++i) {
            const clock::time_point now = clock::now();
            co_await submit_to(2, dismiss);
            co_await next_is_served(++in_all, now);
          }
          // They took turns; now those whose own shard waits, too, go.
          for (shard_id s = 0; s < 2; ++s) EXPECT_GE(co_await submit_to(s, served), 1u);
          for (int i = 0; i < 4; ++i) {
            const clock::time_point now = clock::now();
            co_await submit_to(static_cast<shard_id>(i % 2), dismiss);
            co_await next_is_served(++in_all, now);
          }
          // Whatever it was open for.
          const clock::time_point now = clock::now();
          co_await submit_to(
              2, [](net::unique_fd given_back) { net::unique_fd closed(std::move(given_back)); }, std::move(*spare));
          co_await next_is_served(++in_all, now);
          EXPECT_LE(co_await everywhere(failures), failed + 3 * 11) << "a few tries for each";
        }
        for (shard_id s = 0; s < 3; ++s) co_await submit_to(s, close);
        app::shutdown();
      },
      time);
}

}  // namespace
}  // namespace skerry
