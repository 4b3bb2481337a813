// SPDX-License-Identifier: Apache-2.0
/// Connections that move from shard to shard: whatever was received, written, half-closed or broken by then, nothing is
/// lost and nothing comes twice; cancelled at any step they are closed in order. Afterwards every buffer, block, frame
/// and endpoint is back (the shards assert it), and no descriptor is left.

#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/detail/copied_buffers.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/host.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::connect_pair;
using test_support::connected;
using test_support::loopback;
using test_support::numbered_bytes;
using test_support::open_descriptors;
using test_support::raw_peer;
using test_support::read_all;
using test_support::run_shards;
using test_support::text_of;
using test_support::turn;
using test_support::was_cancelled;

/// A receive buffer for peers that is to be full soon. At the kernel's minimum TCP would send 500 bytes each 200 ms for
/// fear of a silly window, and the rest of a dropped stream has 5 s.
constexpr int few_bytes = 16'384;

/// Runs `body` on shard 0 of some, and counts descriptors.
void run_and_count(unsigned shards, const std::function<task<>()>& body) {
  const std::ptrdiff_t before = open_descriptors();
  run_shards(shards, body);
  EXPECT_EQ(open_descriptors(), before);
}

/// Steps of tasks and turns of the loop, by turns.
task<> step(int nth) {
  if (nth % 2 == 0) co_return co_await yield();
  co_await turn();
}

/// Sends back all that comes, behind the shard's number, and then the end.
task<> echo(net::stream client) {
  co_await client.write(std::to_string(this_shard_id()));
  while (true) {
    const buffer bytes = co_await client.read();
    if (bytes.empty()) break;
    co_await client.write(bytes);
  }
  client.shutdown_output();
}
constexpr auto echo_there = [](net::stream client) { return echo(std::move(client)); };

/// As much as `wanted` of what comes.
task<std::string> read_exactly(net::stream& from, std::size_t wanted) {
  std::string all;
  while (all.size() < wanted) {
    const buffer bytes = co_await from.read();
    if (bytes.empty()) break;
    all += text_of(bytes);
  }
  co_return all;
}

// --- what was received ---

TEST(move, what_was_received_is_read_there_first) {
  run_and_count(2, []() -> task<> {
    for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{8192}, std::size_t{200'000}}) {
      connected pair = co_await connect_pair();
      const std::string bytes = numbered_bytes(size);
      auto sending = spawn([&]() -> task<> {
        co_await pair.theirs.send(bytes);
        pair.theirs.shut_down_output();
      });
      if (size != 0) co_await pair.ours.readable();
      for (int i = 0; i < 20; ++i) co_await turn();  // as much as it takes unread
      co_await std::move(pair.ours).move_to(1, echo_there);
      EXPECT_EQ(co_await pair.theirs.receive_all(), "1" + bytes);
      co_await sending;
    }
  });
}

TEST(move, arguments_go_along) {
  run_and_count(2, []() -> task<> {
    connected pair = co_await connect_pair();
    const auto greet = [](net::stream client, std::string whom, std::vector<int> numbers) -> task<> {
      co_await client.write(whom + std::to_string(numbers.at(1)) + std::to_string(this_shard_id()));
    };
    const std::vector<int> numbers = {1, 2};
    co_await std::move(pair.ours).move_to(1, greet, std::string("friend"), numbers);
    EXPECT_EQ(co_await pair.theirs.receive_all(), "friend21");
  });
}

TEST(move, to_the_own_shard_is_another_task_with_all_there_is) {
  run_and_count(2, []() -> task<> {
    connected pair = co_await connect_pair();
    co_await pair.theirs.send("abc");
    co_await pair.ours.readable();
    co_await std::move(pair.ours).move_to(0, echo_there);  // returns though the conversation goes on
    co_await pair.theirs.send("def");
    EXPECT_EQ(co_await pair.theirs.receive_exactly(7), "0abcdef");
    pair.theirs.shut_down_output();
    EXPECT_EQ(co_await pair.theirs.receive_all(), "");
  });
}

/// Answers requests, lines, until one says that it moves on.
task<> serve_lines(net::stream client, std::size_t moves_after);
constexpr auto serve_lines_there = [](net::stream client, std::size_t moves_after) {
  return serve_lines(std::move(client), moves_after);
};

