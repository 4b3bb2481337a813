// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/resp/parser.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <kv_commands_expected.hpp>
#include <kv_server/command_batch.hpp>

namespace {

using namespace kv_server;
using assembly = command_batch::assembly;

constexpr std::uint64_t no_limit = std::uint64_t{1} << 40;
constexpr std::uint64_t start_ms = 1'700'000'000'000;
constexpr std::uint64_t seed = 7;

/// Shards, a connection and what lies between them, in one thread.
class server_model {
 public:
  explicit server_model(std::uint32_t shards, std::uint64_t memory_max = no_limit) : batch_(shards) {
    for (std::uint32_t i = 0; i < shards; ++i) shards_.push_back(std::make_unique<keyspace>(memory_max, start_ms));
    client.id = 68;
  }

  /// Answers a whole pipeline. Slices stop at `reply_max`, the output is taken whenever it has `out_max` bytes.
  std::string answer(std::string pipeline, std::size_t reply_max = 1 << 20, std::size_t out_max = 1 << 20) {
    std::string sent;
    std::span<char> window(pipeline);
    skerry::net::resp::request_parser parser;
    bool more = true;
    while (more && !client.closing) {
      batch_.clear();
      more = false;
      while (!batch_.full() && !batch_.barrier()) {
        auto found = parser.parse(window, batch_.arguments());
        window = window.subspan(parser.consumed());
        if (found != skerry::net::resp::verdict::command) break;
        batch_.add(seed, [&](std::uint64_t hash) { return shard_of(hash); });
        more = true;
      }
      run(sent, reply_max, out_max);
    }
    return sent;
  }

  keyspace& shard(std::size_t i) { return *shards_[i]; }
  command_batch& batch() { return batch_; }
  std::size_t held_max = 0;  ///< the most reply bytes that slices and output held at one time
  client_state client;

 private:
  std::uint32_t shard_of(std::uint64_t hash) const { return static_cast<std::uint32_t>((hash >> 32) % shards_.size()); }

  void run(std::string& sent, std::size_t reply_max, std::size_t out_max) {
    out_.clear();
    for (assembly state = assembly::waiting; state != assembly::finished;) {
      if (state == assembly::waiting) {
        for (std::uint32_t shard : batch_.shards()) {
          if (batch_.slice(shard).needs_execution()) batch_.slice(shard).execute(*shards_[shard], start_ms, reply_max);
        }
      }
      state = batch_.assemble(client, {}, out_, out_max);
      std::size_t held = out_.capacity();
      for (std::uint32_t shard : batch_.shards()) held += batch_.slice(shard).reply_bytes();
      held_max = std::max(held_max, held);
      sent += out_.view();
      out_.clear();
      if (state == assembly::value) sent += batch_.borrowed_value();
    }
    for (std::uint32_t shard : batch_.shards()) {
      if (batch_.slice(shard).has_pins()) batch_.slice(shard).release_pins(*shards_[shard]);
    }
    if (batch_.barrier()) run_barrier(*batch_.barrier());
    sent += out_.view();
  }

  void run_barrier(const parsed_command& c) {
    namespace resp = skerry::net::resp;
    if (c.info->route == routing::local) return execute_local(client, {}, *c.info, c.args, out_);
    std::int64_t keys = 0;
    for (const auto& shard : shards_) keys += static_cast<std::int64_t>(shard->size());
    if (c.info->id == command_id::dbsize) return resp::write_integer(out_, keys);
    if (c.info->id == command_id::flushall) {
      if (!parse_flushall(c.args, out_)) return;
      for (const auto& shard : shards_) shard->flush();
      return resp::write_ok(out_);
    }
    if (c.info->id == command_id::scan && parse_scan(c.args, out_)) {
      resp::write_array_header(out_, 2);
      resp::write_bulk(out_, "0");
      resp::write_array_header(out_, 0);
    }
  }

  std::vector<std::unique_ptr<keyspace>> shards_;
  command_batch batch_;
  reply_buffer out_{0};
};

std::string encode(const std::vector<std::string_view>& command) {
  std::string out("*");
  out += std::to_string(command.size());
  out += "\r\n";
  for (std::string_view argument : command) {
    out += '$';
    out += std::to_string(argument.size());
    out += "\r\n";
    out += argument;
    out += "\r\n";
  }
  return out;
}

std::string bulk(std::string_view value) {
  reply_buffer out;
  skerry::net::resp::write_bulk(out, value);
  return std::string(out.view());
}

TEST(kv_commands, every_answer_is_redis_answer_on_one_shard_and_on_four) {
  for (std::uint32_t shards : {1U, 4U}) {
    server_model server(shards);
    for (const expected_answer& row : expected_answers) {
      std::string shown;
      for (std::string_view argument : row.command) shown.append(argument).append(" ");
      EXPECT_EQ(server.answer(encode(row.command)), row.reply) << shown;
      server.client.closing = false;
    }
  }
}

TEST(kv_commands, a_pipeline_gets_the_same_answers_in_the_same_order_as_single_commands) {
  std::string pipeline;
  std::string expected;
  for (const expected_answer& row : expected_answers) {
    if (row.command[0] == "QUIT") continue;
    pipeline += encode(row.command);
    expected += row.reply;
  }
  for (std::size_t limit : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{1} << 20}) {
    server_model server(4);
    EXPECT_TRUE(server.answer(pipeline, limit, limit + 1) == expected) << limit;
  }
}

