// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/resp/parser.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

namespace skerry::net::resp {
namespace {

constexpr std::size_t line_end_size = 2;
constexpr int fast_digits_max = 10;  // enough for every count and length that is allowed; the rest goes the slow way

/// A canonical decimal of up to seven digits and its line end; false when it is anything else or not all there.
inline bool read_short_number(const char*& at, const char* end, std::uint32_t& value) noexcept {
  constexpr std::ptrdiff_t window_min = 10;
  if (end - at < window_min) [[unlikely]]
    return false;
  auto digit = static_cast<unsigned>(at[0] - '0');
  if (digit > 9) [[unlikely]]
    return false;
  std::uint32_t read = digit;
  const char* next = at + 1;
  if (*next != '\r') {
    if (digit == 0) return false;
    const char* last = at + 7;
    while (next < last && (digit = static_cast<unsigned>(*next - '0')) <= 9) {
      read = read * 10 + digit;
      ++next;
    }
    if (*next != '\r') return false;
  }
  value = read;
  at = next + line_end_size;
  return true;
}

bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool ends_word(char c) noexcept { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

char unescape(char c) noexcept {
  switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
  }
}

}  // namespace

request_parser::request_parser(const request_limits& limits) noexcept : limits_(limits) {
  SKERRY_ASSERT(limits.bulk_bytes_max < std::numeric_limits<std::uint32_t>::max() - (1U << 20),
                "offsets within a command are 32 bits wide");
  SKERRY_ASSERT(limits.arguments_max > 0, "a command has at least one argument");
  SKERRY_ASSERT(limits.command_bytes_max >= limits.line_bytes_max, "an inline command must fit into one command");
}

verdict request_parser::parse(std::span<char> window, std::vector<std::string_view>& arguments) {
  SKERRY_ASSERT(fault_ == fault::none, "after a protocol error the connection is closed, not parsed further");
  SKERRY_ASSERT(window.size() >= position_, "a window only grows: bytes of an unfinished command were dropped");
  consumed_ = 0;
  wanted_ = 1;
  for (;;) {
    std::span<char> rest = window.subspan(consumed_);
    step done = step::need_more;
    if (phase_ != phase::start) {
      done = read_bulks(rest, arguments);
    } else if (!rest.empty()) {
      if (position_ == 0 && rest[0] == '*' && read_whole(rest, arguments)) return verdict::command;
      done = rest[0] == '*' ? read_count(rest) : read_inline(rest, arguments);
      if (done == step::frame) done = read_bulks(rest, arguments);
    }
    switch (done) {
      case step::need_more: return verdict::need_more;
      case step::command: return verdict::command;
      case step::failed: return verdict::protocol_error;
      case step::skipped:
      case step::frame: break;
    }
  }
}

// The common case in registers: a frame of few arguments that is all there. Anything else is left to the functions
// below, which then start from the first byte; so it adds no state and decides nothing that they would not decide the
// same way.
bool request_parser::read_whole(std::span<char> window, std::vector<std::string_view>& arguments) {
  constexpr std::uint32_t few = 16;
  const char* at = window.data() + 1;
  const char* end = window.data() + window.size();
  std::uint32_t count = 0;
  if (!read_short_number(at, end, count) || count == 0 || count > std::min(few, limits_.arguments_max)) return false;
  const std::size_t first = arguments.size();
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint32_t size = 0;
    // The shortest last argument is shorter than read_short_number looks at: that one takes the other way.
    bool whole = at < end && *at++ == '$' && read_short_number(at, end, size) && size <= limits_.bulk_bytes_max &&
                 static_cast<std::size_t>(end - at) >= size + line_end_size;
    if (!whole) [[unlikely]] {
      arguments.resize(first);
      return false;
    }
    arguments.emplace_back(at, size);
    at += size + line_end_size;
  }
  auto taken = static_cast<std::size_t>(at - window.data());
  if (taken > limits_.command_bytes_max) {
    arguments.resize(first);
    return false;
  }
  consumed_ += taken;
  return true;
}

request_parser::step request_parser::read_count(std::span<char> window) {
  std::int64_t count = 0;
  if (position_ == 0) position_ = 1;
  switch (read_number(window, fault::big_multibulk_line, fault::multibulk_length, count)) {
    case number::incomplete: wanted_ = window.size() + 1; return step::need_more;
    case number::failed: return step::failed;
    case number::found: break;
  }
  if (count > std::int64_t{limits_.arguments_max}) return fail(fault::multibulk_length);
  if (count <= 0) {
    consumed_ += position_;
    begin_command();
    return step::skipped;
  }
  missing_ = static_cast<std::uint32_t>(count);
  phase_ = phase::bulk_header;
  return step::frame;
}

