// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/detail/scan.hpp>
#include <skerry/net/http/request_parser.hpp>

#include <algorithm>
#include <memory>
#include <ostream>
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

using skerry::test::accepted_heads;
using skerry::test::refused_heads;

/// All that a head says, so that two are compared whole.
std::string describe(const request_head& h) {
  std::string out;
  auto add = [&](std::string_view label, std::string_view value) {
    out.append(label).append("=").append(value).append("\n");
  };
  add("method", to_string(h.method));
  add("text", h.method_text);
  add("target", h.target);
  add("path", h.path);
  add("query", h.query);
  add("host", h.host);
  add("minor", std::to_string(h.minor_version));
  add("framing", std::to_string(static_cast<int>(h.framing)));
  add("length", std::to_string(h.content_length));
  add("keep", std::to_string(h.keep_alive));
  add("expects", std::to_string(h.expects_continue));
  for (const field& f : h.fields) add(f.name, f.value);
  return out;
}

/// What a parser made of a stream of requests without bodies.
struct outcome {
  std::vector<std::string> heads;
  std::size_t taken = 0;  ///< bytes of complete heads
  unsigned status = 0;
  std::string text;
  bool mid_head = false;
  bool operator==(const outcome&) const = default;
  friend void PrintTo(const outcome& o, std::ostream* out) {
    *out << o.heads.size() << " heads in " << o.taken << " bytes, then " << o.status << " " << o.text;
    for (const std::string& head : o.heads) *out << "\n" << head;
  }
};

/// A connection as the parser sees it: bytes arrive in pieces, and the window lies somewhere else after each of them.
class feeder {
 public:
  explicit feeder(const head_limits& limits = {}) : parser_(limits) {}

  /// False once the connection would be closed.
  bool feed(std::string_view bytes) {
    if (seen_.status != 0) return false;
    kept_.append(bytes);
    for (;;) {
      // Exactly as large as the window, so that ASan sees any read beyond it; and gone before the next call.
      std::unique_ptr<char[]> window(new char[kept_.size()]);
      std::ranges::copy(kept_, window.get());
      verdict found = parser_.parse({window.get(), kept_.size()});
      seen_.mid_head = found == verdict::need_more && parser_.mid_head();
      if (found == verdict::error) {
        seen_.status = parser_.error_status();
        seen_.text = parser_.error_text();
        EXPECT_TRUE(seen_.status >= 400 && !seen_.text.empty());
        return false;
      }
      if (found == verdict::need_more) return true;
      seen_.heads.push_back(describe(parser_.head()));
      seen_.taken += parser_.consumed();
      kept_.erase(0, parser_.consumed());
      parser_.reset();
      if (kept_.empty()) return true;
    }
  }
  const outcome& seen() const { return seen_; }

 private:
  request_parser parser_;
  std::string kept_;
  outcome seen_;
};

template <class Pieces>
outcome parse_pieces(std::string_view bytes, const head_limits& limits, Pieces next_size) {
  feeder in(limits);
  while (!bytes.empty()) {
    std::size_t size = std::min<std::size_t>(next_size(), bytes.size());
    if (!in.feed(bytes.substr(0, size))) break;
    bytes.remove_prefix(size);
  }
  return in.seen();
}

outcome parse_whole(std::string_view bytes, const head_limits& limits = {}) {
  return parse_pieces(bytes, limits, [&] { return bytes.size(); });
}

outcome expect_same_at_every_split(std::string_view bytes, const head_limits& limits = {}) {
  outcome expected = parse_whole(bytes, limits);
  EXPECT_EQ(parse_pieces(bytes, limits, [] { return 1; }), expected) << bytes;
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    bool first = true;
    outcome got = parse_pieces(bytes, limits, [&] { return std::exchange(first, false) ? cut : bytes.size(); });
    EXPECT_EQ(got, expected) << bytes << "\ncut at " << cut;
  }
  return expected;
}

std::string head_text(std::string_view bytes) {
  outcome seen = parse_whole(bytes);
  return seen.heads.size() == 1 ? seen.heads[0] : "refused: " + seen.text;
}

TEST(request_parser, accepts_what_is_well_formed_at_every_split) {
  for (const std::string& bytes : accepted_heads()) {
    outcome seen = expect_same_at_every_split(bytes);
    EXPECT_EQ(seen.heads.size(), 1U) << bytes << seen.text;
    EXPECT_EQ(seen.taken, bytes.size()) << bytes;
  }
}

