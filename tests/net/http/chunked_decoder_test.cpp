// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/detail/trailer_section.hpp>

#include <algorithm>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/requests.hpp>
#include <support/long_test.hpp>

namespace skerry::net::http {

namespace {

struct outcome {
  std::string body;
  std::string trailers;  // each as name=value;
  std::size_t taken = 0;
  verdict last = verdict::need_more;
  unsigned status = 0;
  std::string text;
  bool operator==(const outcome&) const = default;
};

template <class Pieces>
outcome decode_pieces(std::string_view bytes, Pieces next_size) {
  chunked_decoder decoder;
  detail::trailer_section trailers;
  outcome seen;
  while (!bytes.empty() && seen.last == verdict::need_more) {
    std::size_t size = std::min<std::size_t>(next_size(), bytes.size());
    std::unique_ptr<char[]> exact(new char[size]);
    std::ranges::copy(bytes.substr(0, size), exact.get());
    std::span<const char> input(exact.get(), size);
    while (!input.empty() && seen.last == verdict::need_more) {
      seen.last = decoder.decode(input);
      seen.body.append(decoder.data().data(), decoder.data().size());
      seen.taken += decoder.consumed();
      trailers.add(input.first(decoder.consumed()).last(decoder.trailer_bytes()));
      EXPECT_GT(decoder.consumed(), 0U) << "a call that takes nothing would be repeated for ever";
      input = input.subspan(decoder.consumed());
    }
    bytes.remove_prefix(size);
  }
  if (seen.last == verdict::complete) {
    trailers.end();
    for (const field& each : trailers.fields()) seen.trailers.append(each.name).append("=").append(each.value) += ';';
  }
  if (seen.last == verdict::error) {
    seen.status = decoder.error_status();
    seen.text = decoder.error_text();
    EXPECT_TRUE(seen.status >= 400 && !seen.text.empty());
  }
  return seen;
}

outcome decode_whole(std::string_view bytes) {
  return decode_pieces(bytes, [&] { return bytes.size(); });
}

outcome expect_same_at_every_split(std::string_view bytes) {
  outcome expected = decode_whole(bytes);
  EXPECT_EQ(decode_pieces(bytes, [] { return 1; }), expected) << bytes;
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    bool first = true;
    EXPECT_EQ(decode_pieces(bytes, [&] { return std::exchange(first, false) ? cut : bytes.size(); }), expected)
        << bytes << "\ncut at " << cut;
  }
  return expected;
}

const std::vector<std::pair<std::string, std::string>>& accepted_bodies() {
  static const std::vector<std::pair<std::string, std::string>> bodies = {
      {"0\r\n\r\n", ""},
      {"5\r\nhello\r\n0\r\n\r\n", "hello"},
      {"5\r\nhello\r\n1\r\n!\r\n00\r\n\r\n", "hello!"},
      {"a\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
      {"A;x=\"y; \\\" z\";q;r=1\r\n0123456789\r\n0;end\r\n\r\n", "0123456789"},
      {"0000000000000002\r\n\r\n\r\n0\r\n\r\n", "\r\n"},
      {"1\r\na\r\n0\r\nX-Digest: abc\r\nY:\r\n\r\n", "a"},
  };
  return bodies;
}

const std::vector<std::pair<unsigned, std::string>>& refused_bodies() {
  static const std::vector<std::pair<unsigned, std::string>> bodies = {
      {400, "\r\n"},
      {400, "+5\r\nhello\r\n"},
      {400, "-1\r\n"},
      {400, " 5\r\nhello\r\n"},
      {400, "5 \r\nhello\r\n"},
      {400, "5 ;x\r\nhello\r\n"},
      {400, "5\t\r\nhello\r\n"},
      {400, "0x5\r\nhello\r\n"},
      {400, "5g\r\nhello\r\n"},
      {400, ";x\r\n"},
      {400, "10000000000000000\r\n"},
      {400, "00000000000000005\r\nhello\r\n"},
      {400, "5\nhello\r\n"},
      {400, "5\rhello\r\n"},
      {400, "5\r\nhello0\r\n\r\n"},
      {400, "5\r\nhello\n0\r\n\r\n"},
      {400, "5\r\nhello\rx"},
      {400, "5\r\nhello!\r\n0\r\n\r\n"},
      {400, "4\r\nhello\r\n0\r\n\r\n"},
      {400, "5;a\nb\r\nhello\r\n"},
      {400, "5;a\rb\r\nhello\r\n"},
      {400, std::string("5;a\0b\r\nhello\r\n", 14)},
      {400, "5;" + std::string(400, 'x') + "\r\nhello\r\n"},
      {400, "1;\r\na\r\n0\r\n\r\n"},
      {400, "1; x\r\na\r\n0\r\n\r\n"},
      {400, "1;x=\r\na\r\n0\r\n\r\n"},
      {400, "1;x=\"y\r\na\r\n0\r\n\r\n"},
      {400, "1;x=\"y\\\r\na\r\n0\r\n\r\n"},
      {400, "1;x=\"y\"z\r\na\r\n0\r\n\r\n"},
      {400, "1;x=y\"\r\na\r\n0\r\n\r\n"},
      {400, "0\r\n\n"},
      {400, "0\r\n\rx"},
      {400, "0\r\nA : b\r\n\r\n"},
      {400, "0\r\n A: b\r\n\r\n"},
      {400, "0\r\nA: b\r\n folded\r\n\r\n"},
      {400, "0\r\nA: b\n\r\n"},
      {400, "0\r\nA: b\rc\r\n\r\n"},
      {400, "0\r\nA: \x01\r\n\r\n"},
      {400, "0\r\nno colon\r\n\r\n"},
      {400, "0\r\n: b\r\n\r\n"},
      {400, "0\r\nContent-Length: 5\r\n\r\n"},
      {400, "0\r\ntransfer-encoding: chunked\r\n\r\n"},
      {400, "0\r\nHOST: b\r\n\r\n"},
      {400, "0\r\nAuthorization: b\r\n\r\n"},
      {400, "0\r\nA: b\r\nset-cookie: b\r\n\r\n"},
      {400, "0\r\nDate: b\r\n\r\n"},
      {431, "0\r\nA: " + std::string(9000, 'x') + "\r\n\r\n"},
      {431, "0\r\n" + std::string(9000, 'x')},
  };
  return bodies;
}

TEST(chunked_decoder, takes_the_frame_off_at_every_split) {
  for (const auto& [bytes, body] : accepted_bodies()) {
    outcome seen = expect_same_at_every_split(bytes);
    EXPECT_EQ(seen.last, verdict::complete) << bytes << seen.text;
    EXPECT_EQ(seen.body, body);
    EXPECT_EQ(seen.taken, bytes.size());
    EXPECT_EQ(decode_whole(bytes + "GET / HTTP/1.1\r\n"), seen) << "what follows is the next request's";
  }
}

TEST(chunked_decoder, refuses_what_another_could_read_otherwise_at_every_split) {
  for (const auto& [status, bytes] : refused_bodies()) {
    outcome seen = bytes.size() < 1000 ? expect_same_at_every_split(bytes) : decode_whole(bytes);
    EXPECT_EQ(seen.status, status) << bytes << seen.text;
    EXPECT_EQ(decode_pieces(bytes, [] { return 1; }), seen) << bytes;
  }
}

TEST(chunked_decoder, the_largest_size_is_read) {
  chunked_decoder decoder;
  EXPECT_EQ(decoder.decode(std::string_view("ffffffffffffffff\r\nabc")), verdict::need_more);
  EXPECT_EQ(decoder.data().size(), 3U);
}

TEST(chunked_decoder, extensions_are_bounded_over_the_whole_body) {
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "1;" + std::string(200, 'x') + "\r\na\r\n";
  EXPECT_EQ(decode_whole(many).status, 400U);
  EXPECT_LT(decode_whole(many).taken, 20000U);
  std::string signed_chunks;  // as object stores have them: 85 bytes for each 8 KiB
  for (int i = 0; i < 1000; ++i)
    signed_chunks += "2000;" + std::string(85, 'x') + "\r\n" + std::string(8192, 'a') + "\r\n";
  EXPECT_EQ(decode_whole(signed_chunks + "0\r\n\r\n").last, verdict::complete);
}

TEST(chunked_decoder, trailers_are_the_same_however_they_are_cut) {
  for (const auto& [section, expected] : std::vector<std::pair<std::string, std::string>>{
           {"", ""},
           {"X-Digest: abc\r\nY:\r\n", "X-Digest=abc;Y=;"},
           {"a:\t b:c \t\r\na: d\r\n", "a=b:c;a=d;"},
           {"A-Name-Longer-Than-Any-That-Is-Forbidden: 1\r\nTEX:  \r\n",
            "A-Name-Longer-Than-Any-That-Is-Forbidden=1;TEX=;"},
       }) {
    const outcome seen = expect_same_at_every_split("1\r\na\r\n0\r\n" + section + "\r\n");
    EXPECT_EQ(seen.last, verdict::complete) << section << seen.text;
    EXPECT_EQ(seen.trailers, expected);
    EXPECT_EQ(seen.body, "a");
  }
}

TEST(trailers, go_to_those_who_say_so) {
  using detail::takes_trailers;
  const auto takes = [](std::string_view te) {
    const field fields[] = {{"Host", "trailers"}, {"te", te}};
    return takes_trailers(fields);
  };
  EXPECT_TRUE(takes("trailers"));
  EXPECT_TRUE(takes("gzip;q=0.5 , Trailers"));
  EXPECT_FALSE(takes(""));
  EXPECT_FALSE(takes("trailers2, gzip"));
  const field twice[] = {{"TE", "gzip"}, {"TE", "trailers"}};
  EXPECT_TRUE(takes_trailers(twice));
  EXPECT_FALSE(takes_trailers({}));
}

TEST(trailers, sent_are_never_more_than_a_receiver_takes) {
  std::string lines;
  for (std::uint32_t i = 0; i < chunked_decoder::trailers_max; ++i) detail::append_trailer(lines, "a: b\r\n");
  EXPECT_THROW(detail::append_trailer(lines, "a: b\r\n"), std::length_error);
  EXPECT_EQ(decode_whole("0\r\n" + lines + "\r\n").last, verdict::complete);
  lines.clear();
  const std::string longest = "a: " + std::string(chunked_decoder::trailer_bytes_max - 7, 'x') + "\r\n";
  EXPECT_THROW(detail::append_trailer(lines, "x" + longest), std::length_error);
  detail::append_trailer(lines, longest);
  EXPECT_EQ(decode_whole("0\r\n" + lines + "\r\n").last, verdict::complete);
}

TEST(chunked_decoder, trailers_are_counted) {
  std::string bytes = "0\r\n";
  for (std::uint32_t i = 0; i < chunked_decoder::trailers_max; ++i) bytes += "a: b\r\n";
  EXPECT_EQ(decode_whole(bytes + "\r\n").last, verdict::complete);
  EXPECT_EQ(decode_whole(bytes + "c: d\r\n\r\n").status, 431U);
}

TEST(chunked_decoder, serves_the_next_body_after_reset) {
  chunked_decoder decoder;
  for (std::string_view bytes : {"2\r\nab\r\nx", "1\r\na\r\n0\r\nX: y\r\n\r\n"}) {
    decoder.reset();
    std::span<const char> input = bytes;
    verdict found = verdict::need_more;
    while (!input.empty() && found == verdict::need_more) {
      found = decoder.decode(input);
      input = input.subspan(decoder.consumed());
    }
    EXPECT_NE(found, verdict::need_more);
  }
  EXPECT_EQ(decoder.error_status(), 0U);
}

TEST(chunked_decoder, random_bodies_come_out_as_they_went_in) {
  std::mt19937_64 random(skerry::test::seed());
  for (int round = 0; round < skerry::test::rounds(500); ++round) {
    std::string body;
    std::string bytes;
    for (auto chunks = random() % 20; chunks > 0; --chunks) {
      std::string chunk(1 + random() % 300, '\0');
      std::ranges::generate(chunk, [&] { return static_cast<char>(random()); });
      char size[20];
      std::snprintf(size, sizeof size, random() % 2 == 0 ? "%zx" : "%04zX", chunk.size());
      body += chunk;
      bytes += size + std::string(random() % 3 == 0 ? ";ext=1\r\n" : "\r\n") + chunk + "\r\n";
    }
    bytes += "0\r\n\r\n";
    outcome seen = decode_pieces(bytes, [&] { return 1 + random() % 100; });
    ASSERT_EQ(seen.last, verdict::complete) << seen.text;
    ASSERT_EQ(seen.body, body);
  }
}

TEST(chunked_decoder, mutated_bytes_get_the_same_answer_however_they_are_cut) {
  std::mt19937_64 random(skerry::test::seed());
  static constexpr std::string_view alphabet = "\r\n :;0123456789abfxX\t\0\x7f\xff";
  for (int round = 0; round < skerry::test::rounds(20000); ++round) {
    const auto pick = random() % (accepted_bodies().size() + refused_bodies().size());
    std::string bytes = pick < accepted_bodies().size() ? accepted_bodies()[pick].first
                                                        : refused_bodies()[pick - accepted_bodies().size()].second;
    for (auto edits = random() % 3; edits > 0 && !bytes.empty(); --edits) {
      bytes[random() % bytes.size()] = alphabet[random() % alphabet.size()];
    }
    outcome expected = decode_whole(bytes);
    ASSERT_EQ(decode_pieces(bytes, [&] { return 1 + random() % 7; }), expected) << ::testing::PrintToString(bytes);
  }
}

}  // namespace

}  // namespace skerry::net::http
