// SPDX-License-Identifier: Apache-2.0
// The model of one key against the server's own code, and what it must refuse.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <kv_server/command_batch.hpp>
#include <support/kv_commands.hpp>
#include <support/kv_model.hpp>
#include <support/long_test.hpp>
#include <support/test_seed.hpp>

namespace {

using namespace kv_test;
using skerry::random_source;
using skerry::sim::check_linearizability;
using skerry::sim::never;
using verb = kv_command::verb;
using outcome = skerry::sim::linearizability_result::outcome;

constexpr std::uint64_t server_starts_ms = 1'700'000'000'000;

/// The server's code for keys and commands, without shards or connections. Its clock is not the clients'.
class one_shard {
 public:
  resp_reply answer(const kv_command& command, std::uint64_t now_ms) {
    using assembly = kv_server::command_batch::assembly;
    const std::uint64_t here_ms = server_starts_ms + now_ms;
    if (command.what == verb::flush) {
      keys_.flush();
      return {resp_reply::kind::simple, "OK", 0, {}};
    }
    const std::vector<std::string> words = words_of(command);
    batch_.clear();
    batch_.arguments().assign(words.begin(), words.end());
    batch_.add(7, [](std::uint64_t) { return 0U; });
    kv_server::batch_slice& slice = batch_.slice(0);
    if (slice.needs_execution()) slice.execute(keys_, here_ms, 1 << 20);
    kv_server::reply_buffer out;
    reply_parser replies;
    for (auto state = assembly::value; state == assembly::value;) {
      state = batch_.assemble(client_, {}, out, 1 << 20);
      replies.add(out.view());
      out.clear();
      if (state == assembly::value) replies.add(batch_.borrowed_value());
    }
    if (slice.has_pins()) slice.release_pins(keys_);
    keys_.maintain(here_ms, 10);
    return replies.take().value();
  }

