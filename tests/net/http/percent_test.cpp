// SPDX-License-Identifier: Apache-2.0
/// Links no layer: the decoder is pure.

#include <skerry/net/http/percent.hpp>

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace skerry::net::http {
namespace {

constexpr uri_part in_path = uri_part::path;
constexpr uri_part in_query = uri_part::query;

TEST(percent, every_byte_but_nul_comes_back_from_its_escape_in_either_case) {
  constexpr std::string_view lower = "0123456789abcdef";
  constexpr std::string_view upper = "0123456789ABCDEF";
  for (unsigned byte = 1; byte < 256; ++byte) {
    for (const std::string_view digits : {lower, upper}) {
      const std::string text = {'<', '%', digits[byte / 16], digits[byte % 16], '>'};
      const std::string plain = {'<', static_cast<char>(byte), '>'};
      EXPECT_TRUE(is_escaped(text, in_path));
      EXPECT_EQ(percent_decode(text, in_path), plain);
      EXPECT_TRUE(decodes_to(text, plain, in_path));
      EXPECT_FALSE(decodes_to(text, plain + ">", in_path));
      EXPECT_FALSE(decodes_to(text, plain.substr(0, 2), in_path));
    }
  }
}

TEST(percent, a_broken_escape_and_nul_are_refused) {
  for (const std::string_view text :
       {"%", "a%", "%4", "%4%41", "%4g", "%g4", "%-1", "%+1", "% 1", "%00", "a%00b", "%%41"}) {
    EXPECT_TRUE(is_escaped(text, in_path)) << text;
    EXPECT_EQ(percent_decode(text, in_path), std::nullopt) << text;
    EXPECT_EQ(percent_decode(text, in_query), std::nullopt) << text;
    EXPECT_FALSE(decodes_to(text, std::string_view("\0", 1), in_path)) << text;
  }
  EXPECT_TRUE(is_escaped(std::string_view("a\0b", 3), in_path));
  EXPECT_EQ(percent_decode(std::string_view("a\0b", 3), in_path), std::nullopt);
}

TEST(percent, what_is_decoded_is_not_decoded_again) { EXPECT_EQ(percent_decode("%2541%252f", in_path), "%41%2f"); }

TEST(percent, a_plus_is_a_space_in_a_query_only) {
  EXPECT_EQ(percent_decode("a+b%2B", in_query), "a b+");
  EXPECT_EQ(percent_decode("a+b%2B", in_path), "a+b+");
  EXPECT_TRUE(is_escaped("+", in_query));
  EXPECT_FALSE(is_escaped("+", in_path));
}

TEST(query_pairs, are_cut_at_ampersands_and_the_first_equals_sign) {
  const auto pairs_of = [](std::string_view query) {
    std::vector<std::string> all;
    for (const query_pair each : query_pairs(query))
      all.push_back(std::string(each.name) + "|" + std::string(each.value));
    return all;
  };
  using list = std::vector<std::string>;
  EXPECT_EQ(pairs_of(""), list{});
  EXPECT_EQ(pairs_of("&&&"), list{});
  EXPECT_EQ(pairs_of("a"), list{"a|"});
  EXPECT_EQ(pairs_of("a=1"), list{"a|1"});
  EXPECT_EQ(pairs_of("&a=1&&b=2=3&=4&c&"), (list{"a|1", "b|2=3", "|4", "c|"}));
  EXPECT_EQ(pairs_of("a%26b=c%3Dd;e=f"), list{"a%26b|c%3Dd;e=f"});
}

}  // namespace
}  // namespace skerry::net::http
