// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log_record.hpp>

#include <algorithm>
#include <iterator>

#include <boost/locale/utf.hpp>
#include <fmt/core.h>

namespace skerry {

namespace {

constexpr std::string_view level_names[] = {"debug", "info", "warning", "error", "off"};
constexpr std::string_view format_names[] = {"text", "json"};

template <class Enum>
std::optional<Enum> parse(const auto& names, std::string_view name) noexcept {
  const auto found = std::ranges::find(names, name);
  return found != std::end(names) ? std::optional(static_cast<Enum>(found - std::begin(names))) : std::nullopt;
}

void append_escaped(std::string& out, std::string_view text, bool json) {
  namespace utf = boost::locale::utf;
  for (auto at = text.begin(); at != text.end();) {
    auto next = at;
    const utf::code_point code = utf::utf_traits<char>::decode(next, text.end());
    if (code == utf::illegal || code == utf::incomplete) {
      out += "\xef\xbf\xbd";
      next = at + 1;
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {  // the upper ones drive terminals, too
      fmt::format_to(std::back_inserter(out += json ? "\\u00" : "\\x"), "{:02x}", code);
    } else {
      if (json && (code == '"' || code == '\\')) out += '\\';
      out.append(at, next);
    }
    at = next;
  }
}

}  // namespace

std::optional<log_level> parse_log_level(std::string_view name) noexcept { return parse<log_level>(level_names, name); }
std::optional<log_format> parse_log_format(std::string_view name) noexcept {
  return parse<log_format>(format_names, name);
}

void append_line(std::string& out, const log_record& record, log_format format) {
  SKERRY_ASSERT(record.level < log_level::off, "no line has the level off");
  SKERRY_ASSERT(record.task.size() <= log_task_max, "whoever made the record cut the task's name");
  SKERRY_ASSERT(record.message.size() <= log_message_max, "whoever made the record cut the message");
  const bool json = format == log_format::json;
  const std::size_t before = out.size();
  const auto to = std::back_inserter(out);
  const auto day = std::chrono::floor<std::chrono::days>(record.wall);
  const std::chrono::year_month_day date{std::chrono::sys_days(day)};
  const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::milliseconds>(record.wall - day));
  const std::string_view to_shard = json ? R"(","shard":)" : record.shard ? " shard " : " no shard";
  fmt::format_to(to, "{}{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z{}{:<{}}{}", json ? R"({"time":")" : "",
                 static_cast<int>(date.year()), static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                 time.hours().count(), time.minutes().count(), time.seconds().count(), time.subseconds().count(),
                 json ? R"(","level":")" : " ", level_names[static_cast<std::size_t>(record.level)], json ? 0 : 5,
                 to_shard);
  if (record.shard || json) out += record.shard ? std::to_string(*record.shard) : "null";
  if (json || !record.task.empty()) {
    out += json ? R"(,"task":")" : " \"";
    append_escaped(out, record.task, json);
    out += '"';
  }
  out += json ? R"(,"message":")" : ": ";
  append_escaped(out, record.message, json);
  if (record.cut != 0) fmt::format_to(to, "... ({} bytes cut)", record.cut);
  out += json ? "\"}\n" : "\n";
  SKERRY_ASSERT(out.size() - before <= log_line_max, "a rendered line keeps within its bound");
}

}  // namespace skerry
