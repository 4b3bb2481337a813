// SPDX-License-Identifier: Apache-2.0
// Unix sockets, passed descriptors and pipes of simulated hosts: what goes wrong with them, and what must hold then.
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/message_listener.hpp>
#include <skerry/net/message_socket.hpp>
#include <skerry/net/process/pipe.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

const net::address door = *net::address::unix_socket("/tmp/door");

void run(std::uint64_t seed, bool faults, unsigned shards, const std::function<task<>()>& body) {
  sim::options o;
  o.seed = seed;
  o.shards = shards;
  o.steps_max = 5'000'000;
  if (faults) o.all_faults();
  EXPECT_EQ(sim::run(o, body).violation, "");
}

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    (void)co_await std::forward<Awaitable>(what);
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

task<> connect_and_leave(net::address to) { (void)co_await net::connect(std::move(to)); }
task<int> error_of_connect(net::address to) { co_return co_await error_of(connect_and_leave(std::move(to))); }

task<> greet_one() {
  net::listener listening(door);
  std::optional<net::stream> come = co_await listening.accept();
  if (come) co_await come->write(std::string_view("hello"));
}

TEST(sim_unix, a_crash_leaves_the_file_or_not_and_the_next_life_has_the_name) {
  std::map<int, int> seen;  // what connecting says before somebody listens again
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    run(seed, false, 1, [&]() -> task<> {
      sim::host_handle server = sim::host("server");
      server.start([]() -> task<> {
        net::listener listening(door);
        co_await sleep_for(1h);
      });
      co_await sleep_for(10ms);
      server.crash();
      co_await server.ended();
      server.start(
          [&seen]() -> task<> {
            ++seen[co_await error_of(connect_and_leave(door))];
            auto greeting = spawn(greet_one(), "greet");
            co_await sleep_for(1ms);
            net::stream ours = co_await net::connect(door);
            const buffer got = co_await ours.read();
            EXPECT_EQ(got.size(), 5u);
            co_await greeting;
          },
          true);
      co_await server.ended();
    });
  }
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_GT(seen[ECONNREFUSED], 3);
  EXPECT_GT(seen[ENOENT], 3);
}

TEST(sim_unix, names_belong_to_one_host) {
  run(1, false, 1, []() -> task<> {
    const net::address abstract = *net::address::unix_socket("@door");
    const net::listener by_path(door), by_name(abstract);
    EXPECT_EQ(co_await error_of(connect_and_leave(abstract)), 0);
    sim::host_handle other = sim::host("other");
    other.start(
        [abstract]() -> task<> {
          EXPECT_EQ(co_await error_of(connect_and_leave(abstract)), ECONNREFUSED);
          EXPECT_EQ(co_await error_of(connect_and_leave(door)), ENOENT);
        },
        true);
    co_await other.ended();
  });
}

/// Whether all of it came back; nothing of it in another order.
task<bool> comes_back(net::stream s, std::string text) {
  std::string back;
  try {
    co_await s.write(std::as_bytes(std::span(text)));
    s.shutdown_output();
    while (true) {
      const buffer got = co_await s.read();
      if (got.empty()) break;
      back.append(reinterpret_cast<const char*>(got.data()), got.size());
    }
  } catch (const std::system_error&) {
    // Out of memory, or it was not accepted.
  }
  if (text.compare(0, back.size(), back) != 0) sim::fail("bytes came back that were not sent");
  co_return back.size() == text.size();
}

task<> echo(net::stream s) {
  try {
    while (true) {
      const buffer got = co_await s.read();
      if (got.empty()) co_return;
      co_await s.write(std::span(got.begin(), got.size()));
    }
  } catch (const std::system_error&) {
    // Its client knows.
  }
}

