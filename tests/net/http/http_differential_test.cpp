// SPDX-License-Identifier: Apache-2.0
// Our parsers beside http_parser and Boost.Beast, on every fixture and on many mutations; see differential.hpp.
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/differential.hpp>
#include <net/http/requests.hpp>
#include <support/long_test.hpp>

namespace skerry::net::http {

namespace {

using differential::read_with_skerry;
using differential::reading;

void compare_all(std::string_view bytes, bool with_body, std::map<std::string_view, int>& seen) {
  const std::string wrong = differential::complaints(bytes, with_body, seen);
  EXPECT_TRUE(wrong.empty()) << wrong << "on " << ::testing::PrintToString(bytes);
}

void report(const std::map<std::string_view, int>& seen) {
  for (const auto& [reason, count] : seen) std::printf("%6d times: %s\n", count, std::string(reason).c_str());
}

TEST(http_differential, every_fixture) {
  std::map<std::string_view, int> seen;
  for (const std::string& bytes : skerry::test::accepted_heads()) compare_all(bytes, false, seen);
  for (const auto& each : skerry::test::refused_heads()) compare_all(each.bytes, false, seen);
  report(seen);
}

TEST(http_differential, mutated_heads) {
  std::mt19937_64 random(skerry::test::seed());
  std::map<std::string_view, int> seen;
  for (int round = 0; round < skerry::test::rounds(50000) && !HasFailure(); ++round) {
    compare_all(skerry::test::mutated_head(random), false, seen);
  }
  report(seen);
}

TEST(http_differential, mutated_chunked_bodies) {
  std::mt19937_64 random(skerry::test::seed());
  static constexpr std::string_view alphabet = "\r\n :;0123456789abfxX\t\0\x7f\xff";
  const std::vector<std::string> bodies = {"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n",
                                           "A;x=\"y\"\r\n0123456789\r\n1\r\na\r\n0\r\nX-Digest: abc\r\nY: z\r\n\r\n",
                                           "5\r\nhello\r\n0002;e\r\n\r\n\r\n00\r\n\r\nGET / HTTP/1.1\r\n"};
  std::map<std::string_view, int> seen;
  std::size_t complete = 0;
  for (int round = 0; round < skerry::test::rounds(50000) && !HasFailure(); ++round) {
    std::string bytes = bodies[random() % bodies.size()];
    for (auto edits = random() % 3; edits > 0; --edits) {
      std::size_t at = random() % bytes.size();
      if (random() % 4 == 0) {
        bytes.erase(at, 1);
      } else {
        bytes[at] = alphabet[random() % alphabet.size()];
      }
    }
    bytes.insert(0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    complete += read_with_skerry(bytes, true).verdict == reading::complete;
    compare_all(bytes, true, seen);
  }
  EXPECT_GT(complete, 1000U) << "the mutations are so wild that they test nothing";
  report(seen);
}

}  // namespace

}  // namespace skerry::net::http