TEST(kv_commands, names_are_found_in_any_case_and_nothing_else_is) {
  for (const command_info& info : all_commands()) {
    EXPECT_EQ(find_command(info.name), &info);
    std::string upper(info.name);
    for (char& c : upper) c = static_cast<char>(c - 32);
    EXPECT_EQ(find_command(upper), &info);
  }
  std::mt19937_64 random(3);
  for (int i = 0; i < 100000; ++i) {
    std::string name(random() % 10, '\0');
    for (char& c : name) c = static_cast<char>(random());
    const command_info* found = find_command(name);
    EXPECT_TRUE(found == nullptr || equal_ignoring_case(name, found->name));
  }
  EXPECT_EQ(find_command(std::string_view("get\0", 4)), nullptr);
  EXPECT_EQ(find_command("\x07"
                         "et"),
            nullptr);
}

TEST(kv_commands, libraries_get_what_they_ask_for_at_the_start) {
  server_model server(1);
  EXPECT_EQ(server.answer("CLIENT SETINFO LIB-NAME x\r\n"), "+OK\r\n");
  EXPECT_EQ(server.answer("HELLO 3\r\n"), "-NOPROTO unsupported protocol version\r\n");
  EXPECT_EQ(server.answer("COMMAND DOCS\r\n"), "*0\r\n");
  std::string count(":");
  count += std::to_string(all_commands().size());
  count += "\r\n";
  EXPECT_EQ(server.answer("COMMAND COUNT\r\n"), count);
  EXPECT_EQ(
      server.answer("COMMAND INFO get nosuch\r\n"),
      "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n*-1\r\n");
}

TEST(kv_commands, an_error_quotes_the_beginning_of_a_long_argument) {
  server_model server(1);
  const std::string given(1'000'000, 'x');
  const std::string told(128, 'x');
  const std::pair<std::vector<std::string_view>, std::string> rows[] = {
      {{"EXPIRE", "k", "10", given}, "-ERR Unsupported option " + told + "\r\n"},
      {{"PEXPIRE", "k", "10", "NX", given}, "-ERR Unsupported option " + told + "\r\n"},
      {{"HELLO", "2", given}, "-ERR Syntax error in HELLO option '" + told + "'\r\n"},
      {{"CONFIG", "SET", given, "1"}, "-ERR Unknown option or number of arguments for CONFIG SET - '" + told + "'\r\n"},
      {{"CONFIG", given}, "-ERR unknown subcommand '" + told + "'. Try CONFIG HELP.\r\n"},
      {{given}, "-ERR unknown command '" + told + "', with args beginning with: \r\n"},
  };
  for (const auto& [words, error] : rows) EXPECT_EQ(server.answer(encode(words)), error);
  // Whatever a command says of an argument that it does not understand.
  for (const command_info& info : all_commands()) {
    for (std::size_t at = 1; at <= 4; ++at) {
      std::vector<std::string_view> words{info.name, "1", "1", "1", "1"};
      words[at] = given;
      const std::string answer = server.answer(encode(words));
      if (answer.starts_with("-")) {
        EXPECT_LT(answer.size(), 300u) << info.name;
      }
      server.client.closing = false;
    }
  }
}

TEST(kv_commands, writes_without_memory_get_the_words_of_redis) {
  const std::string refused = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
  server_model server(1, 40000);
  std::string big(50000, 'x');
  EXPECT_EQ(server.answer(encode({"SET", "a", big})), refused);
  EXPECT_EQ(server.answer(encode({"APPEND", "a", big})), refused);
  EXPECT_EQ(server.answer(encode({"MSET", "a", "1", "b", big})), refused);
  EXPECT_EQ(server.answer(encode({"SET", "a", big, "GET"})), refused);
  EXPECT_EQ(server.answer("GET a\r\n"), "$1\r\n1\r\n");
}

