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

// Backtracking over every star would take longer than the universe has existed: the test would not end in time.
TEST(glob, many_stars_cost_no_more_than_pattern_times_text) {
  std::string pattern;
  for (int i = 0; i < 2000; ++i) pattern += "a*";
  pattern += "b";
  EXPECT_FALSE(glob_matches(pattern, std::string(20000, 'a')));
  EXPECT_TRUE(glob_matches(pattern, std::string(20000, 'a') + "b"));
  std::string classes;
  for (int i = 0; i < 200; ++i) classes += "*[^b]?";
  EXPECT_FALSE(glob_matches(classes + "b", std::string(20000, 'a')));
  EXPECT_FALSE(glob_matches(std::string(100000, '['), std::string(1000, 'a')));
  EXPECT_FALSE(glob_matches(std::string(1000000, '*') + "x", std::string(1000, 'a')));
}

}  // namespace
