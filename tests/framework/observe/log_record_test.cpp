// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log_record.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

std::uint64_t test_seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 20261121;
  std::cout << "replay with SKERRY_TEST_SEED=" << seed << '\n';
  return seed;
}

constexpr std::chrono::nanoseconds example_time = 1795222923s + 4ms + 999us;

std::string line_of(const log_record& record, log_format format) {
  std::string out;
  append_line(out, record, format);
  return out;
}

std::string text_of(std::string_view message) {
  const std::string line = line_of({.wall = 0s, .shard = 0, .message = message}, log_format::text);
  constexpr std::string_view head = "1970-01-01T00:00:00.000Z info  shard 0: ";
  EXPECT_TRUE(line.starts_with(head));
  return line.substr(head.size(), line.size() - head.size() - 1);
}

void append_utf8(std::string& out, unsigned code) {
  const auto put = [&](unsigned byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) return put(0xc0 | code >> 6), put(0x80 | (code & 63));
  if (code < 0x10000) return put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
}

// A strict reader of one flat JSON object per line: values come back as strings, numbers and null as they are spelled.
class json_line {
 public:
  explicit json_line(std::string_view line) : rest_(line) {
    expect('{');
    do {
      const std::string key = string();
      expect(':');
      if (!fields_.emplace(key, value()).second) throw std::runtime_error("a key comes twice");
    } while (next(','));
    expect('}');
    expect('\n');
    if (!rest_.empty()) throw std::runtime_error("more than one line");
  }
  const std::string& operator[](const char* key) const { return fields_.at(key); }
  std::size_t size() const { return fields_.size(); }

 private:
  char take() {
    if (rest_.empty()) throw std::runtime_error("the line ends early");
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  void expect(char c) {
    if (take() != c) throw std::runtime_error(std::string("expected ") + c);
  }
  bool next(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string value() {
    if (rest_.front() == '"') return string();
    std::string spelled;
    while (!rest_.empty() && rest_.front() != ',' && rest_.front() != '}') spelled += take();
    return spelled;
  }
  std::string string() {
    std::string result;
    expect('"');
    for (;;) {
      const char c = take();
      if (c == '"') return result;
      if (static_cast<unsigned char>(c) < 0x20) throw std::runtime_error("a raw control character");
      if (c != '\\') {
        result += c;
        continue;
      }
      switch (const char escape = take()) {
        case 'n': result += '\n'; break;
        case 'r': result += '\r'; break;
        case 't': result += '\t'; break;
        case '"':
        case '\\': result += escape; break;
        case 'u': {
          std::string digits;
          for (int i = 0; i < 4; ++i) digits += take();
          append_utf8(result, static_cast<unsigned>(std::stoul(digits, nullptr, 16)));
          break;
        }
        default: throw std::runtime_error("an unknown escape");
      }
    }
  }

  std::string_view rest_;
  std::map<std::string, std::string> fields_;
};

// The same rule, decided by decoding the number instead of by table: what is no UTF-8 becomes U+FFFD, byte by byte.
std::string repaired(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(text[i])); };
    const unsigned lead = byte(at);
    const std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    bool good = length > 0 && at + length <= text.size();
    unsigned code = length == 1 ? lead : lead & (0x7fu >> length);
    for (std::size_t i = 1; good && i < length; ++i) {
      good = byte(at + i) >> 6 == 2;
      code = code << 6 | (byte(at + i) & 63);
    }
    std::string again;
    if (good) append_utf8(again, code);
    good = good && again == text.substr(at, length) && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    result += good ? again : "\xef\xbf\xbd";
    at += good ? length : 1;
  }
  return result;
}

TEST(log_record, text_says_when_how_bad_where_and_what) {
  log_record record{.wall = example_time, .level = log_level::info, .shard = 3, .task = "task name", .message = "hi"};
  EXPECT_EQ(line_of(record, log_format::text), "2026-11-21T01:02:03.004Z info  shard 3 \"task name\": hi\n");
  record.level = log_level::warning;
  record.task = "";
  EXPECT_EQ(line_of(record, log_format::text), "2026-11-21T01:02:03.004Z warning shard 3: hi\n");
  record.shard = {};
  record.level = log_level::error;
  EXPECT_EQ(line_of(record, log_format::text), "2026-11-21T01:02:03.004Z error no shard: hi\n");
}