request_parser::step request_parser::read_bulks(std::span<char> window, std::vector<std::string_view>& arguments) {
  // Until the first suspension arguments go where the caller wants them; after one they go through the table.
  const std::size_t first = arguments.size();
  const bool direct = saved_ == 0;
  while (missing_ > 0) {
    if (phase_ == phase::bulk_header) {
      if (position_ >= window.size()) return suspend(window, arguments, first);
      if (window[position_] != '$') {
        unexpected_ = window[position_];
        arguments.resize(first);
        return fail(fault::expected_bulk);
      }
      ++position_;
      std::int64_t size = 0;
      number read = read_number(window, fault::big_bulk_line, fault::bulk_length, size);
      if (read == number::incomplete) {
        --position_;  // the '$' is read again; line_scanned_ counts from behind it
        return suspend(window, arguments, first);
      }
      if (read == number::found && (size < 0 || size > std::int64_t{limits_.bulk_bytes_max})) {
        fail(fault::bulk_length);
      } else if (read == number::found &&
                 static_cast<std::uint64_t>(size) + position_ + line_end_size > limits_.command_bytes_max) {
        fail(fault::big_command);
      }
      if (fault_ != fault::none) {
        arguments.resize(first);
        return step::failed;
      }
      bulk_size_ = static_cast<std::uint32_t>(size);
      phase_ = phase::bulk_body;
    }
    if (window.size() - position_ < bulk_size_ + line_end_size) return suspend(window, arguments, first);
    if (direct) {
      arguments.emplace_back(window.data() + position_, bulk_size_);
    } else {
      save({position_, bulk_size_});
    }
    position_ += bulk_size_ + static_cast<std::uint32_t>(line_end_size);
    phase_ = phase::bulk_header;
    --missing_;
  }
  if (!direct) {
    const extent* table = saved_ <= inline_extents ? inline_.data() : spill_.data();
    arguments.reserve(first + saved_);
    for (std::uint32_t i = 0; i < saved_; ++i) arguments.emplace_back(window.data() + table[i].offset, table[i].size);
  }
  consumed_ += position_;
  begin_command();
  return step::command;
}

request_parser::step request_parser::suspend(std::span<char> window, std::vector<std::string_view>& arguments,
                                             std::size_t first) {
  if (saved_ == 0) {
    for (std::size_t i = first; i < arguments.size(); ++i) {
      save({static_cast<std::uint32_t>(arguments[i].data() - window.data()),
            static_cast<std::uint32_t>(arguments[i].size())});
    }
    arguments.resize(first);
  }
  SKERRY_ASSERT(arguments.size() == first, "an unfinished command must leave no views behind");
  // Each argument still missing takes at least "$0", a line end and a line end.
  constexpr std::size_t smallest_bulk = 6;
  std::size_t bulks_after = missing_ - 1;
  std::size_t here = phase_ == phase::bulk_body ? bulk_size_ + line_end_size : smallest_bulk;
  wanted_ = std::max(window.size() + 1,
                     std::min<std::size_t>(position_ + here + bulks_after * smallest_bulk, limits_.command_bytes_max));
  return step::need_more;
}

void request_parser::save(extent argument) {
  if (saved_ == inline_extents) {
    spill_.reserve(std::min<std::size_t>(saved_ + missing_ + 1, 1024));
    spill_.assign(inline_.begin(), inline_.end());
  }
  if (saved_ < inline_extents) {
    inline_[saved_] = argument;
  } else {
    spill_.push_back(argument);
  }
  ++saved_;
}

void request_parser::begin_command() noexcept {
  if (saved_ > inline_extents) std::vector<extent>().swap(spill_);
  saved_ = 0;
  position_ = 0;
  line_scanned_ = 0;
  phase_ = phase::start;
}

request_parser::step request_parser::fail(fault what) noexcept {
  fault_ = what;
  return step::failed;
}

request_parser::number request_parser::read_number(std::span<char> window, fault too_long, fault malformed,
                                                   std::int64_t& value) {
  const char* begin = window.data() + position_;
  const char* end = window.data() + window.size();
  const char* at = begin;
  std::uint64_t read = 0;
  while (at < end && at - begin < fast_digits_max && static_cast<unsigned char>(*at - '0') < 10) {
    read = read * 10 + static_cast<std::uint64_t>(*at - '0');
    ++at;
  }
  bool canonical = at > begin && (*begin != '0' || at - begin == 1);
  if (!canonical || end - at < 2 || *at != '\r') return read_number_slowly(window, too_long, malformed, value);
  value = static_cast<std::int64_t>(read);
  position_ += static_cast<std::uint32_t>(at - begin) + static_cast<std::uint32_t>(line_end_size);
  line_scanned_ = 0;
  return number::found;
}

