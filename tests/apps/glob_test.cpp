// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <kv_server/glob.hpp>

namespace {

using kv_server::glob_matches;
using kv_server::glob_matches_ignoring_case;

// What KEYS of Redis 7.0.15 answered for each pattern in a database with these keys.
TEST(glob, matches_what_redis_matches) {
  const std::vector<std::string_view> texts = {"a",      "b",   "c",  "-",    "]",     "[",     "\\",    "^",
                                               "*",      "?",   "ab", "abc",  "hello", "hallo", "hbllo", "hllo",
                                               "heello", "xbc", "a[", "a]",   "[a]",   "aXbYc", "hxllo", "9",
                                               "a\\",    "z",   "a-", "abab", "aab",   "]]",    "a]]",   "[]"};
  struct row {
    std::string_view pattern;
    std::vector<std::string_view> matched;
  };
  const std::vector<row> rows = {
      {"*", {"a",     "b",     "c",     "-",     "]",    "[",      "\\",  "^",  "*",   "?",   "ab",
             "abc",   "hello", "hallo", "hbllo", "hllo", "heello", "xbc", "a[", "a]",  "[a]", "aXbYc",
             "hxllo", "9",     "a\\",   "z",     "a-",   "abab",   "aab", "]]", "a]]", "[]"}},
      {"?", {"a", "b", "c", "-", "]", "[", "\\", "^", "*", "?", "9", "z"}},
      {"??", {"ab", "a[", "a]", "a\\", "a-", "]]", "[]"}},
      {"h?llo", {"hello", "hallo", "hbllo", "hxllo"}},
      {"h*llo", {"hello", "hallo", "hbllo", "hllo", "heello", "hxllo"}},
      {"h[ae]llo", {"hello", "hallo"}},
      {"h[^e]llo", {"hallo", "hbllo", "hxllo"}},
      {"h[a-b]llo", {"hallo", "hbllo"}},
      {"h[b-a]llo", {"hallo", "hbllo"}},
      {"\\*", {"*"}},
      {"\\?", {"?"}},
      {"a\\", {"a\\"}},
      {"[a", {"a"}},
      {"[^a", {"b", "c", "-", "]", "[", "\\", "^", "*", "?", "9", "z"}},
      {"[", {}},
      {"[]", {}},
      {"[]a]", {}},
      {"[^]a]", {"[a]"}},
      {"a[", {}},
      {"a[b", {"ab"}},
      {"[a-", {"a", "-"}},
      {"[a-]", {"a", "]", "^"}},
      {"[a-c", {"a", "b", "c"}},
      {"[\\]]", {"]"}},
      {"[\\-a]", {"a", "-"}},
      {"[a\\-c]", {"a", "c", "-"}},
      {"[\\", {"\\"}},
      {"a**b", {"ab", "abab", "aab"}},
      {"*a*", {"a", "ab", "abc", "hallo", "a[", "a]", "[a]", "aXbYc", "a\\", "a-", "abab", "aab", "a]]"}},
      {"***", {"a",     "b",     "c",     "-",     "]",    "[",      "\\",  "^",  "*",   "?",   "ab",
               "abc",   "hello", "hallo", "hbllo", "hllo", "heello", "xbc", "a[", "a]",  "[a]", "aXbYc",
               "hxllo", "9",     "a\\",   "z",     "a-",   "abab",   "aab", "]]", "a]]", "[]"}},
      {"", {}},
      {"[a-\\c]", {"a", "c", "]", "\\", "^"}},
      {"[^", {"a", "b", "c", "-", "]", "[", "\\", "^", "*", "?", "9", "z"}},
      {"[^]", {"a", "b", "c", "-", "]", "[", "\\", "^", "*", "?", "9", "z"}},
      {"h[a-bx-z]llo", {"hallo", "hbllo", "hxllo"}},
      {"\\h\\e*", {"hello", "heello"}},
      {"\\\\", {"\\"}},
      {"[[]", {"["}},
      {"[[a]]", {"a]", "[]"}},
      {"a]", {"a]"}},
      {"*[", {}},
      {"*\\", {"\\", "a\\"}},
      {"[-a]", {"a", "-"}},
      {"[a-z-9]", {"a", "b", "c", "-", "9", "z"}},
      {"*a*b*c", {"abc", "aXbYc"}},
      {"*?", {"a",     "b",     "c",     "-",     "]",    "[",      "\\",  "^",  "*",   "?",   "ab",
              "abc",   "hello", "hallo", "hbllo", "hllo", "heello", "xbc", "a[", "a]",  "[a]", "aXbYc",
              "hxllo", "9",     "a\\",   "z",     "a-",   "abab",   "aab", "]]", "a]]", "[]"}},
      {"?*", {"a",     "b",     "c",     "-",     "]",    "[",      "\\",  "^",  "*",   "?",   "ab",
              "abc",   "hello", "hallo", "hbllo", "hllo", "heello", "xbc", "a[", "a]",  "[a]", "aXbYc",
              "hxllo", "9",     "a\\",   "z",     "a-",   "abab",   "aab", "]]", "a]]", "[]"}},
      {"a*?c", {"abc", "aXbYc"}},
      {"[\\a-c]", {"a", "c", "-"}},
  };
  for (const row& r : rows) {
    for (std::string_view text : texts) {
      bool expected = std::find(r.matched.begin(), r.matched.end(), text) != r.matched.end();
      EXPECT_EQ(glob_matches(r.pattern, text), expected) << '"' << r.pattern << "\" on \"" << text << '"';
    }
  }
}

TEST(glob, stars_match_nothing_too) {
  EXPECT_TRUE(glob_matches("", ""));
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("***", ""));
  EXPECT_FALSE(glob_matches("?", ""));
  EXPECT_FALSE(glob_matches("", "a"));
  EXPECT_TRUE(glob_matches(std::string_view("a\0*", 3), std::string_view("a\0b", 3)));
}