TEST(sim_unix, what_comes_back_is_what_was_sent_whatever_fails) {
  int whole = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    run(seed, true, 2, [&whole]() -> task<> {
      co_await net::listen_on_all_shards(door, [](net::stream s) { return echo(std::move(s)); });
      for (int i = 0; i < 4; ++i) {
        std::string text(1 + sim::draw(400'000), 'a');
        for (char& c : text) c = static_cast<char>('a' + sim::draw(26));
        try {
          net::stream s = co_await net::connect(door);
          const bool back = co_await comes_back(std::move(s), std::move(text));
          if (back) ++whole;
        } catch (const std::system_error& error) {
          if (error.code().value() != ENOMEM) sim::fail(error.what());
        }
      }
      app::shutdown();
    });
  }
  EXPECT_GT(whole, 200);
}

TEST(sim_unix, whoever_finds_the_queue_full_waits_and_hears_when_nobody_listens_any_more) {
  run(1, false, 1, []() -> task<> {
    std::optional<net::unique_fd> listening(std::in_place, net::make_unix_socket(SOCK_STREAM));
    EXPECT_EQ(::bind(listening->get(), door.data(), door.size()), 0);
    EXPECT_EQ(::listen(listening->get(), 1), 0);
    net::stream first = co_await net::connect(door);
    const net::unique_fd plain = net::make_unix_socket(SOCK_STREAM);
    EXPECT_EQ(::connect(plain.get(), door.data(), door.size()), -1);
    EXPECT_EQ(errno, EAGAIN);
    auto second = spawn(error_of_connect(door), "second");
    co_await sleep_for(1s);
    EXPECT_FALSE(second.is_finished());
    const net::unique_fd accepted(::accept4(listening->get(), nullptr, nullptr, 0));
    EXPECT_EQ(co_await second, 0);
    auto third = spawn(error_of_connect(door), "third");
    co_await sleep_for(1s);
    EXPECT_FALSE(third.is_finished());
    listening.reset();
    EXPECT_EQ(co_await third, ECONNREFUSED);
  });
}

TEST(sim_unix, a_peer_that_closes_with_bytes_unread_resets_and_one_that_has_read_ends) {
  run(1, false, 1, []() -> task<> {
    for (const bool reads : {true, false}) {
      int both[2];
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, both), 0);
      const net::unique_fd ours(both[0]);
      std::optional<net::unique_fd> theirs(std::in_place, both[1]);
      char bytes[10];
      EXPECT_EQ(::write(ours.get(), "read me", 7), 7);
      if (reads) {
        EXPECT_EQ(::read(theirs->get(), bytes, sizeof bytes), 7);
      }
      theirs.reset();
      EXPECT_EQ(::read(ours.get(), bytes, sizeof bytes), reads ? 0 : -1);
      if (!reads) {
        EXPECT_EQ(errno, ECONNRESET);
      }
      EXPECT_EQ(::read(ours.get(), bytes, sizeof bytes), 0);
      EXPECT_EQ(::send(ours.get(), "x", 1, MSG_NOSIGNAL), -1);
      EXPECT_EQ(errno, EPIPE);
    }
    co_return;
  });
}

struct tally {
  int received = 0, without_descriptors = 0, broken = 0;
};

/// Sends the writing ends of a pipe in messages and drops its own; the reading end ends when the last one is closed.
task<> pass_and_wait_for_the_end(net::message_kind kind, tally& all) {
  auto [ours, theirs] = net::message_socket::pair(kind);
  net::pipe_ends pipe = net::make_pipe();
  auto receiver = spawn(
      [](net::message_socket from, tally& to) -> task<> {
        while (true) {
          try {
            std::optional<net::message> got = co_await from.receive();
            if (!got) co_return;
            if (!got->descriptors.empty()) ++to.received;
          } catch (const std::system_error& error) {
            if (error.code().value() != EMFILE && error.code().value() != ENOMEM) sim::fail(error.what());
            ++to.without_descriptors;
          }
        }
      }(std::move(theirs), all),
      "receiver");
  const std::vector<int> passed(1 + sim::draw(5), pipe.in.get());
  for (std::uint64_t i = sim::draw(6); i-- > 0;) {
    try {
      co_await ours.send(std::string_view("with some"), passed);
    } catch (const std::system_error& error) {
      if (error.code().value() != ENOMEM && error.code().value() != EPIPE) sim::fail(error.what());
      ++all.broken;
    }
  }
  const bool dropped = sim::draw(3) == 0;
  if (dropped) receiver.abort();
  {
    const net::message_socket gone = std::move(ours);
    const net::unique_fd last = std::move(pipe.in);
  }
  (void)co_await error_of(std::move(receiver));
  net::pipe_stream reader(std::move(pipe.out));
  while (true) {
    int error = 0;
    try {
      const buffer end = co_await reader.read();
      if (end.empty()) break;
    } catch (const std::system_error& told) {
      error = told.code().value();
    }
    if (error != 0 && error != ENOMEM) sim::fail("a read from the pipe failed");
  }
}

