// SPDX-License-Identifier: Apache-2.0
// What bad input and bad times get: a defined answer, bounded memory, and nobody else notices. The server as a process.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <kv_client.hpp>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace {

using namespace kv_test;
using namespace std::chrono_literals;

constexpr std::size_t mebibyte = std::size_t{1} << 20;

#ifdef __SANITIZE_ADDRESS__
constexpr bool memory_is_its_own = false;  // shadow memory and a quarantine
#elif defined(__SANITIZE_THREAD__)
constexpr bool memory_is_its_own = false;
#else
constexpr bool memory_is_its_own = true;
#endif

std::vector<std::string> four_shards_with(std::vector<std::string> more) {
  more.insert(more.begin(), four_shards.begin(), four_shards.end());
  return more;
}

TEST(kv_limits, malformed_frame_gets_redis_words_and_only_its_connection_closes) {
  const std::pair<std::string, std::string> rows[] = {
      {"*1\r\nx", "expected '$', got 'x'"},
      {"*-5x\r\n", "invalid multibulk length"},
      {"*1048577\r\n", "invalid multibulk length"},
      {"*99999999999\r\n", "invalid multibulk length"},
      {"*1\r\n$-7\r\n", "invalid bulk length"},
      {"*2\r\n$3\r\nGET\r\n$-1\r\n", "invalid bulk length"},
      {"*2\r\n$3\r\nGET\r\n$536870913\r\n", "invalid bulk length"},
      {"*1\r\n$999999999999\r\n", "invalid bulk length"},
      {"*1\r\n$1" + std::string(70'000, '0'), "too big bulk count string"},
      {"*" + std::string(70'000, '1'), "too big mbulk count string"},
      {std::string(70'000, 'i'), "too big inline request"},
      {"SET \"a\r\n", "unbalanced quotes in request"},
  };
  server_process server(KV_SERVER, four_shards);
  blocking_client good(server.port());
  for (const auto& [bad, words] : rows) {
    blocking_client broken(server.port());
    broken.send(command({"SET", "a", "1"}) + bad);
    // What a client sends behind it must not turn the answer into a reset.
    std::thread sender([&] {
      try {
        for (int i = 0; i < 50; ++i) broken.send(std::string(100'000, 'x'));
      } catch (const std::runtime_error&) {
        // The server has closed.
      }
    });
    EXPECT_EQ(receive_all(broken), "+OK\r\n-ERR Protocol error: " + words + "\r\n") << bad.substr(0, 40);
    sender.join();
    EXPECT_EQ(ask(good, {"GET", "a"}, "$1\r\n1\r\n"), "$1\r\n1\r\n");
  }
}

TEST(kv_limits, empty_and_negative_counts_are_skipped_and_a_whole_value_of_odd_size_arrives) {
  server_process server(KV_SERVER, four_shards);
  blocking_client client(server.port());
  const std::string value(5'000'001, 'v');
  client.send("*0\r\n*-1\r\n\r\n" + command({"SET", "k", value}) + command({"GET", "k"}));
  const std::string expected = "+OK\r\n" + bulk(value);
  EXPECT_TRUE(client.receive_exactly(expected.size()) == expected);
}

TEST(kv_limits, a_million_tiny_arguments_are_answered_in_bounded_memory) {
  server_process server(KV_SERVER, four_shards);
  blocking_client good(server.port());
  blocking_client client(server.port());
  const std::size_t before = memory_of(server.pid(), "VmRSS");
  constexpr std::size_t count = 1'000'000;
  for (const auto& [name, expected] : {std::pair{"DEL", std::string(":0\r\n")}, {"EXISTS", ":0\r\n"}}) {
    std::string request = line('*', count + 1) + bulk(name);
    for (std::size_t i = 0; i < count; ++i) request += "$1\r\nk\r\n";
    client.send(request);
    EXPECT_EQ(client.receive_exactly(4), expected);
    EXPECT_EQ(ask(good, {"SET", "a", "1"}, "+OK\r\n"), "+OK\r\n");
  }
  // The 7 MB of a request; views, pieces and their order, as session.cpp counts them; what malloc keeps of vectors
  // that grew.
  if (memory_is_its_own) {
    EXPECT_LT(memory_of(server.pid(), "VmHWM"), before + 400 * mebibyte);
  }
  client.send(line('*', count + 1) + bulk("MGET"));
  std::thread sender([&] {
    std::string keys;
    for (std::size_t i = 0; i < count; ++i) keys += "$1\r\na\r\n";
    client.send(keys);
  });
  std::string replies = line('*', count);
  for (std::size_t i = 0; i < count; ++i) replies += "$1\r\n1\r\n";
  EXPECT_TRUE(client.receive_exactly(replies.size()) == replies);
  sender.join();
}

TEST(kv_limits, half_a_command_then_silence_holds_a_bounded_share_and_others_are_served) {
  server_process server(KV_SERVER, four_shards_with({"--maxmemory", "16mb"}));
  blocking_client good(server.port());
  const std::size_t before = memory_of(server.pid(), "VmRSS");
  // 16 MiB over four shards: each has 1 MiB for what has not arrived in full.
  std::vector<std::unique_ptr<blocking_client>> silent;
  std::size_t refused = 0;
  for (int i = 0; i < 150; ++i) {
    silent.push_back(std::make_unique<blocking_client>(server.port()));
    // Everything but the last bytes; an answer comes only from a refusal, so the question behind it tells.
    const std::string request = command({"SET", "half", std::string(500'000, 'h')});
    try {
      silent.back()->send(std::string_view(request).substr(0, request.size() - 3));
    } catch (const std::runtime_error&) {
      // Refused and closed already.
    }
  }
  for (auto& client : silent) {
    // The rest of the command: answered where it was held, refused where there was no room.
    std::string reply;
    try {
      client->send("h\r\n");
      reply = client->receive();
    } catch (const std::runtime_error&) {
      reply = client->receive();
    }
    const bool oom = reply.starts_with("-OOM ");
    EXPECT_TRUE(oom || reply == "+OK\r\n") << reply;
    refused += oom ? 1 : 0;
    EXPECT_EQ(ask(good, {"SET", "k", "v"}, "+OK\r\n"), "+OK\r\n");
  }
  EXPECT_GT(refused, 130u) << "no more than two are held per shard";
  EXPECT_LT(refused, 150u);
  // Together with what lies in receive buffers while it comes in; all of it would be 75 MB.
  if (memory_is_its_own) {
    EXPECT_LT(memory_of(server.pid(), "VmHWM"), before + 40 * mebibyte);
  }
  // What they held is free again, also when they leave in the middle.
  for (auto& client : silent) {
    client = std::make_unique<blocking_client>(server.port());
    const std::string request = command({"SET", "half", std::string(300'000, 'h')});
    try {
      client->send(std::string_view(request).substr(0, 299'000));
    } catch (const std::runtime_error&) {
      // Refused and closed already.
    }
  }
  silent.clear();
  while (info(good, "connected_clients") != 1) {
  }
  for (int i = 0; i < 20; ++i) {
    blocking_client late(server.port());
    EXPECT_EQ(ask(late, {"SET", "half", std::string(500'000, 'h')}, "+OK\r\n"), "+OK\r\n");
  }
}

TEST(kv_limits, small_pieces_of_commands_are_held_for_everybody) {
  server_process server(KV_SERVER, four_shards_with({"--maxmemory", "4mb"}));
  std::vector<std::unique_ptr<blocking_client>> slow;
  const std::string request = command({"SET", "key", std::string(8000, 's')});
  for (int i = 0; i < 300; ++i) {
    slow.push_back(std::make_unique<blocking_client>(server.port()));
    slow.back()->send(std::string_view(request).substr(0, 7000));
  }
  for (auto& client : slow) {
    client->send(std::string_view(request).substr(7000));
    EXPECT_EQ(client->receive_exactly(5), "+OK\r\n");
  }
}

TEST(kv_limits, clients_that_ask_for_much_and_never_read_hold_little_and_stop_nobody) {
  server_process server(KV_SERVER, four_shards);
  blocking_client good(server.port());
  // Values that are copied into replies, large and small, and one that is lent.
  std::vector<std::string> asked;
  for (int i = 0; i < 8; ++i) {
    asked.push_back("copied" + std::to_string(i));
    EXPECT_EQ(ask(good, {"SET", asked.back(), std::string(60'000, 'c')}, "+OK\r\n"), "+OK\r\n");
  }
  EXPECT_EQ(ask(good, {"SET", "lent", std::string(mebibyte, 'l')}, "+OK\r\n"), "+OK\r\n");
  EXPECT_EQ(ask(good, {"SET", "small", std::string(100, 's')}, "+OK\r\n"), "+OK\r\n");
  const std::size_t before = memory_of(server.pid(), "VmRSS");
  std::string copies;
  for (int i = 0; i < 1700; ++i) copies += command({"GET", asked[static_cast<std::size_t>(i) % asked.size()]});
  std::string loans;
  for (int i = 0; i < 100; ++i) loans += command({"GET", "lent"});
  std::string small_ones;
  for (int i = 0; i < 100'000; ++i) small_ones += command({"GET", "small"});
  std::vector<std::unique_ptr<blocking_client>> silent;
  for (int i = 0; i < 20; ++i) {
    silent.push_back(std::make_unique<blocking_client>(server.port()));
    int small = 4096;
    ::setsockopt(silent.back()->fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (i % 4 != 3) {
      silent.back()->send(i % 2 == 0 ? copies : loans);
    } else {
      ::send(silent.back()->fd(), small_ones.data(), small_ones.size(), MSG_DONTWAIT);  // what the kernels take of it
    }
  }
  // Until all have come as far as they can: nothing but our own questions is counted any more.
  std::uint64_t commands = 0;
  for (int still = 0; still < 100;) {
    const std::uint64_t now = info(good, "total_commands_processed");
    still = now <= commands + 2 ? still + 1 : 0;
    commands = now;
  }
  EXPECT_GT(commands, 20u * 10) << "each has got some replies";
  EXPECT_LT(commands, 10u * 1700 + 5 * 100'000 / 2) << "none has got all";
  if (memory_is_its_own) {
    EXPECT_LT(memory_of(server.pid(), "VmRSS"), before + 20 * mebibyte);
  }
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(ask(good, {"SET", "k", "v"}, "+OK\r\n"), "+OK\r\n");
}

TEST(kv_limits, a_connection_that_dies_while_its_replies_borrow_values_gives_them_back) {
  server_process server(KV_SERVER, four_shards);
  blocking_client good(server.port());
  const std::uint64_t empty = info(good, "used_memory");
  for (int round = 0; round < 20; ++round) {
    std::string pipeline;
    for (int key = 0; key < 8; ++key) {
      const std::string name = "large" + std::to_string(key);
      EXPECT_EQ(ask(good, {"SET", name, std::string(mebibyte, 'l')}, "+OK\r\n"), "+OK\r\n");
      for (int i = 0; i < 10; ++i) pipeline += command({"GET", name});
    }
    {
      blocking_client dying(server.port());
      dying.send(pipeline);
      if (round % 4 != 0) dying.receive(1000);
      // The values lose their keys while they are borrowed.
      if (round % 2 == 0) {
        EXPECT_EQ(ask(good, {"FLUSHALL"}, "+OK\r\n"), "+OK\r\n");
      }
      linger reset{1, 0};
      if (round % 3 != 0) ::setsockopt(dying.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
  }
  EXPECT_EQ(ask(good, {"FLUSHALL"}, "+OK\r\n"), "+OK\r\n");
  while (info(good, "used_memory") > empty) {
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << "a keyspace asserts at its end that nothing is borrowed";
}

TEST(kv_limits, keys_past_its_bound_is_refused_and_scan_goes_on) {
  server_process server(KV_SERVER, four_shards);
  blocking_client client(server.port());
  for (int i = 0; i < 1200; ++i) {
    client.send(command({"SET", std::to_string(i) + std::string(60'000, 'k'), "v"}));
    ASSERT_EQ(client.receive_exactly(5), "+OK\r\n");
  }
  client.send(command({"KEYS", "*"}) + command({"KEYS", "1*"}));
  const std::string refusal = "-ERR KEYS would answer more than 64 MiB, use SCAN\r\n*";
  EXPECT_EQ(client.receive_exactly(refusal.size()), refusal);
  const std::string count = "311\r\n";  // 1, 10 to 19, 100 to 199, 1000 to 1199
  EXPECT_EQ(client.receive_exactly(count.size()), count);
  std::size_t names = 0;
  for (int i = 0; i < 1200; ++i) {
    const std::string name = std::to_string(i);
    if (name.starts_with('1')) names += bulk(name + std::string(60'000, 'k')).size();
  }
  EXPECT_EQ(client.receive_exactly(names).size(), names);
  std::map<std::string, int> seen;
  std::string cursor = "0";
  do {
    const scan_step step = scan(client, cursor, "1000");
    EXPECT_LT(step.bytes, 64 * 1024 + 61'000u) << "so many bytes of keys, and one key more";
    for (const std::string& key : step.keys) ++seen[key];
    cursor = step.cursor;
  } while (cursor != "0");
  EXPECT_EQ(seen.size(), 1200u);
  for (const auto& [key, times] : seen) EXPECT_EQ(times, 1) << key.substr(0, 10);
}

/// Everything up to the end, within `limit`.
std::string refusal_within(std::chrono::milliseconds limit, blocking_client& client) {
  const timeval most{limit.count() / 1000, limit.count() % 1000 * 1000};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  const std::string all = receive_all(client);
  EXPECT_NE(errno, EAGAIN) << "no end after " << limit.count() << " ms";
  return all;
}

TEST(kv_limits, past_max_connections_a_client_hears_redis_words_and_others_are_served) {
  const std::string words = "-ERR max number of clients reached\r\n";
  server_process server(KV_SERVER, four_shards_with({"--max-connections", "10"}));
  std::vector<std::unique_ptr<blocking_client>> served;
  const auto fill = [&] {
    while (served.size() < 10) {
      served.push_back(std::make_unique<blocking_client>(server.port()));
      EXPECT_EQ(ask(*served.back(), {"SET", "k", "v"}, "+OK\r\n"), "+OK\r\n");
    }
  };
  for (std::uint64_t round = 1; round <= 5; ++round) {
    fill();
    errno = 0;
    blocking_client silent(server.port());
    EXPECT_EQ(refusal_within(5s, silent), words);
    blocking_client asking(server.port());
    asking.send(command({"GET", "k"}));
    EXPECT_EQ(refusal_within(5s, asking), words) << "what it had asked already makes no reset of it";
    EXPECT_EQ(info(*served.back(), "rejected_connections"), 2 * round);
    EXPECT_EQ(info(*served.back(), "connected_clients"), 10u);
    EXPECT_EQ(info(*served.back(), "maxclients"), 10u);
    served.erase(served.begin(), served.begin() + 3);
    while (info(*served.back(), "connected_clients") != 7) {
    }
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.log();
}

TEST(kv_limits, past_max_connections_per_address_a_client_hears_redis_words) {
  server_process server(KV_SERVER, {"--shards", "1", "--max-connections-per-address", "2"});
  blocking_client one(server.port()), two(server.port());
  EXPECT_EQ(ask(one, {"SET", "k", "v"}, "+OK\r\n"), "+OK\r\n");
  EXPECT_EQ(ask(two, {"GET", "k"}, "$1\r\nv\r\n"), "$1\r\nv\r\n");
  errno = 0;
  blocking_client three(server.port());
  EXPECT_EQ(refusal_within(5s, three), "-ERR max number of clients reached\r\n");
  EXPECT_EQ(info(one, "rejected_connections"), 1u);
}

TEST(kv_limits, sigterm_under_load_ends_with_0_with_limits_on) {
  server_process server(KV_SERVER, four_shards_with({"--max-connections", "8"}));
  std::atomic<int> refused = 0, served = 0;
  std::vector<std::thread> load;
  for (int i = 0; i < 12; ++i) {
    load.emplace_back([&] {
      try {
        while (true) {
          blocking_client client(server.port());  // throws when nobody listens any more
          client.send(command({"SET", "k", "v"}));
          const std::string answer = client.receive();
          if (answer.starts_with("-ERR max")) ++refused;
          if (answer == "+OK\r\n") ++served;
        }
      } catch (const std::runtime_error&) {
        // The server has ended.
      }
    });
  }
  std::vector<std::unique_ptr<blocking_client>> idle;  // they take places, so that others are refused
  while (refused < 100 || served < 100) {
    if (idle.size() < 6) {
      idle.push_back(std::make_unique<blocking_client>(server.port()));
    } else {
      std::this_thread::yield();
    }
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.log();
  for (std::thread& thread : load) thread.join();
}

TEST(kv_limits, a_hot_restart_is_not_offered_as_keys_would_stay_behind) {
  const skerry::test::finished_program done = skerry::test::run_program(KV_SERVER, {"--hand-over"});
  EXPECT_NE(done.status, 0);
  EXPECT_NE(done.output.find("--hand-over"), std::string::npos) << done.output;
}

TEST(kv_limits, out_of_descriptors_it_goes_on_serving_and_accepts_again_every_time) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan looks at objects through a pipe, and there are no descriptors for one";
#endif
  // Inherited: the kernel looks at the limit of the time when an accept was armed.
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 40;
  ::setrlimit(RLIMIT_NOFILE, &few);
  server_process server(KV_SERVER, four_shards);
  ::setrlimit(RLIMIT_NOFILE, &before);
  blocking_client good(server.port());
  EXPECT_EQ(ask(good, {"SET", "k", "v"}, "+OK\r\n"), "+OK\r\n");
  std::uint64_t failures = info(good, "accept_failures");
  EXPECT_EQ(failures, 0u);
  for (int round = 0; round < 5; ++round) {
    std::vector<std::unique_ptr<blocking_client>> crowd;
    for (int i = 0; i < 60; ++i) {
      crowd.push_back(std::make_unique<blocking_client>(server.port()));
      crowd.back()->send("PING\r\n");
    }
    while (info(good, "accept_failures") == failures) {
    }
    // A server that tried again at once would fail with each of these.
    failures = info(good, "accept_failures");
    for (int i = 0; i < 2000; ++i) ASSERT_EQ(ask(good, {"GET", "k"}, "$1\r\nv\r\n"), "$1\r\nv\r\n");
    EXPECT_LT(info(good, "accept_failures"), failures + 500);
    // As some go, those that wait get their turn, to the last one. Each needs its answer before it goes, so start with
    // those that have one.
    while (!crowd.empty()) {
      auto answered = std::find_if(crowd.begin(), crowd.end(), [](const auto& client) {
        char byte;
        return ::recv(client->fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
      });
      if (answered == crowd.end()) continue;
      EXPECT_EQ((*answered)->receive_exactly(7), "+PONG\r\n");
      crowd.erase(answered);
    }
    failures = info(good, "accept_failures");
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

}  // namespace