TEST(glob, case_is_ignored_only_when_asked) {
  EXPECT_TRUE(glob_matches_ignoring_case("MaxMem*", "maxmemory"));
  EXPECT_TRUE(glob_matches_ignoring_case("[A-C]", "b"));
  EXPECT_FALSE(glob_matches("MaxMem*", "maxmemory"));
}

/// The bound that glob.hpp promises, at the pattern and text of each row.
TEST(glob, steps_are_bounded_by_pattern_times_text_whatever_the_pattern) {
  auto repeated = [](std::string_view part, std::size_t times) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) all += part;
    return all;
  };
  struct row {
    std::string pattern;
    std::string text;
    bool fits;
  };
  const std::string many_a(5000, 'a');
  const row rows[] = {
      {repeated("a*", 500) + "b", many_a, false},
      {repeated("a*", 500) + "b", many_a + "b", true},
      {"*" + std::string(500, 'a') + "b", many_a, false},
      {repeated("*[^b]?", 200) + "b", many_a, false},
      {"*" + repeated("[a-z", 300), many_a, true},
      {std::string(20'000, '['), std::string(1000, 'a'), false},
      {std::string(1'000'000, '*') + "x", std::string(1000, 'a'), false},
      {repeated("*?", 1000) + "*", many_a, true},
      {repeated("\\", 1001), many_a, false},
      {"*" + repeated("[^\\b]", 200) + "b", many_a, false},
  };
  for (const row& r : rows) {
    std::uint64_t steps = 0;
    EXPECT_EQ(glob_matches(r.pattern, r.text, &steps), r.fits) << r.pattern.substr(0, 40);
    EXPECT_LE(steps, 2 * (r.pattern.size() + 1) * (r.text.size() + 1)) << r.pattern.substr(0, 40);
  }
  // Backtracking over every star would take some 10^100 steps here; this pattern is linear, and stays so.
  std::uint64_t steps = 0;
  EXPECT_FALSE(glob_matches(repeated("a*", 500) + "b", many_a, &steps));
  EXPECT_LE(steps, 4 * (many_a.size() + 1000));
}

TEST(glob, random_patterns_keep_the_bound) {
  std::uint32_t state = 1;
  auto next = [&](std::uint32_t below) { return (state = state * 1664525 + 1013904223) / 65536 % below; };
  for (int i = 0; i < 100'000; ++i) {
    std::string pattern;
    std::string text;
    for (std::uint32_t n = next(20); n > 0; --n) pattern += "*?[]^-\\ab"[next(9)];
    for (std::uint32_t n = next(20); n > 0; --n) text += "ab]"[next(3)];
    std::uint64_t steps = 0;
    glob_matches(pattern, text, &steps);
    ASSERT_LE(steps, 2 * (pattern.size() + 1) * (text.size() + 1)) << pattern << " on " << text;
  }
}

}  // namespace
