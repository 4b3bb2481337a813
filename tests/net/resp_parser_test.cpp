// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/resp/parser.hpp>
#include <skerry/net/resp/writer.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <support/long_test.hpp>

namespace {

using skerry::net::resp::reply_buffer;
using skerry::net::resp::request_limits;
using skerry::net::resp::request_parser;
using skerry::net::resp::verdict;
using command = std::vector<std::string>;

std::uint64_t test_seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("seed: SKERRY_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

struct outcome {
  std::vector<command> commands;
  std::string error;
  bool operator==(const outcome&) const = default;
};

/// A connection as the parser sees it: bytes arrive in pieces, and the window lies somewhere else after each of them.
class feeder {
 public:
  explicit feeder(const request_limits& limits = {}) : parser_(limits) {}

  /// False once the connection would be closed.
  bool feed(std::string_view bytes) {
    if (!seen_.error.empty()) return false;
    kept_.append(bytes);
    for (;;) {
      // Exactly as large as the window, so that ASan sees any read beyond it.
      std::unique_ptr<char[]> window(new char[kept_.size()]);
      std::copy(kept_.begin(), kept_.end(), window.get());
      arguments_.assign(1, "before");
      verdict found = parser_.parse({window.get(), kept_.size()}, arguments_);
      if (found == verdict::command) {
        EXPECT_GT(arguments_.size(), 1U);
        seen_.commands.emplace_back(arguments_.begin() + 1, arguments_.end());
      } else {
        EXPECT_EQ(arguments_.size(), 1U) << "no verdict but command leaves arguments behind";
      }
      EXPECT_LE(parser_.consumed(), kept_.size());
      if (found == verdict::protocol_error) {
        seen_.error = parser_.error_text();
        return false;
      }
      kept_.erase(0, parser_.consumed());
      if (found == verdict::need_more) {
        EXPECT_GT(parser_.window_wanted(), kept_.size());
        return true;
      }
    }
  }

  const outcome& seen() const { return seen_; }
  const request_parser& parser() const { return parser_; }

 private:
  request_parser parser_;
  std::string kept_;
  std::vector<std::string_view> arguments_;
  outcome seen_;
};

outcome parse_whole(std::string_view bytes, const request_limits& limits = {}) {
  feeder in(limits);
  in.feed(bytes);
  return in.seen();
}

outcome parse_bytewise(std::string_view bytes, const request_limits& limits = {}) {
  feeder in(limits);
  for (char c : bytes) {
    if (!in.feed({&c, 1})) break;
  }
  return in.seen();
}

void expect_same_at_every_split(std::string_view bytes, const outcome& expected, const request_limits& limits = {}) {
  EXPECT_EQ(parse_whole(bytes, limits), expected) << bytes;
  EXPECT_EQ(parse_bytewise(bytes, limits), expected) << bytes;
  for (std::size_t a = 0; a <= bytes.size(); ++a) {
    for (std::size_t b = a; b <= bytes.size(); ++b) {
      feeder in(limits);
      if (in.feed(bytes.substr(0, a)) && in.feed(bytes.substr(a, b - a))) in.feed(bytes.substr(b));
      ASSERT_EQ(in.seen(), expected) << bytes << " cut at " << a << " and " << b;
    }
  }
}

// g++ 12 warns about "literal" + std::string where there is nothing to warn about.
std::string join(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (std::string_view part : parts) out += part;
  return out;
}

std::string encode(const command& c) {
  std::string out = join({"*", std::to_string(c.size()), "\r\n"});
  for (const std::string& argument : c) out += join({"$", std::to_string(argument.size()), "\r\n", argument, "\r\n"});
  return out;
}

TEST(resp_parser, every_split_of_a_frame_gives_the_same_command) {
  for (const command& c : std::vector<command>{{"GET", "key"},
                                               {"SET", "key", "a\r\nvalue"},
                                               {"PING"},
                                               {""},
                                               {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"},
                                               {"SET", std::string("\0\xff*$", 4), std::string(120, 'x')}}) {
    expect_same_at_every_split(encode(c), {{c}, ""});
  }
  expect_same_at_every_split(encode({"GET", "a"}) + "PING x\r\n" + encode({"DEL", "b"}),
                             {{{"GET", "a"}, {"PING", "x"}, {"DEL", "b"}}, ""});
}

// The answers of Redis 7.0.15 to the same bytes.
TEST(resp_parser, malformed_frames_get_the_words_of_redis) {
  struct row {
    std::string bytes;
    std::string error;
  };
  const std::vector<row> rows = {
      {"*abc\r\n", "Protocol error: invalid multibulk length"},
      {"*2147483648\r\n", "Protocol error: invalid multibulk length"},
      {"*\r\n", "Protocol error: invalid multibulk length"},
      {"*01\r\n$4\r\nPING\r\n", "Protocol error: invalid multibulk length"},
      {"*+1\r\n$4\r\nPING\r\n", "Protocol error: invalid multibulk length"},
      {"*-0\r\n", "Protocol error: invalid multibulk length"},
      {"*9999999999999999999999\r\n", "Protocol error: invalid multibulk length"},
      {"*1\r\nxPING\r\n", "Protocol error: expected '$', got 'x'"},
      {"*1\r\n\r\n", "Protocol error: expected '$', got ' '"},
      {"*1\r\n\x01\r\n", "Protocol error: expected '$', got '\x01'"},
      {"*1\r\n$abc\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$ 4\r\nPING\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$04\r\nPING\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$4 \r\nPING\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$-0\r\n", "Protocol error: invalid bulk length"},
      {"*1\r\n$9999999999999999999999999\r\n", "Protocol error: invalid bulk length"},
      {"*2\r\n$3\r\nGET\r\n$x\r\n", "Protocol error: invalid bulk length"},
      {"PING \"abc\r\n", "Protocol error: unbalanced quotes in request"},
      {"PING 'abc\r\n", "Protocol error: unbalanced quotes in request"},
      {"PING \"abc\"d\r\n", "Protocol error: unbalanced quotes in request"},
      {"PING \"abc\\\r\n", "Protocol error: unbalanced quotes in request"},
      {"foo bar\"\r\n", "Protocol error: unbalanced quotes in request"},
  };
  for (const row& r : rows) expect_same_at_every_split(r.bytes, {{}, r.error});
}

TEST(resp_parser, odd_but_legal_input_is_read_as_redis_reads_it) {
  struct row {
    std::string bytes;
    std::vector<command> commands;
  };
  const std::vector<row> rows = {
      {"*-1\r\nPING\r\n", {{"PING"}}},
      {"*-5\r\n*0\r\n\r\n  \r\nPING\r\n", {{"PING"}}},
      {"*1\r\n$4\r\nPINGxxPING\r\n", {{"PING"}, {"PING"}}},
      {"*1\rx$4\r\nPING\r\n", {{"PING"}}},
      {"PING \"a\\x41\\n\\t\\\"b\"\r\n", {{"PING", "aA\n\t\"b"}}},
      {"PING 'a\\'b\\x41'\r\n", {{"PING", "a'b\\x41"}}},
      {"PING \"\\xzz\\q\"\r\n", {{"PING", "xzzq"}}},
      {"PING\nPING x\n", {{"PING"}, {"PING", "x"}}},
      {"PING\rx\r\n", {{"PING", "x"}}},
      {"SET a\"b\" c\r\n", {{"SET", "ab", "c"}}},
      {"PING \"\"\r\n", {{"PING", ""}}},
      {"PING \v a\fb\r\n", {{"PING", "a\fb"}}},
      {"\"PING\"\r\n", {{"PING"}}},
  };
  for (const row& r : rows) expect_same_at_every_split(r.bytes, {r.commands, ""});
}

TEST(resp_parser, lines_without_an_end_are_refused_at_their_limit) {
  const std::size_t limit = request_limits{}.line_bytes_max;
  EXPECT_EQ(parse_whole(join({"*", std::string(limit, '1')})).error, "");
  EXPECT_EQ(parse_whole(join({"*", std::string(limit + 1, '1')})).error, "Protocol error: too big mbulk count string");
  EXPECT_EQ(parse_whole(join({"*1\r\n$", std::string(limit + 1, '1')})).error,
            "Protocol error: too big bulk count string");
  EXPECT_EQ(parse_whole(std::string(limit + 1, 'A')).error, "Protocol error: too big inline request");
  EXPECT_EQ(parse_whole(std::string(limit + 1, 'A') + "\r\n").error, "Protocol error: too big inline request");
  EXPECT_EQ(parse_whole(std::string(limit - 1, 'A') + "\r\n").commands.size(), 1U);
}

TEST(resp_parser, limits_are_the_callers) {
  request_limits small;
  small.bulk_bytes_max = 100;
  small.command_bytes_max = 200;
  small.line_bytes_max = 50;
  small.arguments_max = 3;
  expect_same_at_every_split("*1\r\n$101\r\n", {{}, "Protocol error: invalid bulk length"}, small);
  expect_same_at_every_split("*4\r\n", {{}, "Protocol error: invalid multibulk length"}, small);
  std::string hundred(100, 'x');
  EXPECT_EQ(parse_whole(encode({hundred, hundred}), small).error, "Protocol error: too big command");
  EXPECT_EQ(parse_bytewise(encode({hundred, hundred}), small).error, "Protocol error: too big command");
  EXPECT_EQ(parse_whole(encode({hundred, std::string(70, 'x')}), small).commands.size(), 1U);
  EXPECT_EQ(parse_whole(std::string(51, 'a') + "\n", small).error, "Protocol error: too big inline request");
}

TEST(resp_parser, window_wanted_is_exact_inside_a_body_and_never_beyond_the_limit) {
  feeder in;
  in.feed("*2\r\n$3\r\nSET\r\n$1000\r\nx");
  EXPECT_EQ(in.parser().window_wanted(), std::string_view("*2\r\n$3\r\nSET\r\n$1000\r\n").size() + 1002);
  EXPECT_TRUE(in.parser().mid_command());
  feeder many;
  many.feed("*1000000\r\n");
  EXPECT_LE(many.parser().window_wanted(), request_limits{}.command_bytes_max);
}

TEST(resp_parser, a_million_tiny_arguments_are_one_command) {
  std::string bytes = "*1000000\r\n";
  for (int i = 0; i < 1000000; ++i) bytes += "$1\r\na\r\n";
  request_parser parser;
  std::vector<std::string_view> arguments;
  for (std::size_t cut : {bytes.size() / 2, bytes.size() - 1}) {
    ASSERT_EQ(parser.parse({bytes.data(), cut}, arguments), verdict::need_more);
    ASSERT_TRUE(arguments.empty());
  }
  ASSERT_EQ(parser.parse(bytes, arguments), verdict::command);
  EXPECT_EQ(arguments.size(), 1000000U);
  EXPECT_TRUE(std::all_of(arguments.begin(), arguments.end(), [](std::string_view a) { return a == "a"; }));
  EXPECT_EQ(parser.consumed(), bytes.size());
  EXPECT_FALSE(parser.mid_command());
}

// Quadratic work would be some 10^13 steps here: the test would not end within its time limit.
TEST(resp_parser, fed_byte_by_byte_it_does_linear_work) {
  std::string bytes = encode({"SET", "key", std::string(2000000, 'v')}) + "*1000000\r\n";
  for (int i = 0; i < 1000000; ++i) bytes += "$0\r\n\r\n";
  bytes += std::string(60000, 'i') + "\r\n*" + std::string(60000, '1');
  request_parser parser;
  std::vector<std::string_view> arguments;
  std::size_t begin = 0;
  std::size_t commands = 0;
  for (std::size_t end = 1; end <= bytes.size(); ++end) {
    verdict found = parser.parse({bytes.data() + begin, end - begin}, arguments);
    ASSERT_NE(found, verdict::protocol_error);
    begin += parser.consumed();
    if (found != verdict::command) continue;
    ++commands;
    arguments.clear();
  }
  EXPECT_EQ(commands, 3U);
}

std::string random_bytes(std::mt19937_64& random, std::size_t size_max, std::string_view alphabet) {
  std::string out(random() % (size_max + 1), '\0');
  for (char& c : out) c = alphabet.empty() ? static_cast<char>(random()) : alphabet[random() % alphabet.size()];
  return out;
}

TEST(resp_parser, random_bytes_get_the_same_answer_however_they_are_cut) {
  std::mt19937_64 random(test_seed());
  request_limits small;
  small.bulk_bytes_max = 64;
  small.command_bytes_max = 256;
  small.line_bytes_max = 40;
  small.arguments_max = 16;
  for (int round = 0; round < skerry::test::rounds(20000); ++round) {
    std::string_view alphabet = round % 4 == 0 ? "" : round % 2 == 0 ? "*$\r\n0123-" : "*$\r\n12 a\"'\\x";
    std::string bytes = random_bytes(random, 120, alphabet);
    if (round % 3 == 0) bytes = join({"*2\r\n", bytes});
    outcome expected = parse_whole(bytes, small);
    ASSERT_EQ(parse_bytewise(bytes, small), expected) << ::testing::PrintToString(bytes);
    feeder in(small);
    for (std::size_t at = 0; at < bytes.size();) {
      std::size_t piece = std::min<std::size_t>(1 + random() % 9, bytes.size() - at);
      if (!in.feed(std::string_view(bytes).substr(at, piece))) break;
      at += piece;
    }
    ASSERT_EQ(in.seen(), expected) << ::testing::PrintToString(bytes);
  }
}

TEST(resp_parser, random_valid_streams_come_out_as_they_went_in) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < skerry::test::rounds(200); ++round) {
    std::vector<command> sent;
    std::string bytes;
    for (int i = 0; i < 30; ++i) {
      command c(1 + random() % (i % 10 == 0 ? 40 : 4));
      for (std::string& argument : c) argument = random_bytes(random, i % 7 == 0 ? 300 : 12, "");
      sent.push_back(c);
      bytes += encode(c);
      if (random() % 8 == 0) bytes += "*0\r\n";
    }
    feeder in;
    for (std::size_t at = 0; at < bytes.size();) {
      std::size_t piece = std::min<std::size_t>(1 + random() % 200, bytes.size() - at);
      ASSERT_TRUE(in.feed(std::string_view(bytes).substr(at, piece)));
      at += piece;
    }
    ASSERT_EQ(in.seen().commands, sent);
  }
}

TEST(resp_writer, each_reply_has_its_form) {
  reply_buffer out;
  write_simple(out, "PONG");
  write_error(out, "ERR two\r\nlines");
  write_integer(out, 0);
  write_integer(out, INT64_MIN);
  write_bulk(out, "");
  write_bulk(out, "value");
  write_null(out);
  write_null_array(out);
  write_array_header(out, 12);
  write_bulk_number(out, -7);
  write_ok(out);
  EXPECT_EQ(out.view(),
            "+PONG\r\n-ERR two  lines\r\n:0\r\n:-9223372036854775808\r\n$0\r\n\r\n$5\r\nvalue\r\n$-1\r\n*-1\r\n*12\r\n"
            "$2\r\n-7\r\n+OK\r\n");
}

TEST(resp_writer, clear_keeps_memory_up_to_the_bound_and_gives_back_more) {
  reply_buffer out(4096);
  write_bulk(out, std::string(1000, 'x'));
  const char* kept = out.data();
  out.clear();
  write_bulk(out, std::string(1000, 'y'));
  EXPECT_EQ(out.data(), kept);
  write_bulk(out, std::string(10000, 'z'));
  reply_buffer moved = std::move(out);
  EXPECT_EQ(moved.size(), 1009U + 10010U);
  moved.clear();
  EXPECT_EQ(moved.capacity(), 0U);
}

}  // namespace
