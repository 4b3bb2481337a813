// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log_record.hpp>

#include <array>
#include <bit>
#include <iterator>

#include <fmt/format.h>

namespace skerry {

namespace {

constexpr std::array<std::string_view, 5> level_names = {"debug", "info", "warning", "error", "off"};

struct character {
  std::size_t size;  // in bytes; 0: no well-formed sequence
  char32_t code;
};

character first_of(std::string_view text) noexcept {
  constexpr std::array<char32_t, 5> smallest{0, 0, 0x80, 0x800, 0x10000};  // a smaller code takes fewer bytes
  const auto lead = static_cast<unsigned char>(text[0]);
  const auto size = static_cast<std::size_t>(std::countl_one(lead));
  if (size == 0) return {1, lead};
  if (size == 1 || size > 4 || size > text.size()) return {0, 0};
  char32_t code = lead & (0x7fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >> 6 != 0b10) return {0, 0};
    code = code << 6 | (byte & 0x3fu);
  }
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return {code < smallest[size] || code > 0x10ffff || surrogate ? 0 : size, code};
}

void append_escaped(std::string& out, std::string_view text, log_format format) {
  const bool json = format == log_format::json;
  while (!text.empty()) {
    const auto [size, code] = first_of(text);
    if (size == 0) {
      out += "\xef\xbf\xbd";
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {  // the upper ones drive terminals, too
      const auto number = static_cast<std::uint32_t>(code);
      json ? fmt::format_to(std::back_inserter(out), "\\u{:04x}", number)
           : fmt::format_to(std::back_inserter(out), "\\x{:02x}", number);
    } else {
      if (json && (code == '"' || code == '\\')) out += '\\';
      out += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
}

void append_time(std::string& out, std::chrono::nanoseconds wall) {
  const auto since_epoch = std::chrono::floor<std::chrono::milliseconds>(wall);
  const auto day = std::chrono::floor<std::chrono::days>(since_epoch);
  const std::chrono::year_month_day date{std::chrono::sys_days{day}};
  const std::chrono::hh_mm_ss time{since_epoch - day};
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                 time.minutes().count(), time.seconds().count(), time.subseconds().count());
}

/// Everything up to the message. Piece by piece: the writer's buffer has room, and nothing else is allocated.
void append_head(std::string& out, const log_record& record, log_format format) {
  const bool json = format == log_format::json;
  const auto to = std::back_inserter(out);
  if (json) out += R"({"time":")";
  append_time(out, record.wall);
  if (json) {
    fmt::format_to(to, R"(","level":"{}","shard":)", name_of(record.level));
  } else {
    fmt::format_to(to, " {:<5} {}", name_of(record.level), record.shard ? "shard " : "no shard");
  }
  if (record.shard) fmt::format_to(to, "{}", *record.shard);
  if (json && !record.shard) out += "null";
  if (json || !record.task.empty()) {
    out += json ? R"(,"task":")" : " \"";
    append_escaped(out, record.task, format);
    out += '"';
  }
  out += json ? R"(,"message":")" : ": ";
}

}  // namespace

std::string_view name_of(log_level level) noexcept {
  const auto index = static_cast<std::size_t>(level);
  SKERRY_ASSERT(index < level_names.size(), "this is no log level");
  return level_names[index];
}

std::optional<log_level> parse_log_level(std::string_view name) noexcept {
  for (std::size_t i = 0; i < level_names.size(); ++i) {
    if (level_names[i] == name) return static_cast<log_level>(i);
  }
  return std::nullopt;
}

std::optional<log_format> parse_log_format(std::string_view name) noexcept {
  if (name == "text") return log_format::text;
  if (name == "json") return log_format::json;
  return std::nullopt;
}

void append_line(std::string& out, const log_record& record, log_format format) {
  SKERRY_ASSERT(record.level < log_level::off, "no line has the level off");
  SKERRY_ASSERT(record.task.size() <= log_task_max, "whoever made the record cut the task's name");
  SKERRY_ASSERT(record.message.size() <= log_message_max, "whoever made the record cut the message");
  const std::size_t before = out.size();
  append_head(out, record, format);
  append_escaped(out, record.message, format);
  if (record.cut != 0) fmt::format_to(std::back_inserter(out), "... ({} bytes cut)", record.cut);
  out += format == log_format::json ? "\"}\n" : "\n";
  SKERRY_ASSERT(out.size() - before <= log_line_max, "a rendered line keeps within its bound");
}

void append_drop_report(std::string& out, std::chrono::nanoseconds wall, std::uint32_t shard, std::uint64_t dropped,
                        log_format format) {
  SKERRY_ASSERT(dropped > 0, "nothing was dropped");
  append_head(out, {.wall = wall, .level = log_level::warning, .shard = shard}, format);
  fmt::format_to(std::back_inserter(out), "{} log lines dropped: the log's queue was full", dropped);
  if (format == log_format::json) fmt::format_to(std::back_inserter(out), "\",\"dropped\":{}}}", dropped);
  out += '\n';
}

}  // namespace skerry