TEST(command_batch, quit_answers_and_nothing_behind_it_is_executed) {
  server_model server(2);
  EXPECT_EQ(server.answer("SET a 1\r\nQUIT\r\nSET a 2\r\n"), "+OK\r\n+OK\r\n");
  EXPECT_TRUE(server.client.closing);
  server.client.closing = false;
  EXPECT_EQ(server.answer("GET a\r\n"), "$1\r\n1\r\n");
}

TEST(command_batch, large_values_are_borrowed_in_their_place_and_given_back) {
  server_model server(3);
  const std::string big(300'000, 'b');
  server.answer(encode({"MSET", "big", big, "small", "s", "other", big}));
  std::string expected = bulk(big);
  expected += "*4\r\n" + bulk(big) + bulk("s") + "$-1\r\n" + bulk(big) + bulk(big) + bulk(big) + "$-1\r\n+PONG\r\n";
  EXPECT_EQ(
      server.answer("GET big\r\nMGET big small none other\r\nSET other x GET\r\nGETDEL big\r\nGET big\r\nPING\r\n"),
      expected);
  server.answer("FLUSHALL\r\n");
  server_model empty(3);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(server.shard(i).memory_used(), empty.shard(i).memory_used());
}

TEST(command_batch, a_long_argument_is_given_back_in_its_place_without_a_copy) {
  server_model server(2);
  const std::string given(10'000'000, 'e');
  const std::string pipeline = encode({"PING"}) + encode({"ECHO", given}) + encode({"SET", "a", "1"}) +
                               encode({"PING", given}) + encode({"GET", "a"}) + encode({"ECHO", given, given});
  const std::string expected = "+PONG\r\n" + bulk(given) + "+OK\r\n" + bulk(given) + bulk("1") +
                               "-ERR wrong number of arguments for 'echo' command\r\n";
  for (std::size_t out_max : {std::size_t{1}, std::size_t{64} << 10}) {
    EXPECT_TRUE(server.answer(pipeline, 64 << 10, out_max) == expected);
  }
  EXPECT_LE(server.held_max, 64U << 10);
}

TEST(command_batch, what_replies_hold_is_bounded_however_much_is_asked_for) {
  server_model server(4);
  const std::string value(60'000, 'v');  // just small enough to be copied
  std::string pipeline;
  for (int i = 0; i < 20; ++i) server.answer(encode({"SET", std::to_string(i), value}));
  for (int i = 0; i < 2000; ++i) pipeline += encode({"GET", std::to_string(i % 20)});
  EXPECT_EQ(server.answer(pipeline, 64 << 10, 64 << 10).size(), 2000 * bulk(value).size());
  EXPECT_LE(server.held_max, 1U << 20);
}

// A pipeline of random commands against a plain map.
TEST(command_batch, random_pipelines_on_four_shards_agree_with_a_map) {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  std::uint64_t test_seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("seed: SKERRY_TEST_SEED=%llu\n", static_cast<unsigned long long>(test_seed));
  std::mt19937_64 random(test_seed);
  server_model server(4);
  std::map<std::string, std::string> model;
  for (int round = 0; round < 500; ++round) {
    std::string pipeline;
    std::string expected;
    for (std::uint64_t i = random() % 100; i-- > 0;) {
      std::string a = std::to_string(random() % 50), b = std::to_string(random() % 50);
      std::string value(random() % 30, static_cast<char>('a' + random() % 26));
      auto told = [&](const std::string& key) {
        return model.contains(key) ? bulk(model[key]) : std::string("$-1\r\n");
      };
      switch (random() % 7) {
        case 0:
          pipeline += encode({"SET", a, value});
          expected += "+OK\r\n";
          model[a] = value;
          break;
        case 1:
          pipeline += encode({"GET", a});
          expected += told(a);
          break;
        case 2: {
          pipeline += encode({"DEL", a, b});
          std::size_t removed = model.erase(a);
          removed += model.erase(b);
          expected += removed == 0 ? ":0\r\n" : removed == 1 ? ":1\r\n" : ":2\r\n";
          break;
        }
        case 3:
          pipeline += encode({"MGET", a, b});
          expected.append("*2\r\n").append(told(a)).append(told(b));
          break;
        case 4:
          pipeline += encode({"MSET", a, value, b, "second"});
          expected += "+OK\r\n";
          model[a] = value;
          model[b] = "second";
          break;
        case 5:
          pipeline += encode({"EXISTS", a, b});
          expected.append(":").append(std::to_string(model.count(a) + model.count(b))).append("\r\n");
          break;
        default:
          pipeline += encode({"DBSIZE"});
          expected.append(":").append(std::to_string(model.size())).append("\r\n");
      }
    }
    ASSERT_EQ(server.answer(pipeline, random() % 200, 1 + random() % 200), expected);
  }
}

}  // namespace
