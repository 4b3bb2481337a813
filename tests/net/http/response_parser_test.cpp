// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/response_parser.hpp>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/requests.hpp>
#include <support/heap_count.hpp>
#include <support/long_test.hpp>

namespace skerry::net::http {
namespace {

std::string describe(const response_head& h) {
  std::string out = std::to_string(h.status) + " 1." + std::to_string(h.minor_version) + " [" + std::string(h.reason) +
                    "] framing " + std::to_string(static_cast<int>(h.framing)) + " length " +
                    std::to_string(h.content_length) + (h.keep_alive ? " keep" : " close");
  for (const field& f : h.fields) out.append("\n").append(f.name).append("=").append(f.value);
  return out;
}

/// What a parser makes of bytes that come in pieces; each window is as large as its bytes, and gone before the next.
template <class Pieces>
std::string parse_pieces(std::string_view bytes, Pieces next_size, const head_limits& limits = {},
                         method asked = method::get) {
  response_parser parser(limits);
  parser.reset(asked);
  for (std::size_t size = 0; size < bytes.size();) {
    size = std::min<std::size_t>(size + next_size(), bytes.size());
    std::unique_ptr<char[]> window(new char[size]);
    std::copy_n(bytes.data(), size, window.get());
    const verdict found = parser.parse({window.get(), size});
    if (found == verdict::error) return "refused: " + std::string(parser.error_text());
    if (found == verdict::complete) {
      return describe(parser.head()) + "\nin " + std::to_string(parser.consumed()) + " bytes";
    }
  }
  return "need more";
}

std::string parse_whole(std::string_view bytes, method asked = method::get) {
  return parse_pieces(bytes, [&] { return bytes.size(); }, {}, asked);
}

std::string same_at_every_split(std::string_view bytes, const head_limits& limits = {}) {
  std::string expected = parse_pieces(bytes, [&] { return bytes.size(); }, limits);
  EXPECT_EQ(parse_pieces(bytes, [] { return 1; }, limits), expected) << bytes;
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    bool first = true;
    EXPECT_EQ(parse_pieces(
                  bytes, [&] { return std::exchange(first, false) ? cut : bytes.size(); }, limits),
              expected)
        << bytes << "\ncut at " << cut;
  }
  return expected;
}

bool is_refused(std::string_view outcome) { return outcome.starts_with("refused: "); }

const std::vector<std::string>& accepted() {
  static const std::vector<std::string> heads = {
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 \r\n\r\n",
      "HTTP/1.0 200 Fine \xc3\xa9 thank you\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n",
      "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: Chunked\r\nX:\r\n\r\n",
      "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: \"1\"\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\n",
      "HTTP/1.1 599 \tx\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nConnection: x, close\r\n\r\n",
  };
  return heads;
}

const std::vector<std::string>& refused() {
  static const std::vector<std::string> heads = [] {
    std::vector<std::string> all = {
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1\t200 OK\r\n\r\n",
        "HTTP/1.1 200\tOK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200 OK\rX\r\n\r\n",
        "HTTP/1.1 200 OK\r\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "\r\n",
        "HTTP\r\n",
        "HTTP/1.1 \r\n",
        "HTTP/1.1 200\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
    };
    // What a request is refused for its fields, a response is too.
    constexpr std::string_view request = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (const auto& [status, bytes] : test::refused_heads()) {
      if (!bytes.starts_with(request)) continue;
      const std::string fields = bytes.substr(request.size());
      if (fields.starts_with("Expect") || fields.starts_with("Host")) continue;  // these say nothing here
      all.push_back("HTTP/1.1 200 OK\r\n" + fields);
    }
    return all;
  }();
  return heads;
}

TEST(response_parser, accepts_what_is_well_formed_at_every_split) {
  for (const std::string& bytes : accepted()) {
    const std::string seen = same_at_every_split(bytes);
    EXPECT_TRUE(seen.ends_with("in " + std::to_string(bytes.size()) + " bytes")) << bytes << seen;
  }
}

TEST(response_parser, refuses_what_another_could_read_otherwise_at_every_split) {
  EXPECT_GT(refused().size(), 60u);
  for (const std::string& bytes : refused()) {
    const std::string seen = same_at_every_split(bytes);
    EXPECT_TRUE(is_refused(seen)) << bytes << seen;
  }
}

TEST(response_parser, a_head_says_what_was_sent) {
  EXPECT_EQ(parse_whole(accepted()[2]),
            "200 1.0 [Fine \xc3\xa9 thank you] framing 1 length 3 keep\nConnection=keep-alive\nContent-Length=3\n"
            "in 77 bytes");
  EXPECT_EQ(parse_whole("HTTP/1.1 404 \r\nA: b\r\n\r\nHTTP"), "404 1.1 [] framing 3 length 0 close\nA=b\nin 23 bytes");
}

TEST(response_parser, the_end_of_a_body_follows_method_status_and_fields) {
  struct row {
    std::string_view first, fields;
    method asked;
    framing expected;
    bool keep_alive;
  };
  const std::vector<row> rows = {
      {"1.1 200", "Content-Length: 5\r\n", method::get, framing::length, true},
      {"1.1 200", "Content-Length: 5\r\n", method::head, framing::none, true},
      {"1.1 200", "Transfer-Encoding: chunked\r\n", method::get, framing::chunked, true},
      {"1.1 200", "Transfer-Encoding: chunked\r\n", method::head, framing::none, true},
      {"1.1 200", "", method::get, framing::until_close, false},
      {"1.1 200", "Connection: keep-alive\r\n", method::get, framing::until_close, false},
      {"1.1 200", "", method::head, framing::none, true},
      {"1.1 200", "Connection: close\r\n", method::head, framing::none, false},
      {"1.0 200", "Content-Length: 5\r\n", method::get, framing::length, false},
      {"1.0 200", "Content-Length: 5\r\nConnection: keep-alive\r\n", method::get, framing::length, true},
      {"1.1 204", "", method::get, framing::none, true},
      {"1.1 304", "Content-Length: 5\r\n", method::get, framing::none, true},
      {"1.1 304", "Transfer-Encoding: chunked\r\n", method::get, framing::none, true},
      {"1.1 103", "Link: x\r\n", method::post, framing::none, true},
  };
  for (const row& r : rows) {
    response_parser parser;
    parser.reset(r.asked);
    const std::string bytes = "HTTP/" + std::string(r.first) + " X\r\n" + std::string(r.fields) + "\r\n";
    ASSERT_EQ(parser.parse(bytes), verdict::complete) << bytes << parser.error_text();
    EXPECT_EQ(parser.head().framing, r.expected) << bytes;
    EXPECT_EQ(parser.head().keep_alive, r.keep_alive) << bytes;
  }
}

TEST(response_parser, limits_hold_to_the_byte_at_every_split) {
  head_limits small;
  small.request_line_bytes_max = 20;
  small.head_bytes_max = 40;
  small.fields_max = 2;
  const std::string line = "HTTP/1.1 200 1234567";
  EXPECT_FALSE(is_refused(same_at_every_split(line + "\r\n\r\n", small)));
  EXPECT_TRUE(is_refused(same_at_every_split(line + "8\r\n\r\n", small)));
  EXPECT_FALSE(is_refused(same_at_every_split(line + "\r\nA: 23456789012\r\n\r\n", small)));
  EXPECT_TRUE(is_refused(same_at_every_split(line + "\r\nA: 2345678901234567\r\n\r\n", small)));
  EXPECT_FALSE(is_refused(same_at_every_split(line + "\r\na:\r\nb:\r\n\r\n", small)));
  EXPECT_TRUE(is_refused(same_at_every_split(line + "\r\na:\r\nb:\r\nc:\r\n\r\n", small)));
}

TEST(response_parser, only_the_constructor_allocates) {
  response_parser parser;
  const std::uint64_t before = test_support::heap_allocations();
  for (const std::string& bytes : accepted()) {
    ASSERT_EQ(parser.parse(std::string_view(bytes).substr(0, 10)), verdict::need_more);
    ASSERT_EQ(parser.parse(bytes), verdict::complete);
    parser.reset();
  }
  EXPECT_EQ(test_support::heap_allocations(), before);
}

TEST(response_parser, mutated_and_random_bytes_get_the_same_answer_however_they_are_cut) {
  std::mt19937_64 random(test::seed());
  static constexpr std::string_view alphabet = "\r\n :\t,;0123456789ahHTcC/?#\x7f\x80\xff";
  std::vector<std::string> fixtures = accepted();
  fixtures.insert(fixtures.end(), refused().begin(), refused().end());
  head_limits small;
  small.request_line_bytes_max = 24;
  small.head_bytes_max = 80;
  small.fields_max = 2;
  std::size_t complete = 0;
  for (int round = 0; round < test::rounds(20000); ++round) {
    std::string bytes = fixtures[random() % (round % 2 == 0 ? accepted().size() : fixtures.size())];
    for (auto edits = random() % 4; edits-- > 0 && !bytes.empty();) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0: bytes[at] = alphabet[random() % alphabet.size()]; break;
        case 1: bytes[at] = static_cast<char>(random()); break;
        case 2: bytes.erase(at, 1 + random() % 3); break;
        default: bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 20)); break;
      }
    }
    const head_limits limits = round % 3 == 0 ? small : head_limits{};
    const std::string expected = parse_pieces(bytes, [&] { return bytes.size(); }, limits);
    complete += expected.contains("framing");
    ASSERT_EQ(parse_pieces(bytes, [] { return 1; }, limits), expected) << ::testing::PrintToString(bytes);
    ASSERT_EQ(parse_pieces(
                  bytes, [&] { return 1 + random() % 40; }, limits),
              expected)
        << ::testing::PrintToString(bytes);
  }
  EXPECT_GT(complete, 1000U) << "the mutations are so wild that they test nothing";
}

}  // namespace
}  // namespace skerry::net::http