task<> serve_lines(net::stream client, std::size_t moves_after) {
  net::buffered_reader in(client);
  while (true) {
    const auto line = co_await in.read_line(100);
    if (!line) break;
    co_await client.write(std::string(*line) + "@" + std::to_string(this_shard_id()) + "\n");
    if (moves_after != 0 && --moves_after == 0) {
      in.give_back();
      co_return co_await std::move(client).move_to(1 - this_shard_id(), serve_lines_there, std::size_t{0});
    }
  }
  client.shutdown_output();
}

TEST(move, a_pipelined_conversation_is_whole_wherever_it_is_cut) {
  run_and_count(2, []() -> task<> {
    std::string requests;
    constexpr std::size_t lines = 5;
    for (std::size_t i = 0; i < lines; ++i) requests += "line " + std::to_string(i) + std::string(i, '.') + "\n";
    for (std::size_t after = 1; after <= lines; ++after) {
      std::string expected;
      for (std::size_t i = 0; i < lines; ++i) {
        expected += "line " + std::to_string(i) + std::string(i, '.') + (i < after ? "@0\n" : "@1\n");
      }
      for (std::size_t cut = 0; cut <= requests.size(); ++cut) {
        connected pair = co_await connect_pair();
        co_await pair.theirs.send(std::string_view(requests).substr(0, cut));
        auto serving = spawn(serve_lines(std::move(pair.ours), after));
        if (cut % 2 == 1) co_await turn();
        co_await pair.theirs.send(std::string_view(requests).substr(cut));
        pair.theirs.shut_down_output();
        EXPECT_EQ(co_await pair.theirs.receive_all(), expected) << after << ' ' << cut;
        co_await serving;
      }
    }
  });
}