TEST(sim_unix, a_descriptor_that_was_passed_is_closed_once_whatever_fails) {
  tally all;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    run(seed, true, 1, [&all]() -> task<> {
      for (int i = 0; i < 10; ++i) {
        const auto kind = sim::draw(2) == 0 ? net::message_kind::packets : net::message_kind::bytes;
        co_await pass_and_wait_for_the_end(kind, all);
      }
    });
  }
  EXPECT_GT(all.received, 1'000);
  EXPECT_GT(all.without_descriptors, 10);
}

TEST(sim_unix, a_descriptor_on_its_way_at_a_crash_reaches_nobody) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run(seed, false, 1, []() -> task<> {
      net::listener listening(*net::address::parse("0.0.0.0", 7777));
      sim::host_handle client = sim::host("client");
      client.start([]() -> task<> {
        net::stream s = co_await net::connect("test", 7777);
        auto [ours, theirs] = net::message_socket::pair();
        const int passed[] = {s.fd()};
        co_await ours.send(std::string_view("a connection"), passed);
        co_await sleep_for(1h);
      });
      std::optional<net::stream> met = co_await listening.accept();
      auto reading = spawn([](net::stream& from) -> task<> { (void)co_await from.read(); }(*met), "reading");
      co_await sleep_for(10ms);
      client.crash();
      co_await client.ended();
      co_await sleep_for(10s);
      EXPECT_FALSE(reading.is_finished());  // no end of stream, no reset: the host is silent
      reading.abort();
      (void)co_await error_of(std::move(reading));
    });
  }
}

TEST(sim_unix, a_violation_leaves_what_is_on_its_way_where_it_is) {
  sim::options o;
  const sim::report ended = sim::run(o, []() -> task<> {
    net::listener listening(door);
    net::stream waits = co_await net::connect(door);
    auto [ours, theirs] = net::message_socket::pair();
    const int passed[] = {ours.fd(), waits.fd()};  // one end through the other
    co_await ours.send(std::string_view("on their way"), passed);
    sim::fail("enough");
    co_await sleep_for(1h);
  });
  EXPECT_TRUE(ended.violation.starts_with("enough")) << ended.violation;
}

// --- pipes and plain calls ---

