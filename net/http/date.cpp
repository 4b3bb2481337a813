// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/date.hpp>

#include <algorithm>
#include <cstddef>

namespace skerry::net::http {

namespace {

using namespace std::chrono;

constexpr std::array<std::string_view, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 7> long_days{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                    "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct parts {
  int day = 0, month = 0, year = 0, hour = 0, minute = 0, second = 0;
};

/// Matches a text against a form. D, Y, h, m and s stand for a digit of the day (or a blank before it), year, hour,
/// minute and second, NNN for the name of a month, ? for any letter, all else for itself.
std::optional<parts> match(std::string_view text, std::string_view form) noexcept {
  if (text.size() != form.size()) return std::nullopt;
  parts found;
  for (std::size_t i = 0; i < form.size(); ++i) {
    const char c = text[i];
    const bool digit = c >= '0' && c <= '9';
    const auto add = [&](int& part) { part = part * 10 + (digit ? c - '0' : 0); };
    switch (form[i]) {
      case 'D':
        if (!digit && !(c == ' ' && found.day == 0)) return std::nullopt;
        add(found.day);
        continue;
      case 'Y': add(found.year); break;
      case 'h': add(found.hour); break;
      case 'm': add(found.minute); break;
      case 's': add(found.second); break;
      case '?':
        if ((c | 0x20) < 'a' || (c | 0x20) > 'z') return std::nullopt;
        continue;
      case 'N': {
        const auto* name = std::ranges::find(months, text.substr(i, 3));
        if (name == months.end()) return std::nullopt;
        found.month = static_cast<int>(name - months.begin()) + 1;
        i += 2;
        continue;
      }
      default:
        if (c != form[i]) return std::nullopt;
        continue;
    }
    if (!digit) return std::nullopt;
  }
  return found;
}

}  // namespace

date_text to_date(sys_seconds when) noexcept {
  const sys_days day = floor<std::chrono::days>(when);
  const year_month_day date(day);
  const hh_mm_ss time(when - sys_seconds(day));
  date_text made;
  char* out = made.text.data();
  const auto put = [&out](std::string_view text) { out = std::ranges::copy(text, out).out; };
  const auto number = [&out](int value, int digits) {
    for (int i = digits; i-- > 0; value /= 10) out[i] = static_cast<char>('0' + value % 10);
    out += digits;
  };
  put(days[weekday(day).c_encoding()]);
  put(", ");
  number(static_cast<int>(static_cast<unsigned>(date.day())), 2);
  put(" ");
  put(months[static_cast<unsigned>(date.month()) - 1]);
  put(" ");
  number(static_cast<int>(date.year()), 4);
  put(" ");
  number(static_cast<int>(time.hours().count()), 2);
  put(":");
  number(static_cast<int>(time.minutes().count()), 2);
  put(":");
  number(static_cast<int>(time.seconds().count()), 2);
  put(" GMT");
  return made;
}

std::optional<sys_seconds> parse_date(std::string_view text, sys_seconds now) noexcept {
  std::optional<parts> found = match(text, "???, DD NNN YYYY hh:mm:ss GMT");
  if (!found) found = match(text, "??? NNN DD hh:mm:ss YYYY");
  if (!found) {
    const std::size_t comma = text.find(',');
    const bool named =
        comma != std::string_view::npos && std::ranges::find(long_days, text.substr(0, comma)) != long_days.end();
    found = named ? match(text.substr(comma), ", DD-NNN-YY hh:mm:ss GMT") : std::nullopt;
    if (!found) return std::nullopt;
    const int this_year = static_cast<int>(year_month_day(floor<std::chrono::days>(now)).year());
    found->year += this_year / 100 * 100 + 100;
    while (found->year > this_year + 50) found->year -= 100;
  }
  const year_month_day date(year(found->year), month(static_cast<unsigned>(found->month)),
                            day(static_cast<unsigned>(found->day)));
  // 60 is a leap second, which this count of seconds has not: the next minute begins.
  if (!date.ok() || found->hour > 23 || found->minute > 59 || found->second > 60) return std::nullopt;
  return sys_days(date) + hours(found->hour) + minutes(found->minute) + seconds(found->second);
}

}  // namespace skerry::net::http
