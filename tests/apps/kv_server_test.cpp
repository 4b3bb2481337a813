// SPDX-License-Identifier: Apache-2.0
// The key-value server as a process, over TCP, against a plain map.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <kv_client.hpp>
#include <support/long_test.hpp>
#include <support/server_process.hpp>
#include <sys/socket.h>

namespace {

using namespace kv_test;

/// What a server must answer, in a few lines.
class model {
 public:
  std::string answer(const std::vector<std::string>& words) {
    const std::string& name = words[0];
    if (name == "SET") {
      keys_[words[1]] = words[2];
      return "+OK\r\n";
    }
    if (name == "GET") return value(words[1]);
    if (name == "DEL" || name == "EXISTS") {
      std::size_t count = 0;
      for (std::size_t i = 1; i < words.size(); ++i)
        count += name == "DEL" ? keys_.erase(words[i]) : keys_.count(words[i]);
      return line(':', count);
    }
    if (name == "APPEND") {
      keys_[words[1]] += words[2];
      return line(':', keys_[words[1]].size());
    }
    if (name == "MGET") {
      std::string out = line('*', words.size() - 1);
      for (std::size_t i = 1; i < words.size(); ++i) out += value(words[i]);
      return out;
    }
    if (name == "MSET") {
      for (std::size_t i = 1; i < words.size(); i += 2) keys_[words[i]] = words[i + 1];
      return "+OK\r\n";
    }
    return line(':', keys_.size());  // DBSIZE
  }