 private:
  kv_server::keyspace keys_{std::uint64_t{1} << 40, server_starts_ms};
  kv_server::command_batch batch_{1};
  kv_server::client_state client_;
};

TEST(kv_model, one_client_gets_from_the_server_what_the_model_says) {
  const std::uint64_t seed = skerry::test_support::test_seed();
  random_source random(seed);
  kv_commands commands(seed, 1);
  one_shard server;
  kv_history seen;
  std::uint64_t now = 0;
  for (int i = 0; i < skerry::test::rounds(20'000); ++i) {
    now += random.uniform(3) == 0 ? random.uniform(400) : 0;
    kv_command c = commands.next(now);
    const resp_reply reply = server.answer(c, now);
    const auto at = static_cast<std::uint64_t>(2 * i);
    seen.emplace_back(1, at, at + 1, c, kv_answer{reply, now});
  }
  const auto result = check_linearizability(kv_model(), seen);
  EXPECT_TRUE(result.ok()) << result.text;
  EXPECT_EQ(find_lost_write(seen), std::nullopt);
  EXPECT_LT(result.states, 3 * seen.size());
}

/// Clients that each wait for an answer, and go away without it now and then; commands happen somewhere in between.
kv_history served(std::uint64_t seed, std::size_t count, std::uint32_t clients) {
  struct client {
    std::uint64_t free_at_us;
    kv_commands commands;
    std::uint32_t number;
  };
  struct happening {
    std::uint64_t at_us;
    std::size_t which;
  };
  random_source random(seed, 99);
  std::vector<client> all;
  for (std::uint32_t i = 0; i < clients; ++i) all.push_back({0, kv_commands(seed, i), i});
  kv_history seen;
  std::vector<happening> order;
  while (seen.size() < count) {
    client& c = *std::ranges::min_element(all, {}, &client::free_at_us);
    const std::uint64_t from = c.free_at_us + random.uniform(20'000), until = from + 1 + random.uniform(30'000);
    c.free_at_us = until + 1;
    const bool lost = random.uniform(50) == 0;
    if (lost) c.number += clients;  // a new connection
    order.push_back({from + random.uniform(until - from), seen.size()});
    seen.emplace_back(c.number, from, lost ? never : until, c.commands.next(from / 1000),
                      kv_answer{{}, lost ? 0 : until / 1000});
  }
  std::ranges::sort(order, {}, &happening::at_us);
  one_shard server;
  for (const happening& h : order) {
    if (seen[h.which].returned == never && random.uniform(2) == 0) continue;
    seen[h.which].output.reply = server.answer(seen[h.which].input, h.at_us / 1000);
  }
  return seen;
}

TEST(kv_model, many_clients_of_a_correct_server_are_linearizable) {
  const std::uint64_t seed = skerry::test_support::test_seed();
  for (std::uint64_t round = 0; round < static_cast<std::uint64_t>(skerry::test::rounds(20)); ++round) {
    const kv_history seen = served(seed + round, 2000, 12);
    const auto result = check_linearizability(kv_model(), seen);
    ASSERT_TRUE(result.ok()) << "seed " << seed + round << ": " << result.text;
    ASSERT_EQ(find_lost_write(seen), std::nullopt);
  }
}

TEST(kv_model, a_wrong_answer_is_refused_wherever_it_is) {
  const std::uint64_t seed = skerry::test_support::test_seed();
  random_source random(seed, 5);
  int refused = 0;
  const int rounds = skerry::test::rounds(60);
  for (int round = 0; round < rounds; ++round) {
    kv_history seen = served(seed + static_cast<std::uint64_t>(round), 400, 6);
    std::size_t changed = random.uniform(seen.size());
    while (seen[changed].returned == never || seen[changed].input.what != verb::get)
      changed = random.uniform(seen.size());
    resp_reply& reply = seen[changed].output.reply;
    // A value that some other client wrote at some time, or none.
    const kv_command& other = seen[random.uniform(seen.size())].input;
    const resp_reply before = reply;
    reply = other.what == verb::set ? resp_reply{resp_reply::kind::bulk, other.value, 0, {}} : resp_reply{};
    if (reply == before) continue;
    refused += check_linearizability(kv_model(), seen).found == outcome::violated ? 1 : 0;
  }
  EXPECT_GT(refused, rounds / 3) << "most changes cannot be explained by an overlap";
}

kv_command command(verb what, std::uint64_t sent_ms, std::string value = {}) {
  kv_command c;
  c.what = what;
  c.key = "k";
  c.sent_ms = sent_ms;
  c.value = std::move(value);
  return c;
}
kv_answer text(std::string value, std::uint64_t received_ms) {
  return {{resp_reply::kind::bulk, std::move(value), 0, {}}, received_ms};
}
kv_answer number(std::int64_t value, std::uint64_t received_ms) {
  return {{resp_reply::kind::integer, {}, value, {}}, received_ms};
}
kv_answer done(std::uint64_t received_ms) { return {{resp_reply::kind::simple, "OK", 0, {}}, received_ms}; }
kv_answer nothing(std::uint64_t received_ms) { return {{}, received_ms}; }

/// SET k v, to expire in 100 ms, sent at 1000 and answered at 1010; then one GET.
outcome after_deadline(std::uint64_t sent_ms, kv_answer answer, std::uint64_t clock_lag_ms = 0) {
  kv_command set = command(verb::set, 1000, "v");
  set.expire_ms = 100;
  kv_history seen;
  seen.emplace_back(1, 1000, 1010, set, done(1010));
  seen.emplace_back(2, sent_ms, answer.received_ms, command(verb::get, sent_ms), answer);
  return check_linearizability(kv_model(clock_lag_ms), seen).found;
}

TEST(kv_model, a_key_is_there_before_its_deadline_gone_behind_it_and_either_between) {
  EXPECT_EQ(after_deadline(1080, text("v", 1090)), outcome::linearizable);
  EXPECT_EQ(after_deadline(1080, nothing(1090)), outcome::violated);
  EXPECT_EQ(after_deadline(1104, text("v", 1106)), outcome::linearizable);
  EXPECT_EQ(after_deadline(1104, nothing(1106)), outcome::linearizable);
  EXPECT_EQ(after_deadline(1120, text("v", 1130)), outcome::violated) << "served after its end";
  EXPECT_EQ(after_deadline(1120, nothing(1130)), outcome::linearizable);
  EXPECT_EQ(after_deadline(1120, text("v", 1130), 50), outcome::linearizable) << "by a clock that may be late";
}

TEST(kv_model, what_was_seen_to_have_expired_stays_away) {
  kv_command set = command(verb::set, 1000, "v");
  set.expire_ms = 100;
  kv_history seen;
  seen.emplace_back(1, 1000, 1010, set, done(1010));
  seen.emplace_back(2, 1104, 1106, command(verb::get, 1104), nothing(1106));
  seen.emplace_back(2, 1107, 1108, command(verb::get, 1107), text("v", 1108));
  EXPECT_EQ(check_linearizability(kv_model(), seen).found, outcome::violated);
}

TEST(kv_model, an_increment_that_happened_twice_is_refused_and_one_without_an_answer_is_not) {
  kv_history seen;
  seen.emplace_back(1, 10, 20, command(verb::incr, 0), number(1, 0));
  seen.emplace_back(1, 30, 40, command(verb::get, 0), text("2", 0));
  EXPECT_EQ(check_linearizability(kv_model(), seen).found, outcome::violated);
  seen.emplace_back(2, 10, never, command(verb::incr, 0));
  EXPECT_EQ(check_linearizability(kv_model(), seen).found, outcome::linearizable);
}

TEST(kv_model, an_acknowledged_write_that_is_gone_is_named_without_a_search) {
  kv_history seen;
  seen.emplace_back(1, 10, 20, command(verb::set, 0, "a"), done(0));
  seen.emplace_back(2, 30, 40, command(verb::set, 0, "b"), done(0));
  seen.emplace_back(3, 50, 60, command(verb::get, 0), text("b", 0));
  EXPECT_EQ(find_lost_write(seen), std::nullopt);
  seen.emplace_back(3, 70, 80, command(verb::get, 0), text("a", 0));
  EXPECT_EQ(find_lost_write(seen),
            "acknowledged and lost: nobody changed the key after\n"
            "    client 2 [30, 40]  SET k b  -> OK\n"
            "  and yet\n"
            "    client 3 [70, 80]  GET k  -> \"a\"\n");
  seen.emplace_back(4, 45, never, command(verb::del, 0));
  EXPECT_EQ(find_lost_write(seen), std::nullopt) << "somebody may have deleted it";
}

TEST(resp_reply, is_read_whole_however_it_is_cut) {
  const std::string bytes = "+OK\r\n-ERR no\r\n:-12\r\n$-1\r\n$5\r\na\r\nbc\r\n*2\r\n$1\r\nx\r\n*0\r\n*-1\r\n";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    reply_parser parser;
    std::string found;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      parser.add(std::string_view(bytes).substr(at, piece));
      while (std::optional<resp_reply> reply = parser.take()) found += describe(*reply) + '|';
    }
    EXPECT_FALSE(parser.mid_reply());
    EXPECT_EQ(found, "OK|error ERR no|-12|nothing|\"a\r\nbc\"|(\"x\" () )|nothing|") << "in pieces of " << piece;
  }
}

}  // namespace