request_parser::number request_parser::read_number_slowly(std::span<char> window, fault too_long, fault malformed,
                                                          std::int64_t& value) {
  const char* begin = window.data() + position_;
  std::size_t available = window.size() - position_;
  SKERRY_ASSERT(line_scanned_ <= available, "a window only grows");
  std::size_t looked_at = std::min<std::size_t>(available, limits_.line_bytes_max + 1);
  const void* found = std::memchr(begin + line_scanned_, '\r', looked_at - line_scanned_);
  if (found == nullptr) {
    line_scanned_ = static_cast<std::uint32_t>(looked_at);
    if (looked_at > limits_.line_bytes_max) return fail(too_long), number::failed;
    return number::incomplete;
  }
  auto size = static_cast<std::size_t>(static_cast<const char*>(found) - begin);
  line_scanned_ = static_cast<std::uint32_t>(size);
  if (available < size + line_end_size) return number::incomplete;
  const char* digits = begin + (size > 0 && *begin == '-' ? 1 : 0);
  const char* end = begin + size;
  bool canonical = digits < end && (*digits >= '1' && *digits <= '9');
  if (end - begin == 1 && *begin == '0') canonical = true;
  auto [stop, error] = std::from_chars(begin, end, value);
  if (!canonical || error != std::errc{} || stop != end) return fail(malformed), number::failed;
  position_ += static_cast<std::uint32_t>(size + line_end_size);
  line_scanned_ = 0;
  return number::found;
}

request_parser::step request_parser::read_inline(std::span<char> window, std::vector<std::string_view>& arguments) {
  std::size_t looked_at = std::min<std::size_t>(window.size(), std::size_t{limits_.line_bytes_max} + 1);
  const void* found = std::memchr(window.data() + line_scanned_, '\n', looked_at - line_scanned_);
  if (found == nullptr) {
    line_scanned_ = static_cast<std::uint32_t>(looked_at);
    if (looked_at > limits_.line_bytes_max) return fail(fault::big_inline);
    wanted_ = window.size() + 1;
    return step::need_more;
  }
  auto size = static_cast<std::size_t>(static_cast<const char*>(found) - window.data());
  std::size_t line_size = size > 0 && window[size - 1] == '\r' ? size - 1 : size;
  const std::size_t first = arguments.size();
  if (!split_line(window.data(), line_size, arguments)) {
    arguments.resize(first);
    return fail(fault::unbalanced_quotes);
  }
  consumed_ += size + 1;
  begin_command();
  return arguments.size() == first ? step::skipped : step::command;
}

// The words of an inline command. Quotes may open anywhere in a word and must close at its end; "..." knows the
// escapes of C and \xHH, '...' only \'. Writes each word over its own source.
bool request_parser::split_line(char* line, std::size_t size, std::vector<std::string_view>& arguments) {
  const char* at = line;
  const char* end = line + size;
  for (;;) {
    while (at < end && is_space(*at)) ++at;
    if (at == end) return true;
    char* word = line + (at - line);
    char* out = word;
    char quote = 0;
    while (at < end) {
      char c = *at++;
      if (quote == 0) {
        if (ends_word(c)) break;
        if (c == '"' || c == '\'') {
          quote = c;
        } else {
          *out++ = c;
        }
      } else if (c == quote) {
        if (at < end && !is_space(*at)) return false;
        quote = 0;
        break;
      } else if (quote == '\'') {
        if (c == '\\' && at < end && *at == '\'') c = *at++;
        *out++ = c;
      } else if (c == '\\' && end - at >= 3 && *at == 'x' && hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0) {
        *out++ = static_cast<char>(hex_digit(at[1]) * 16 + hex_digit(at[2]));
        at += 3;
      } else if (c == '\\' && at < end) {
        *out++ = unescape(*at++);
      } else {
        *out++ = c;
      }
    }
    if (quote != 0) return false;
    arguments.emplace_back(word, static_cast<std::size_t>(out - word));
  }
}

std::string request_parser::error_text() const {
  switch (fault_) {
    case fault::none: break;
    case fault::multibulk_length: return "Protocol error: invalid multibulk length";
    case fault::bulk_length: return "Protocol error: invalid bulk length";
    case fault::expected_bulk: {
      // An error reply is one line, so a line end in it becomes a space.
      char shown = unexpected_ == '\r' || unexpected_ == '\n' ? ' ' : unexpected_;
      return std::string("Protocol error: expected '$', got '") + shown + "'";
    }
    case fault::big_multibulk_line: return "Protocol error: too big mbulk count string";
    case fault::big_bulk_line: return "Protocol error: too big bulk count string";
    case fault::big_inline: return "Protocol error: too big inline request";
    case fault::unbalanced_quotes: return "Protocol error: unbalanced quotes in request";
    case fault::big_command: return "Protocol error: too big command";
  }
  SKERRY_ASSERT(fault_ != fault::none, "there is an error text only after a protocol error");
  return {};
}

}  // namespace skerry::net::resp