TEST(move, bytes_that_are_put_back_come_before_those_that_were_unread) {
  const std::uint64_t seed = test_support::test_seed();
  run_and_count(1, [seed]() -> task<> {
    connected pair = co_await connect_pair();
    const std::string bytes = numbered_bytes(300'000);
    auto sending = spawn([&]() -> task<> {
      co_await pair.theirs.send(bytes);
      pair.theirs.shut_down_output();
    });
    std::string all;
    random_source draw(seed);
    for (bool first = true;; first = false) {
      const buffer next = co_await pair.ours.read();
      if (next.empty()) break;
      const std::size_t kept = draw.uniform(next.size() + 1);
      all += text_of(next).substr(0, kept);
      if (first || draw.uniform(2) == 0) {
        pair.ours.put_back(std::span(next.data(), next.size()).subspan(kept));
      } else {
        all += text_of(next).substr(kept);
      }
    }
    EXPECT_TRUE(all == bytes);
    co_await sending;
  });
}

TEST(move, more_than_can_be_put_back_is_refused_and_changes_nothing) {
  run_and_count(1, []() -> task<> {
    connected pair = co_await connect_pair();
    co_await pair.theirs.send("last");
    co_await pair.ours.readable();
    const std::string block(std::size_t{17} << 20, 'x');
    int error = 0;
    try {
      pair.ours.put_back(std::as_bytes(std::span(block)));
    } catch (const std::system_error& refused) {
      error = refused.code().value();
    }
    EXPECT_EQ(error, ENOBUFS);
    EXPECT_EQ(net::detail::this_copied_buffers().stats().taken, 0u);
    pair.ours.put_back(std::as_bytes(std::span(block)).first(1 << 20));
    EXPECT_TRUE(co_await read_exactly(pair.ours, (1 << 20) + 4) == block.substr(0, 1 << 20) + "last");
    EXPECT_EQ(net::detail::this_copied_buffers().stats().taken, 0u);
  });
}

TEST(move, who_waits_for_a_buffer_finds_one_there) {
  run_and_count(2, []() -> task<> {
    connected greedy = co_await connect_pair();
    connected pair = co_await connect_pair();
    const std::string bytes(std::size_t{20} << 20, 'x');
    std::vector<buffer> held;
    auto reading = spawn([&]() -> task<> {
      while (true) held.push_back(co_await greedy.ours.read());
    });
    auto sending = spawn(greedy.theirs.send(bytes));
    const auto starving = [] { return stats().buffers.exhausted; };
    while (starving() == 0) co_await turn();
    co_await pair.theirs.send("abc");
    const std::uint64_t before = starving();
    while (starving() == before) co_await turn();
    co_await std::move(pair.ours).move_to(1, echo_there);
    EXPECT_EQ(co_await pair.theirs.receive_exactly(4), "1abc");
    reading.abort();
    sending.abort();
    co_await was_cancelled(reading);
    co_await was_cancelled(sending);
    held.clear();
    greedy.theirs.reset();
    pair.theirs.shut_down_output();
    EXPECT_EQ(co_await pair.theirs.receive_all(), "");
  });
}

// --- what was written ---

TEST(move, what_was_written_and_not_sent_is_sent_from_there_in_order) {
  run_and_count(2, []() -> task<> {
    const std::string bytes = numbered_bytes(net::endpoint::high_water);
    for (std::size_t parts : {1u, 2u}) {
      for (int turns = 0; turns < 4; ++turns) {
        connected pair = co_await connect_pair(few_bytes);
        pair.ours.set(net::send_buffer{1});
        std::string sent;
        for (std::size_t part = 0; part < parts; ++part) {
          EXPECT_EQ(pair.ours.try_write(std::as_bytes(std::span(bytes))), bytes.size());
          sent += bytes;
          for (int i = 0; i < turns || (part + 1 < parts && i < 2); ++i) co_await turn();
        }
        // The peer reads nothing before it has moved: nobody waits for it.
        co_await std::move(pair.ours).move_to(1, echo_there);
        pair.theirs.shut_down_output();
        EXPECT_TRUE(co_await pair.theirs.receive_all() == sent + "1") << parts << ' ' << turns;
      }
    }
  });
}

TEST(move, a_send_that_could_not_begin_is_made_there) {
  run_and_count(2, []() -> task<> {
    connected pair = co_await connect_pair(few_bytes);
    pair.ours.set(net::send_buffer{1});
    std::string sent;
    while (::send(pair.ours.fd(), "full", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) sent += 'f';
    const std::string bytes = numbered_bytes(10'000);
    EXPECT_EQ(pair.ours.try_write(std::as_bytes(std::span(bytes))), bytes.size());
    for (int i = 0; i < 5; ++i) co_await turn();
    co_await std::move(pair.ours).move_to(1, echo_there);
    pair.theirs.shut_down_output();
    EXPECT_TRUE(co_await pair.theirs.receive_all() == sent + bytes + "1");
  });
}

// --- ends ---

TEST(move, a_half_close_of_either_side_stays_one) {
  run_and_count(2, []() -> task<> {
    const std::string bytes = numbered_bytes(60'000);
    for (bool all_sent : {false, true}) {
      const int receive_buffer = all_sent ? 0 : few_bytes;
      connected pair = co_await connect_pair(receive_buffer);
      EXPECT_EQ(pair.ours.try_write(std::as_bytes(std::span(bytes))), bytes.size());
      pair.ours.shutdown_output();
      if (all_sent) co_await pair.ours.flush();
      const auto listen_on = [](net::stream client, std::size_t size) -> task<> {
        EXPECT_EQ((co_await read_all(client)).size(), size);
      };
      co_await std::move(pair.ours).move_to(1, listen_on, bytes.size());
      EXPECT_TRUE(co_await pair.theirs.receive_all() == bytes);
      co_await pair.theirs.send(bytes);
      pair.theirs.shut_down_output();
    }
    // The peer's, heard before the move, or not yet.
    for (bool heard : {false, true}) {
      connected pair = co_await connect_pair();
      co_await pair.theirs.send("abc");
      pair.theirs.shut_down_output();
      for (int i = 0; heard && i < 10; ++i) co_await turn();
      co_await std::move(pair.ours).move_to(1, echo_there);
      EXPECT_EQ(co_await pair.theirs.receive_all(), "1abc");
    }
  });
}

TEST(move, a_reset_is_heard_there_behind_what_had_come) {
  if (test_support::simulation != nullptr) GTEST_SKIP() << "there a reset overtakes bytes that are on their way";
  run_and_count(2, []() -> task<> {
    for (int turns : {0, 1, 2, 10}) {
      for (bool reset_before : {true, false}) {
        const auto forget = [] {
          if (resources().find<int>() == nullptr) resources().emplace<int>();
          resource<int>() = -1;
        };
        co_await submit_to(1, forget);
        connected pair = co_await connect_pair();
        co_await pair.theirs.send("abc");
        co_await pair.ours.readable();
        const auto read_on = [](net::stream client) -> task<> {
          std::string all;
          int error = 0;
          try {
            while (true) {
              const buffer bytes = co_await client.read();
              if (bytes.empty()) break;
              all += text_of(bytes);
            }
          } catch (const std::system_error& broken) {
            error = broken.code().value();
          }
          EXPECT_EQ(all, "abc");
          resource<int>() = error;
        };
        if (reset_before) pair.theirs.reset();
        for (int i = 0; i < turns; ++i) co_await turn();
        auto moving = spawn(std::move(pair.ours).move_to(1, read_on));
        if (!reset_before) {
          for (int i = 0; i < turns; ++i) co_await yield();
          pair.theirs.reset();
        }
        co_await moving;
        int heard = -1;
        while (heard == -1) heard = co_await submit_to(1, [] { return resource<int>(); });
        EXPECT_EQ(heard, ECONNRESET) << turns;
      }
    }
  });
}

// --- to and fro ---

struct journey {
  using crosses_shards = journey;
  std::uint64_t seed = 0;
  std::uint32_t moves = 0;
};

/// Echoes pieces of random sizes, and moves on after a random number of them, with a part of one given back.
task<> wander(net::stream client, journey j) {
  const auto on = [](net::stream moved, journey rest) { return wander(std::move(moved), rest); };
  random_source draw(j.seed, j.moves);
  std::uint64_t left = draw.uniform(4);
  while (true) {
    if (j.moves != 0 && left-- == 0) {
      --j.moves;
      const auto next = static_cast<shard_id>(draw.uniform(shard_count()));
      co_return co_await std::move(client).move_to(next, on, j);
    }
    const buffer bytes = co_await client.read();
    if (bytes.empty()) break;
    const std::size_t taken = j.moves == 0 ? bytes.size() : 1 + draw.uniform(bytes.size());
    co_await client.write(bytes.slice(0, taken));
    client.put_back(std::span(bytes.data(), bytes.size()).subspan(taken));
    if (j.moves == 0) left = 1;
  }
  client.shutdown_output();
}

/// Sends in random pieces and reads meanwhile.
task<> converse(net::address at, std::uint64_t seed, std::size_t size) {
  net::stream ours = co_await net::connect(at);
  const std::string bytes = numbered_bytes(size);
  const auto write = [&]() -> task<> {
    random_source draw(seed, 1);
    for (std::string_view rest(bytes); !rest.empty();) {
      const std::size_t piece = std::min<std::size_t>(rest.size(), 1 + draw.uniform(3000));
      co_await ours.write(rest.substr(0, piece));
      rest.remove_prefix(piece);
      if (draw.uniform(3) == 0) co_await turn();
    }
    ours.shutdown_output();
  };
  auto writing = spawn(write);
  std::string back;
  try {
    back = co_await read_all(ours);
  } catch (const std::system_error& broken) {
    ADD_FAILURE() << broken.what();
  }
  EXPECT_TRUE(back == bytes) << back.size() << " of " << bytes.size();
  co_await writing;
}

TEST(move, a_thousand_connections_wander_between_shards_and_lose_nothing) {
  const std::uint64_t seed = test_support::test_seed();
  static const std::uint64_t per_shard = test_support::simulating() ? 10 : 250;  // there, a thousand seeds have them
  run_and_count(4, [seed]() -> task<> {
    const auto handler = [](net::stream client) -> task<> {
      const std::uint64_t own = (*this_shard().random)();
      journey begun;
      begun.seed = own;
      begun.moves = static_cast<std::uint32_t>(own % 8);
      return wander(std::move(client), begun);
    };
    net::server s = co_await net::start_server(loopback(), handler);
    const auto talk = [](net::address at, std::uint64_t from) -> task<> {
      std::vector<join_handle<>> all;
      for (std::uint64_t i = 0; i < per_shard; ++i) all.push_back(spawn(converse(at, from + i, 20'000)));
      for (auto& each : all) co_await each;
    };
    call_batch<std::remove_const_t<decltype(talk)>, net::address, std::uint64_t> talks(4);
    for (shard_id shard = 0; shard < 4; ++shard) talks.add(shard, talk, s.where(), seed + 1000 * shard);
    co_await talks.all();
    for (shard_id shard = 0; shard < 4; ++shard) talks.take(shard);
    while ((co_await s.stats()).connections != 0) co_await turn();
    EXPECT_EQ((co_await s.stats()).accepted, 4 * per_shard);
    EXPECT_EQ((co_await s.stats()).errors, 0u);
    co_await s.drain(10s);
  });
}

// --- faults ---

struct broken {
  io_uring_op opcode;
  int error;
};

TEST(move, whatever_the_kernel_refuses_on_either_shard_bytes_arrive_in_order_or_somebody_is_told) {
  const std::uint64_t seed = test_support::test_seed();
  const std::string sent = numbered_bytes(150'000);
  static unsigned round = 0;
  ++round;
  for (const broken what :
       {broken{IORING_OP_RECV, ENOBUFS}, broken{IORING_OP_RECV, ECONNRESET}, broken{IORING_OP_RECV, EINTR},
        broken{IORING_OP_SEND, ENOMEM}, broken{IORING_OP_SEND, EPIPE}, broken{IORING_OP_SEND, EAGAIN},
        broken{IORING_OP_ACCEPT, EMFILE}, broken{IORING_OP_CLOSE, EIO}}) {
    for (std::uint64_t nth = 1; nth <= 5; ++nth) {
      if (test_support::simulating() && nth != 1 + round % 5) continue;  // each seed has one of them
      SCOPED_TRACE(std::to_string(what.opcode) + ": " + std::generic_category().message(what.error) + " " +
                   std::to_string(nth));
      const auto talk = [&]() -> task<> {
        const auto handler = [](net::stream client) -> task<> {
          journey begun;
          begun.seed = (*this_shard().random)();
          begun.moves = 6;
          return wander(std::move(client), begun);
        };
        net::server s = co_await net::start_server(loopback(), handler);
        raw_peer peer(s.where());
        const auto send = [&]() -> task<> {
          try {
            co_await peer.send(sent);
          } catch (const std::system_error&) {
            co_return;  // it was reset, and the reader hears of that
          }
          peer.shut_down_output();
        };
        auto sending = spawn(send);
        std::string arrived;
        bool told = false;
        try {
          while (true) {
            const std::string more = co_await peer.receive();
            if (more.empty()) break;
            arrived += more;
          }
        } catch (const std::system_error&) {
          told = true;
        }
        sending.abort();
        co_await was_cancelled(sending);
        while ((co_await s.stats()).connections != 0) co_await turn();
        told = told || (co_await s.stats()).errors != 0;
        EXPECT_TRUE(std::string_view(sent).starts_with(arrived)) << "bytes were lost, doubled or swapped";
        EXPECT_TRUE(told || arrived.size() == sent.size()) << arrived.size() << " came, and nobody was told";
        const bool passes = what.error == EINTR || what.error == EAGAIN || what.error == ENOBUFS ||
                            what.opcode == IORING_OP_ACCEPT || what.opcode == IORING_OP_CLOSE;
        EXPECT_TRUE(!passes || (!told && arrived.size() == sent.size()));
        co_await s.drain(10s);
      };
      const std::ptrdiff_t before = open_descriptors();
      {
        placement where;
        where.shards.resize(2);
        host machine(test_support::quiet_options(2), where, kernel_clock(),
                     test_support::make_faulty_backends(2, test_support::fail_nth(what.opcode, nth, what.error), seed));
        machine.run(talk, true);
      }
      EXPECT_EQ(open_descriptors(), before);
    }
  }
}

// --- cancelled ---

/// What the peer has at the end: nothing was sent twice or left out, whether the move was cancelled or not.
TEST(move, cancelled_at_any_step_it_is_closed_in_order_or_has_moved) {
  bool cancelled_once = false;
  bool moved_once = false;
  for (int steps = 0; steps < 24; ++steps) {
    for (std::size_t unsent : {0u, 60'000u}) {
      run_and_count(2, [&]() -> task<> {
        const int receive_buffer = unsent != 0 ? few_bytes : 0;
        connected pair = co_await connect_pair(receive_buffer);
        const std::string bytes = numbered_bytes(unsent);
        co_await pair.theirs.send("abc");
        co_await pair.ours.readable();
        if (unsent != 0) {
          pair.ours.set(net::send_buffer{1});
          EXPECT_EQ(pair.ours.try_write(std::as_bytes(std::span(bytes))), unsent);
          co_await turn();
        }
        auto moving = spawn(std::move(pair.ours).move_to(1, echo_there));
        for (int i = 0; i < steps * steps; ++i) co_await step(i);
        while (steps == 23 && !moving.is_finished()) co_await turn();
        moving.abort();
        const bool cancelled = co_await was_cancelled(moving);
        pair.theirs.shut_down_output();
        std::string all;
        try {
          all = co_await pair.theirs.receive_all();
        } catch (const std::system_error& reset) {
          ADD_FAILURE() << reset.what() << " after " << steps << " steps";
        }
        // Cancelled when the target had it already, it has moved all the same.
        const bool moved = all.size() > unsent;
        EXPECT_TRUE(all == bytes + (moved ? "1abc" : "")) << steps << ' ' << all.size();
        EXPECT_TRUE(moved || cancelled);
        cancelled_once = cancelled_once || !moved;
        moved_once = moved_once || moved;
      });
    }
  }
  EXPECT_TRUE(cancelled_once);
  EXPECT_TRUE(moved_once);
}

}  // namespace
}  // namespace skerry