TEST(request_parser, refuses_what_another_could_read_otherwise_at_every_split) {
  for (const auto& [status, bytes] : refused_heads()) {
    outcome seen = expect_same_at_every_split(bytes);
    EXPECT_EQ(seen.status, status) << bytes << seen.text;
    EXPECT_TRUE(seen.heads.empty()) << bytes;
  }
}

TEST(request_parser, a_head_says_what_was_sent) {
  EXPECT_EQ(
      head_text(
          "POST /a/b?c=d HTTP/1.1\r\nHost: h:1\r\nContent-Length: 42\r\nX:  y z\t\r\nExpect: 100-continue\r\n\r\n"),
      "method=POST\ntext=POST\ntarget=/a/b?c=d\npath=/a/b\nquery=c=d\nhost=h:1\nminor=1\nframing=1\nlength=42\n"
      "keep=1\nexpects=1\nHost=h:1\nContent-Length=42\nX=y z\nExpect=100-continue\n");
  EXPECT_EQ(
      head_text("PURGE http://a.b?x HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"),
      "method=\ntext=PURGE\ntarget=http://a.b?x\npath=/\nquery=x\nhost=a.b\nminor=0\nframing=0\nlength=0\nkeep=0\n"
      "expects=0\nExpect=100-continue\n");
}

TEST(request_parser, path_and_host_come_from_every_form_of_target) {
  struct row {
    std::string first_line;
    std::string host;
    std::string path;
    std::string query;
    std::string head_host;
  };
  const std::vector<row> rows = {
      {"GET / HTTP/1.1", "h", "/", "", "h"},
      {"GET /? HTTP/1.1", "h", "/", "", "h"},
      {"GET //x HTTP/1.1", "h", "//x", "", "h"},
      {"GET /a?b?c HTTP/1.1", "h", "/a", "b?c", "h"},
      {"OPTIONS * HTTP/1.1", "h", "*", "", "h"},
      {"OPTIONS http://h HTTP/1.1", "h", "*", "", "h"},
      {"OPTIONS http://h? HTTP/1.1", "h", "/", "", "h"},
      {"OPTIONS http://h/ HTTP/1.1", "h", "/", "", "h"},
      {"GET http://H:80/x?y HTTP/1.1", "h", "/x", "y", "H:80"},
      {"GET https://h HTTP/1.1", "h:443", "/", "", "h"},
      {"CONNECT h:22 HTTP/1.1", "h:22", "", "", "h:22"},
  };
  for (const row& r : rows) {
    const std::string bytes = r.first_line + "\r\nHost: " + r.host + "\r\n\r\n";
    request_parser parser;
    ASSERT_EQ(parser.parse(bytes), verdict::complete) << r.first_line << parser.error_text();
    EXPECT_EQ(parser.head().path, r.path) << r.first_line;
    EXPECT_EQ(parser.head().query, r.query) << r.first_line;
    EXPECT_EQ(parser.head().host, r.head_host) << r.first_line;
  }
}

TEST(request_parser, keep_alive_follows_version_and_connection) {
  struct row {
    std::string version;
    std::string connection;
    bool keep_alive;
  };
  const std::vector<row> rows = {
      {"1", "", true},
      {"0", "", false},
      {"1", "Connection: close\r\n", false},
      {"1", "Connection: Keep-Alive, CLOSE\r\n", false},
      {"1", "Connection: close\r\nConnection: keep-alive\r\n", false},
      {"1", "Connection: upgrade\r\n", true},
      {"1", "Connection: closed, xclose\r\n", true},
      {"0", "Connection: keep-alive\r\n", true},
      {"0", "Connection: a,, ,\tkeep-alive\r\n", true},
      {"0", "Connection: keep-alive, close\r\n", false},
  };
  for (const row& r : rows) {
    request_parser parser;
    const std::string bytes = "GET / HTTP/1." + r.version + "\r\nHost: a\r\n" + r.connection + "\r\n";
    ASSERT_EQ(parser.parse(bytes), verdict::complete) << bytes;
    EXPECT_EQ(parser.head().keep_alive, r.keep_alive) << bytes;
  }
}