 private:
  std::string value(const std::string& key) const {
    auto found = keys_.find(key);
    return found == keys_.end() ? "$-1\r\n" : bulk(found->second);
  }
  std::map<std::string, std::string> keys_;
};

TEST(kv_server, answers_random_pipelines_split_at_random_places_like_a_map) {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  unsigned long seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("replay with SKERRY_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  server_process server(KV_SERVER, four_shards);
  blocking_client client(server.port());
  model expected;
  const char* names[] = {"SET", "SET", "GET", "GET", "DEL", "EXISTS", "APPEND", "MGET", "MSET", "DBSIZE"};
  for (int round = 0; round < skerry::test::rounds(300); ++round) {
    std::string requests;
    std::string replies;
    for (std::size_t n = 1 + below(50); n > 0; --n) {
      std::vector<std::string> words{names[below(std::size(names))]};
      auto key = [&] { return "key" + std::to_string(below(200)); };
      auto value = [&] {
        return std::string(below(20) == 0 ? below(100'000) : below(100), static_cast<char>('a' + below(26)));
      };
      if (words[0] == "SET" || words[0] == "APPEND") {
        words.insert(words.end(), {key(), value()});
      } else if (words[0] == "GET") {
        words.push_back(key());
      } else if (words[0] != "DBSIZE") {
        for (std::size_t keys = 1 + below(5); keys > 0; --keys) {
          words.push_back(key());
          if (words[0] == "MSET") words.push_back(value());
        }
      }
      requests += command(words);
      replies += expected.answer(words);
    }
    std::thread sender([&requests, &client, places = std::mt19937_64(random())]() mutable {
      for (std::size_t at = 0; at < requests.size();) {
        const std::size_t size = std::min<std::size_t>(requests.size() - at, 1 + places() % 5000);
        client.send(std::string_view(requests).substr(at, size));
        at += size;
      }
    });
    std::string got = client.receive_exactly(replies.size());
    sender.join();
    ASSERT_EQ(got, replies) << "round " << round;
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(kv_server, inline_commands_and_local_ones_are_answered) {
  server_process server(KV_SERVER, four_shards);
  blocking_client client(server.port());
  client.send("PING\r\nset k v\r\nget k\r\necho hi\r\nselect 0\r\nQUIT\r\n");
  EXPECT_EQ(client.receive_exactly(1000), "+PONG\r\n+OK\r\n$1\r\nv\r\n$2\r\nhi\r\n+OK\r\n+OK\r\n");
}

TEST(kv_server, info_counts_keys_and_commands_of_every_shard) {
  server_process server(KV_SERVER, four_shards);
  blocking_client client(server.port());
  for (int i = 0; i < 100; ++i) {
    const std::string key = "k" + std::to_string(i);
    ask(client, {"SET", key, "v"}, "+OK\r\n");
    for (int again = 0; again < 2; ++again) ask(client, {"GET", key}, "$1\r\nv\r\n");
  }
  client.send(command({"INFO"}) + command({"PING"}));
  std::string text;
  while (!text.ends_with("+PONG\r\n")) {
    std::string more = client.receive();
    ASSERT_FALSE(more.empty());
    text += more;
  }
  std::size_t keys = 0;
  for (int shard = 0; shard < 4; ++shard) {
    std::size_t at = text.find("shard" + std::to_string(shard) + ":keys=");
    ASSERT_NE(at, std::string::npos) << text;
    const std::string told = text.substr(at, text.find("\r\n", at) - at);
    std::size_t keys_here = 0, commands_here = 0;
    ASSERT_EQ(std::sscanf(told.c_str(), "shard%*d:keys=%zu,commands=%zu", &keys_here, &commands_here), 2) << told;
    EXPECT_GT(keys_here, 0u);
    EXPECT_EQ(commands_here, 3 * keys_here) << told;
    keys += keys_here;
  }
  EXPECT_EQ(keys, 100u);
}

TEST(kv_server, scan_gives_every_key_once) {
  server_process server(KV_SERVER, four_shards);
  blocking_client client(server.port());
  std::string sets;
  for (int i = 0; i < 500; ++i) sets += command({"SET", "key" + std::to_string(i), "v"});
  client.send(sets);
  ASSERT_EQ(client.receive_exactly(500 * 5).size(), 500u * 5);
  std::map<std::string, int> seen;
  std::string cursor = "0";
  do {
    const scan_step step = scan(client, cursor, "7");
    for (const std::string& key : step.keys) ++seen[key];
    cursor = step.cursor;
  } while (cursor != "0");
  EXPECT_EQ(seen.size(), 500u);
  for (const auto& [key, count] : seen) EXPECT_EQ(count, 1) << key;
}

TEST(kv_server, writes_past_maxmemory_get_an_error_and_reads_go_on) {
  std::vector<std::string> arguments = four_shards;
  arguments.insert(arguments.end(), {"--maxmemory", "4mb"});
  server_process server(KV_SERVER, arguments);
  blocking_client client(server.port());
  bool refused = false;
  for (int i = 0; i < 100 && !refused; ++i) {
    client.send(command({"SET", "key" + std::to_string(i), std::string(100'000, 'v')}));
    std::string reply = client.receive();
    refused = reply.starts_with("-OOM ");
    ASSERT_TRUE(refused || reply == "+OK\r\n") << reply;
  }
  EXPECT_TRUE(refused);
  EXPECT_EQ(ask(client, {"GET", "nothing"}, "$-1\r\n"), "$-1\r\n");
}

TEST(kv_server, sigterm_under_load_answers_what_it_took_and_exits_with_0) {
  server_process server(KV_SERVER, four_shards);
  std::vector<std::thread> load;
  for (int t = 0; t < 4; ++t) {
    load.emplace_back([&server, t] {
      blocking_client client(server.port());
      std::string pipeline;
      for (int i = 0; i < 32; ++i) pipeline += command({"SET", "k" + std::to_string(t * 100 + i), "v"});
      try {
        while (true) {
          client.send(pipeline);
          std::string replies = client.receive_exactly(32 * 5);
          // Whole replies only: a pipeline is cut between commands, never within one.
          ASSERT_EQ(replies.size() % 5, 0u);
          if (replies.size() < 32 * 5) return;
        }
      } catch (const std::runtime_error&) {
        // The server has closed the connection.
      }
    });
  }
  blocking_client probe(server.port());
  for (int i = 0; i < 500; ++i) ask(probe, {"GET", "k1"}, "$-1\r\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  for (std::thread& t : load) t.join();
}

TEST(kv_server, a_port_in_use_is_refused_in_at_most_three_lines) {
  server_process server(KV_SERVER, four_shards);
  auto second = skerry::test::run_program(KV_SERVER, {"--port", std::to_string(server.port()), "--log-level", "error"});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.output.find("--port"), std::string::npos) << second.output;
  EXPECT_LE(std::count(second.output.begin(), second.output.end(), '\n'), 3) << second.output;
}

TEST(kv_server, shards_0_is_refused_with_the_fix) {
  auto run = skerry::test::run_program(KV_SERVER, {"--shards", "0"});
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.output.find("use --shards auto"), std::string::npos) << run.output;
}

TEST(echo_server, sends_back_what_came_and_ends_after_half_close) {
  server_process server(ECHO_SERVER, four_shards);
  blocking_client client(server.port());
  std::string bytes(3'000'000, 'e');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31);
  std::thread sender([&] {
    client.send(bytes);
    client.shutdown_output();
  });
  EXPECT_TRUE(client.receive_exactly(bytes.size()) == bytes);
  EXPECT_EQ(client.receive(), "");
  sender.join();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

}  // namespace