TEST(log_record, json_has_the_same_fields) {
  log_record record{.wall = example_time, .level = log_level::info, .shard = 3, .task = "a \"task\"", .message = "hi"};
  EXPECT_EQ(line_of(record, log_format::json),
            "{\"time\":\"2026-11-21T01:02:03.004Z\",\"level\":\"info\",\"shard\":3,"
            "\"task\":\"a \\\"task\\\"\",\"message\":\"hi\"}\n");
  record.shard = {};
  EXPECT_EQ(json_line(line_of(record, log_format::json))["shard"], "null");
}

TEST(log_record, dates_before_the_epoch_and_on_leap_days_are_right) {
  EXPECT_EQ(line_of({.wall = 951782399s + 999999999ns, .shard = 0}, log_format::text).substr(0, 24),
            "2000-02-28T23:59:59.999Z");
  EXPECT_EQ(line_of({.wall = 951782400s, .shard = 0}, log_format::text).substr(0, 24), "2000-02-29T00:00:00.000Z");
  EXPECT_EQ(line_of({.wall = -1ns, .shard = 0}, log_format::text).substr(0, 24), "1969-12-31T23:59:59.999Z");
}

TEST(log_record, text_lets_no_byte_forge_a_line_or_drive_a_terminal) {
  EXPECT_EQ(text_of("a\nb\r\tc"), "a\\nb\\r\\tc");
  EXPECT_EQ(text_of("\x1b[31m\x7f"), "\\x1b[31m\\x7f");
  EXPECT_EQ(text_of(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(text_of("\xc2\x9b"), "\\x9b");
  EXPECT_EQ(text_of("\xff\xc3\xa9\xc3"), "\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd");
  EXPECT_EQ(text_of("\"C:\\x\""), "\"C:\\x\"");
}

TEST(log_record, cut_messages_say_so) {
  EXPECT_EQ(line_of({.wall = 0s, .shard = 0, .message = "abc", .cut = 17}, log_format::text),
            "1970-01-01T00:00:00.000Z info  shard 0: abc... (17 bytes cut)\n");
}

TEST(log_record, longest_line_of_the_worst_bytes_keeps_within_the_bound) {
  const std::string message(log_message_max, '\x01'), task(log_task_max, '\x01');
  const log_record record{.wall = example_time,
                          .level = log_level::warning,
                          .shard = 4294967295u,
                          .task = task,
                          .message = message,
                          .cut = ~std::uint64_t{0}};
  for (log_format format : {log_format::text, log_format::json})
    EXPECT_LE(line_of(record, format).size(), log_line_max);
}

TEST(log_record, json_of_random_bytes_parses_back) {
  std::mt19937_64 draw(test_seed());
  const auto random_text = [&](std::size_t most) {
    std::string text;
    const std::size_t size = draw() % most;
    while (text.size() < size) {
      switch (draw() % 4) {
        case 0: text += static_cast<char>(draw()); break;
        case 1: append_utf8(text, static_cast<unsigned>(draw() % 0x110000)); break;  // surrogates too
        case 2: text += static_cast<char>(draw() % 128); break;
        default: append_utf8(text, static_cast<unsigned>(draw() % 0x800)); break;
      }
    }
    return text;
  };
  for (int round = 0; round < 20'000; ++round) {
    const std::string message = random_text(200), task = random_text(40);
    const std::string line =
        line_of({.wall = example_time, .shard = 1, .task = task, .message = message}, log_format::json);
    ASSERT_EQ(repaired(line), line) << "the line itself is UTF-8";
    const json_line parsed(line);
    ASSERT_EQ(parsed.size(), 5u);
    ASSERT_EQ(parsed["message"], repaired(message));
    ASSERT_EQ(parsed["task"], repaired(task));
  }
}

TEST(log_settings, names_parse_back_and_nothing_else_does) {
  EXPECT_EQ(parse_log_level("debug"), log_level::debug);
  EXPECT_EQ(parse_log_level("info"), log_level::info);
  EXPECT_EQ(parse_log_level("warning"), log_level::warning);
  EXPECT_EQ(parse_log_level("error"), log_level::error);
  EXPECT_EQ(parse_log_level("off"), log_level::off);
  EXPECT_EQ(parse_log_format("text"), log_format::text);
  EXPECT_EQ(parse_log_format("json"), log_format::json);
  EXPECT_FALSE(parse_log_level(""));
  EXPECT_FALSE(parse_log_level("Info"));
  EXPECT_FALSE(parse_log_level("information"));
  EXPECT_FALSE(parse_log_format("yaml"));
}

}  // namespace
