// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log_record.hpp>

#include <iterator>

#include <fmt/format.h>

namespace skerry {

namespace {

// How many bytes the well-formed sequence at the start of `text` has; 0 if there is none.
std::size_t well_formed(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned lead = byte(0);
  std::size_t length = 0;
  unsigned lowest = 0x80, highest = 0xbf;  // of the second byte: no overlong form, no surrogate, nothing past U+10FFFF
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) length = 2;
  if (lead >= 0xe0 && lead <= 0xef) length = 3;
  if (lead >= 0xf0 && lead <= 0xf4) length = 4;
  if (lead == 0xe0) lowest = 0xa0;
  if (lead == 0xed) highest = 0x9f;
  if (lead == 0xf0) lowest = 0x90;
  if (lead == 0xf4) highest = 0x8f;
  if (length == 0 || byte(1) < lowest || byte(1) > highest) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// U+0080 to U+009F are control characters too, and terminals obey them.
bool is_late_control(std::string_view sequence) noexcept {
  return sequence.size() == 2 && sequence[0] == '\xc2' && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

void append_control(std::string& out, unsigned code, log_format format) {
  switch (code) {
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: break;
  }
  if (format == log_format::json) {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", code);
  } else {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", code);
  }
}

void append_escaped(std::string& out, std::string_view text, log_format format) {
  while (!text.empty()) {
    const std::size_t length = well_formed(text);
    const std::string_view sequence = text.substr(0, length);
    const auto first = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (first < 0x20 || first == 0x7f) {
      append_control(out, first, format);
    } else if (is_late_control(sequence)) {
      append_control(out, static_cast<unsigned char>(sequence[1]), format);
    } else {
      if (format == log_format::json && (first == '"' || first == '\\')) out += '\\';
      out += sequence;
    }
    text.remove_prefix(length == 0 ? 1 : length);
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

// Everything up to the message.
void append_head(std::string& out, const log_record& record, log_format format) {
  const std::string_view level = name_of(record.level);
  if (format == log_format::json) {
    out += "{\"time\":\"";
    append_time(out, record.wall);
    fmt::format_to(std::back_inserter(out), "\",\"level\":\"{}\",\"shard\":", level);
    if (record.shard) {
      fmt::format_to(std::back_inserter(out), "{}", *record.shard);
    } else {
      out += "null";
    }
    out += ",\"task\":\"";
    append_escaped(out, record.task, format);
    out += "\",\"message\":\"";
    return;
  }
  append_time(out, record.wall);
  fmt::format_to(std::back_inserter(out), " {:<5} ", level);
  if (record.shard) {
    fmt::format_to(std::back_inserter(out), "shard {}", *record.shard);
  } else {
    out += "no shard";
  }
  if (!record.task.empty()) {
    out += " \"";
    append_escaped(out, record.task, format);
    out += '"';
  }
  out += ": ";
}

}  // namespace

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

void append_drop_report(std::string& out, const log_record& record, std::uint64_t dropped, log_format format) {
  SKERRY_ASSERT(dropped > 0, "nothing was dropped");
  append_head(out, record, format);
  fmt::format_to(std::back_inserter(out), "{} log lines dropped: the log's queue was full", dropped);
  if (format == log_format::json) {
    fmt::format_to(std::back_inserter(out), "\",\"dropped\":{}}}\n", dropped);
  } else {
    out += '\n';
  }
}

}  // namespace skerry