TEST(request_parser, continue_is_awaited_only_with_a_body_in_http_1_1) {
  auto expects = [](std::string_view version, std::string_view framing) {
    request_parser parser;
    std::string bytes = "PUT / HTTP/1." + std::string(version) + "\r\nHost: a\r\nExpect: 100-continue\r\n" +
                        std::string(framing) + "\r\n";
    EXPECT_EQ(parser.parse(bytes), verdict::complete);
    return parser.head().expects_continue;
  };
  EXPECT_TRUE(expects("1", "Content-Length: 1\r\n"));
  EXPECT_TRUE(expects("1", "Transfer-Encoding: chunked\r\n"));
  EXPECT_FALSE(expects("1", "Content-Length: 0\r\n"));
  EXPECT_FALSE(expects("1", ""));
  EXPECT_FALSE(expects("0", "Content-Length: 1\r\n"));
}

TEST(request_parser, limits_hold_to_the_byte_at_every_split) {
  head_limits small;
  small.request_line_bytes_max = 20;
  small.head_bytes_max = 60;
  small.fields_max = 3;
  auto status = [&](std::string_view bytes) { return expect_same_at_every_split(bytes, small).status; };
  const std::string line = "GET /34567 HTTP/1.1";
  EXPECT_EQ(status(line + "0\r\n"), 400U);  // twenty bytes are read
  EXPECT_EQ(status("GET /345678 HTTP/1.1\r\nHost: a\r\n\r\n"), 0U);
  EXPECT_EQ(status("GET /3456789 HTTP/1.1\r\nHost: a\r\n\r\n"), 414U);
  EXPECT_EQ(status("\r\n\r\nGET /345678 HTTP/1.1\r\nHost: a\r\n\r\n"), 0U);
  EXPECT_EQ(status(std::string(100, 'A')), 414U);
  EXPECT_EQ(status(std::string(20, 'A')), 0U);
  const std::string head = line + "\r\nHost: a\r\nX: ";  // 33 bytes
  EXPECT_EQ(status(head + std::string(23, 'x') + "\r\n\r\n"), 0U);
  EXPECT_EQ(status(head + std::string(24, 'x') + "\r\n\r\n"), 431U);
  EXPECT_EQ(status(head + std::string(100, 'x')), 431U);
  EXPECT_EQ(status(head + std::string(26, 'x') + "\n"), 431U);
  EXPECT_EQ(status(line + "\r\nHost: a\r\nb:\r\nc:\r\n\r\n"), 0U);
  EXPECT_EQ(status(line + "\r\nHost: a\r\nb:\r\nc:\r\nd:\r\n\r\n"), 431U);
  small.head_bytes_max = 15;  // less than a request line
  EXPECT_EQ(status(line + "\r\n"), 414U);
}

TEST(request_parser, requests_in_a_row_are_read_one_by_one) {
  std::string bytes;
  for (const std::string& head : accepted_heads()) bytes += head;
  outcome seen = parse_whole(bytes);
  EXPECT_EQ(seen.heads.size(), accepted_heads().size()) << seen.text;
  for (std::size_t i = 0; i < seen.heads.size(); ++i) EXPECT_EQ(seen.heads[i], head_text(accepted_heads()[i]));
  EXPECT_EQ(parse_pieces(bytes, {}, [] { return 1; }), seen);
}

TEST(request_parser, only_the_constructor_allocates) {
  std::string stream;
  for (const std::string& head : accepted_heads()) stream += head;
  request_parser parser;
  const std::uint64_t before = test_support::heap_allocations();
  std::string_view window = stream;
  while (!window.empty()) {
    ASSERT_EQ(parser.parse(window.substr(0, 10)), verdict::need_more);
    ASSERT_EQ(parser.parse(window), verdict::complete);
    window.remove_prefix(parser.consumed());
    parser.reset();
  }
  for (const auto& each : refused_heads()) {
    ASSERT_EQ(parser.parse(each.bytes), verdict::error);
    parser.reset();
  }
  EXPECT_EQ(test_support::heap_allocations(), before);
}

TEST(request_parser, an_error_says_what_was_wrong) {
  EXPECT_EQ(parse_whole("GET /#f HTTP/1.1\r\n").text, "a fragment in the target");
  EXPECT_EQ(parse_whole("GET /\r\n").text, "the request line has no version");
  EXPECT_EQ(parse_whole("GET / HTTP/1.1\r\nA : b\r\n").text, "white space before the colon");
  EXPECT_EQ(parse_whole("GET / HTTP/1.1\r\n a: b\r\n").text, "a folded line");
  EXPECT_EQ(parse_whole("GET / HTTP/1.1\n").text, "a line feed without a carriage return");
}

