// SPDX-License-Identifier: Apache-2.0
/// Dates as HTTP writes them.

#include <skerry/net/http/date.hpp>

#include <chrono>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace skerry::net::http {
namespace {

using namespace std::chrono;
using namespace std::chrono_literals;

const sys_seconds example = sys_days(1994y / November / 6) + 8h + 49min + 37s;
const sys_seconds now = sys_days(2026y / November / 27);

TEST(date, is_written_in_the_preferred_form) {
  EXPECT_EQ(std::string_view(to_date(example)), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(std::string_view(to_date(sys_seconds(0s))), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(std::string_view(to_date(sys_days(2024y / February / 29) + 23h + 59min + 59s)),
            "Thu, 29 Feb 2024 23:59:59 GMT");
}

TEST(date, is_read_in_all_three_forms) {
  EXPECT_EQ(parse_date("Sun, 06 Nov 1994 08:49:37 GMT", now), example);
  EXPECT_EQ(parse_date("Sunday, 06-Nov-94 08:49:37 GMT", now), example);
  EXPECT_EQ(parse_date("Sun Nov  6 08:49:37 1994", now), example);
  EXPECT_EQ(parse_date("Sun Nov 16 08:49:37 1994", now), example + days(10));
}

TEST(date, two_digits_of_a_year_are_at_most_fifty_years_ahead) {
  EXPECT_EQ(parse_date("Sunday, 01-Jan-76 00:00:00 GMT", now), sys_days(2076y / January / 1));
  EXPECT_EQ(parse_date("Sunday, 01-Jan-77 00:00:00 GMT", now), sys_days(1977y / January / 1));
  EXPECT_EQ(parse_date("Sunday, 01-Jan-26 00:00:00 GMT", now), sys_days(2026y / January / 1));
  EXPECT_EQ(parse_date("Sunday, 01-Jan-20 00:00:00 GMT", sys_days(1999y / January / 1)), sys_days(2020y / January / 1));
}

TEST(date, every_written_date_is_read_back) {
  for (sys_seconds when{}; when < sys_days(2100y / January / 1); when += 86'399s * 11) {
    EXPECT_EQ(parse_date(to_date(when), now), when);
  }
}

TEST(date, that_is_none_is_refused) {
  for (const char* text :
       {"", "yesterday", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 19x4 08:49:37 GMT", "Nonday, 06-Nov-94 08:49:37 GMT", "Sun Nov 6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 GMT "}) {
    EXPECT_EQ(parse_date(text, now), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace skerry::net::http
