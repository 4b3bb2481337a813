// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log_record.hpp>

#include <algorithm>
#include <iterator>

#include <boost/locale/utf.hpp>
#include <fmt/chrono.h>

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
  const auto seconds = std::chrono::floor<std::chrono::seconds>(record.wall);
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(record.wall - seconds).count();
  const std::tm date = fmt::gmtime(seconds.count());
  const std::string_view level = level_names[static_cast<std::size_t>(record.level)];
  if (json) {
    fmt::format_to(to, R"({{"time":"{:%FT%T}.{:03}Z","level":"{}","shard":)", date, ms, level);
  } else {
    fmt::format_to(to, "{:%FT%T}.{:03}Z {:<5} {}", date, ms, level, record.shard ? "shard " : "no shard");
  }
  if (record.shard || json) out += record.shard ? fmt::to_string(*record.shard) : "null";
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