TEST(request_parser, empty_lines_in_front_begin_no_head) {
  request_parser parser;
  EXPECT_FALSE(parser.mid_head());
  EXPECT_EQ(parser.parse(std::string_view("\r\n")), verdict::need_more);
  EXPECT_FALSE(parser.mid_head());
  EXPECT_EQ(parser.parse(std::string_view("\r\nG")), verdict::need_more);
  EXPECT_TRUE(parser.mid_head());
  parser.reset();
  EXPECT_FALSE(parser.mid_head());
}

// Quadratic work would be some 10^13 steps here: the test would not end within its time limit.
TEST(request_parser, fed_byte_by_byte_it_does_linear_work) {
  head_limits large;
  large.head_bytes_max = 8U << 20;
  large.fields_max = 1U << 20;
  std::string bytes = "GET / HTTP/1.1\r\nHost: a\r\nLong: " + std::string(2U << 20, 'x') + "\r\n";
  for (int i = 0; i < 500000; ++i) bytes += "a: b\r\n";
  request_parser parser(large);
  for (std::size_t size = 1; size <= bytes.size(); ++size) {
    ASSERT_EQ(parser.parse({bytes.data(), size}), verdict::need_more);
  }
  bytes += "\r\n";
  ASSERT_EQ(parser.parse(bytes), verdict::complete);
  EXPECT_EQ(parser.head().fields.size(), 500002U);
  EXPECT_EQ(parser.head().fields.back().value, "b");
}

TEST(request_parser, mutated_and_random_bytes_get_the_same_answer_however_they_are_cut) {
  std::mt19937_64 random(skerry::test::seed());
  head_limits small;
  small.request_line_bytes_max = 48;
  small.head_bytes_max = 160;
  small.fields_max = 4;
  std::size_t accepted = 0;
  for (int round = 0; round < skerry::test::rounds(20000); ++round) {
    std::string bytes(random() % 80, '\0');
    if (round % 8 == 0) {
      std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
    } else {
      bytes = skerry::test::mutated_head(random);
    }
    const head_limits limits = round % 2 == 0 ? head_limits{} : small;
    outcome expected = parse_whole(bytes, limits);
    accepted += expected.heads.size();
    ASSERT_EQ(parse_pieces(bytes, limits, [] { return 1; }), expected) << ::testing::PrintToString(bytes);
    ASSERT_EQ(parse_pieces(bytes, limits, [&] { return 1 + random() % 40; }), expected)
        << ::testing::PrintToString(bytes);
  }
  EXPECT_GT(accepted, 1000U) << "the mutations are so wild that they test nothing";
}

void expect_twins_agree(detail::line_scan fast, detail::line_scan slow, std::mt19937_64& random) {
  auto compare = [&](std::string_view bytes) {
    std::unique_ptr<char[]> exact(new char[bytes.size()]);
    std::ranges::copy(bytes, exact.get());
    const char* end = exact.get() + bytes.size();
    ASSERT_EQ(fast(exact.get(), end) - exact.get(), slow(exact.get(), end) - exact.get())
        << ::testing::PrintToString(bytes);
  };
  for (unsigned c = 0; c < 256; ++c) {
    for (std::size_t at = 0; at < 130; ++at) {
      std::string bytes(130, 'a');
      bytes[at] = static_cast<char>(c);
      compare(bytes);
    }
  }
  for (int round = 0; round < skerry::test::rounds(20000); ++round) {
    std::string bytes(random() % 200, 'a');
    for (auto edits = random() % 4; edits > 0 && !bytes.empty(); --edits) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    compare(bytes);
  }
}

TEST(scan, many_bytes_at_once_say_what_one_at_a_time_says) {
  using namespace detail;
  std::mt19937_64 random(skerry::test::seed());
  expect_twins_agree(find_line_end, find_slowly<control_bytes>, random);
  expect_twins_agree(best_line_scan(), find_slowly<control_bytes>, random);
  expect_twins_agree(find<no_target_bytes, 64>, find_slowly<no_target_bytes>, random);
  expect_twins_agree(find<no_word_bytes, 16>, find_slowly<no_word_bytes>, random);
}

}  // namespace

}  // namespace skerry::net::http