TEST(sim_pipe, bytes_come_in_order_and_ends_are_heard_of_whatever_fails) {
  int whole = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    run(seed, true, 2, [&whole]() -> task<> {
      net::pipe_ends ends = net::make_pipe();
      net::pipe_stream reader(std::move(ends.out));
      auto writing = spawn(
          [](net::unique_fd in) -> task<> {
            net::pipe_stream writer(net::unique_fd(), std::move(in));
            for (int i = 0; i < 40'000; ++i) co_await writer.write(std::to_string(i) + ' ');
            co_await writer.flush();
          }(std::move(ends.in)),
          "writing");
      std::string all, expected;
      for (int i = 0; i < 40'000; ++i) expected += std::to_string(i) + ' ';
      const bool leaves = sim::draw(3) == 0;
      bool failed = false;
      while (!failed && !(leaves && all.size() > 100'000)) {
        try {
          const buffer got = co_await reader.read();
          if (got.empty()) break;
          all.append(reinterpret_cast<const char*>(got.data()), got.size());
        } catch (const std::system_error& error) {
          if (error.code().value() != ENOMEM) sim::fail(error.what());
          failed = true;
        }
      }
      if (expected.compare(0, all.size(), all) != 0) sim::fail("bytes came that were not written");
      reader = net::pipe_stream(net::unique_fd());
      const int told = co_await error_of(std::move(writing));
      if (all.size() == expected.size()) ++whole;
      if (told == 0 && all.size() != expected.size() && !leaves && !failed) sim::fail("bytes are missing");
      if (told != 0 && told != EPIPE && told != ENOMEM) sim::fail("the writer was told " + std::to_string(told));
    });
  }
  EXPECT_GT(whole, 20);
}

constexpr auto write_there = [](net::unique_fd to) -> task<> {
  co_await sleep_for(5ms);
  EXPECT_EQ(::write(to.get(), "late", 4), 4);
};

TEST(sim_pipe, a_call_that_blocks_stops_its_shard_and_no_other) {
  run(1, false, 2, []() -> task<> {
    net::pipe_ends ends = net::make_pipe();
    auto there = spawn(
        [](net::unique_fd in) -> task<> { co_await submit_to(1, write_there, std::move(in)); }(std::move(ends.in)),
        "there");
    co_await sleep_for(1ms);
    bool slept = false;
    auto sleeper = spawn(
        [](bool& woken) -> task<> {
          co_await sleep_for(2ms);
          woken = true;
        }(slept),
        "sleeper");
    co_await sleep_for(0ms);
    char bytes[10];
    EXPECT_EQ(::read(ends.out.get(), bytes, sizeof bytes), 4);
    EXPECT_FALSE(slept);
    co_await there;
    EXPECT_EQ(::read(ends.out.get(), bytes, sizeof bytes), 0);
    co_await sleeper;
  });
}

TEST(sim_pipe, a_host_that_crashes_in_a_call_that_blocks_ends) {
  run(1, false, 1, []() -> task<> {
    sim::host_handle stuck = sim::host("stuck");
    int told = 0;
    stuck.start([&told]() -> task<> {
      const net::pipe_ends ends = net::make_pipe();
      char byte = 0;
      if (::read(ends.out.get(), &byte, 1) < 0) told = errno;
      co_return;
    });
    co_await sleep_for(10ms);
    EXPECT_EQ(told, 0);
    stuck.crash();
    co_await stuck.ended();
    EXPECT_EQ(told, EINTR);
  });
}

TEST(sim_pipe, a_program_reads_the_standard_input_it_was_given_and_what_it_prints_is_kept) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run(seed, seed % 2 == 0, 1, []() -> task<> {
      sim::host_handle shouter = sim::host("shouter");
      shouter.give_input("what was typed");
      int told = 0;
      shouter.start(
          [&told]() -> task<> {
            try {
              net::pipe_stream own = net::standard_streams();
              net::pipe_stream errors = net::standard_error();
              while (true) {
                const buffer got = co_await own.read();
                if (got.empty()) break;
                co_await own.write(std::span(got.begin(), got.size()));
              }
              co_await own.flush();
              co_await errors.write(std::string_view("done"));
              co_await errors.flush();
            } catch (const std::system_error& error) {
              told = error.code().value();
            }
          },
          true);
      co_await shouter.ended();
      EXPECT_TRUE(told == 0 || told == ENOMEM) << told;
      if (told != 0) co_return;
      EXPECT_EQ(shouter.output(), "what was typed");
      EXPECT_EQ(shouter.error_output(), "done");
    });
  }
}

TEST(sim_unix, a_seed_repeats) {
  const auto once = [](std::uint64_t seed) {
    tally all;
    sim::options o;
    o.seed = seed;
    o.all_faults();
    return sim::run(o,
                    [&all]() -> task<> {
                      for (int i = 0; i < 5; ++i) co_await pass_and_wait_for_the_end(net::message_kind::bytes, all);
                    })
        .trace_hash;
  };
  EXPECT_EQ(once(7), once(7));
  EXPECT_NE(once(7), once(8));
}

}  // namespace
