// SPDX-License-Identifier: Apache-2.0
#pragma once

/// head_reader: what the heads of requests and responses have in common: lines, fields, and what fields say about the
/// body and the connection. The parsers add their first line, fields of their own and the verdict on the whole.
///
/// A template in a header, so that the compiler sees each parser as one piece. What runs for every field is inlined,
/// what runs once or never is kept out of its way: left to the compiler, a browser's request took 14 % more
/// instructions.
///
/// Affinity: none of its own; pure.

#include <skerry/framework/assert.hpp>
#include <skerry/net/http/detail/scan.hpp>
#include <skerry/net/http/message.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>

namespace skerry::net::http {

/// What the head of a request may come to; that of a response, with its status line for the request line.
struct head_limits {
  std::uint32_t request_line_bytes_max = 8192;  ///< beyond: 414
  std::uint32_t head_bytes_max = 32 * 1024;     ///< request line and fields; beyond: 431
  std::uint32_t fields_max = 100;               ///< beyond: 431
};

enum class verdict : std::uint8_t { need_more, complete, error };

namespace detail {

inline constexpr std::size_t line_end_size = 2;

inline bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Whether bytes that hold no control byte are `name`, which is in lower case: only letters change with that bit. In
/// two overlapping words, so without a branch per byte.
template <std::size_t Size>
bool is_name(const char* text, const char (&name)[Size]) noexcept {
  using word = std::conditional_t<(Size > 8), std::uint64_t, std::uint32_t>;
  constexpr std::size_t length = Size - 1;
  static_assert(length >= sizeof(word) && length <= 2 * sizeof(word) + 1);
  constexpr auto case_bits = static_cast<word>(0x2020202020202020);
  auto differs = [&](std::size_t at) {
    word a;
    word b;
    std::memcpy(&a, text + at, sizeof(word));
    std::memcpy(&b, name + at, sizeof(word));
    return (a | case_bits) ^ b;
  };
  word difference = differs(0) | differs(length - sizeof(word));
  if constexpr (length > 2 * sizeof(word)) difference |= differs(sizeof(word));
  return difference == 0;
}
template <std::size_t Size>
bool is_name(std::string_view text, const char (&name)[Size]) noexcept {
  return text.size() == Size - 1 && is_name(text.data(), name);
}

/// Takes the first element off a list and the blanks around it.
inline std::string_view take_element(std::string_view& list) noexcept {
  std::size_t comma = std::min(list.find(','), list.size());
  std::string_view element = list.substr(0, comma);
  list.remove_prefix(std::min(comma + 1, list.size()));
  while (!element.empty() && is_blank(element.front())) element.remove_prefix(1);
  while (!element.empty() && is_blank(element.back())) element.remove_suffix(1);
  return element;
}

template <class Parser>
class head_reader {
 protected:
  /// The window's bytes of the line at hand; `end` is that of the window: scans may look so far, and stop before.
  struct line {
    const char* begin;
    const char* stop;
    const char* end;
  };
  enum class place : std::uint8_t { first_line, fields, over };

  /// All that a head leaves behind here, so that restart() is one assignment.
  struct progress {
    std::size_t begin = 0;    ///< of the first line, behind empty lines
    std::size_t at = 0;       ///< of the line at hand
    std::size_t scanned = 0;  ///< up to here that line holds no control byte
    std::size_t seen = 0;     ///< size of the last window
    std::uint32_t fields = 0;
    place where = place::first_line;
    std::uint8_t empty_lines = 0;
    bool has_length = false;
    bool chunked = false;
    bool close = false;
    bool keep_alive = false;
  };

  explicit head_reader(const head_limits& limits)
      : find_line_end_(best_line_scan()), limits_(limits), fields_(std::make_unique<field[]>(limits.fields_max)) {
    SKERRY_ASSERT(limits.head_bytes_max >= line_end_size, "a head has at least its end");
    // Which of two limits is broken first must not depend on where the bytes were cut.
    limits_.request_line_bytes_max = std::min(limits_.request_line_bytes_max, limits_.head_bytes_max);
  }

  void restart() noexcept {
    state_ = {};
    consumed_ = 0;
    error_status_ = 0;
    error_text_ = {};
  }

  verdict read(std::span<const char> window) noexcept {
    SKERRY_ASSERT(state_.where != place::over, "a head that is complete or refused is followed by reset()");
    SKERRY_ASSERT(window.size() >= state_.seen, "a window only grows: bytes of an unfinished head were dropped");
    const char* const begin = window.data();
    if (reinterpret_cast<std::uintptr_t>(begin) != window_) follow(begin);
    line l{begin + state_.at, begin + state_.scanned, begin + window.size()};
    state_.seen = window.size();
    for (;; l.begin = l.stop += line_end_size) {
      l.stop = find_line_end_(l.stop, l.end);
      const auto reached = static_cast<std::size_t>(l.stop - begin) - state_.begin;
      const bool first = state_.where == place::first_line;
      if (reached > (first ? limits_.request_line_bytes_max : limits_.head_bytes_max - line_end_size)) [[unlikely]]
        return first ? refuse(Parser::first_line_too_long, Parser::first_line_too_long_text)
                     : refuse(431, "the head is too long");
      if (l.end - l.stop < 2 || std::memcmp(l.stop, "\r\n", 2) != 0) [[unlikely]]
        return stop_short(l, begin);
      if (l.begin == l.stop) {
        if (!first) return self().finish(begin, l.stop + line_end_size);
        if (++state_.empty_lines > Parser::empty_lines_max) return refuse(400, Parser::empty_lines_text);
        state_.begin += line_end_size;
      } else if (first) {
        if (!self().read_first_line(l)) return verdict::error;
        state_.where = place::fields;
      } else if (!read_field(l)) {
        return verdict::error;
      }
    }
  }

  [[gnu::noinline]] verdict refuse(unsigned status, std::string_view text) noexcept {
    fail(status, text);
    return verdict::error;
  }

  [[gnu::noinline]] bool fail(unsigned status, std::string_view text) noexcept {
    error_status_ = status;
    error_text_ = text;
    state_.where = place::over;
    return false;
  }

  bool asks_to_keep() noexcept { return !state_.close && (self().head_.minor_version == 1 || state_.keep_alive); }

  verdict end_head(const char* begin, const char* body) noexcept {
    self().head_.fields = {fields_.get(), state_.fields};
    consumed_ = static_cast<std::size_t>(body - begin);
    state_.where = place::over;
    return verdict::complete;
  }

  progress state_;
  std::size_t consumed_ = 0;
  unsigned error_status_ = 0;
  std::string_view error_text_;

 private:
  Parser& self() noexcept { return static_cast<Parser&>(*this); }

  [[gnu::always_inline]] inline bool read_field(const line& l) noexcept {
    const char* name_end = token_end(l.begin, l.end);
    if (name_end == l.begin || *name_end != ':') [[unlikely]] {
      if (is_blank(*l.begin)) return fail(400, "a folded line");
      return fail(400, is_blank(*name_end) ? "white space before the colon" : "a field name that is no token");
    }
    if (state_.fields == limits_.fields_max) [[unlikely]]
      return fail(431, "too many fields");
    // Both ends meet a byte that is not blank: the line's carriage return, and the colon.
    const char* value = name_end + 1;
    const char* value_end = l.stop;
    if (*value == ' ') ++value;
    while (is_blank(*value)) [[unlikely]]
      ++value;
    while (is_blank(value_end[-1])) [[unlikely]]
      --value_end;
    if (value_end < value) value_end = value;
    const auto name_size = static_cast<std::size_t>(name_end - l.begin);
    fields_[state_.fields++] = {{l.begin, name_size}, {value, value_end}};
    // White space behind what frames a body is refused: there are parsers for which "chunked\t" is not chunked.
    switch (name_size) {
      case 10: return !is_name(l.begin, "connection") || read_connection({value, value_end});
      case 14: return !is_name(l.begin, "content-length") || read_content_length({value, l.stop});
      case 17: return !is_name(l.begin, "transfer-encoding") || read_transfer_encoding({value, l.stop});
      default: return self().read_own_field(l.begin, name_size, {value, value_end});
    }
  }

  // Where a line does not end as it should: the window ends, or the wrong byte stands there.
  [[gnu::noinline]] verdict stop_short(const line& l, const char* begin) noexcept {
    if (l.stop != l.end) {
      if (*l.stop == '\n') return refuse(400, "a line feed without a carriage return");
      if (*l.stop != '\r') return refuse(400, "a control byte in the head");
      if (l.end - l.stop > 1) return refuse(400, "a carriage return without a line feed");
    }
    state_.at = static_cast<std::size_t>(l.begin - begin);
    state_.scanned = static_cast<std::size_t>(l.stop - begin);
    return verdict::need_more;
  }

  // What has been read of this head lies elsewhere now. Whoever moved the bytes has done more work than this.
  [[gnu::noinline]] void follow(const char* begin) noexcept {
    auto move = [&](std::string_view& view) {
      if (view.data() == nullptr) return;
      view = {begin + (reinterpret_cast<std::uintptr_t>(view.data()) - window_), view.size()};
    };
    self().move_views(move);
    for (field& f : std::span(fields_.get(), state_.fields)) {
      move(f.name);
      move(f.value);
    }
    window_ = reinterpret_cast<std::uintptr_t>(begin);
  }

  [[gnu::noinline]] bool read_content_length(std::string_view value) noexcept {
    if (state_.has_length) return fail(400, "Content-Length is repeated");
    if (state_.chunked) return fail(400, "both Content-Length and Transfer-Encoding");
    if (value.empty() || !std::ranges::all_of(value, is_digit)) return fail(400, "Content-Length is not a number");
    constexpr std::uint64_t length_max = std::numeric_limits<std::int64_t>::max();  // sums with it fit into 64 bits
    std::uint64_t length = 0;
    for (char c : value) {
      auto digit = static_cast<std::uint64_t>(c - '0');
      if (length > (length_max - digit) / 10) return fail(400, "Content-Length is too large");
      length = length * 10 + digit;
    }
    self().head_.content_length = length;
    state_.has_length = true;
    return true;
  }

  [[gnu::noinline]] bool read_transfer_encoding(std::string_view value) noexcept {
    if (self().head_.minor_version == 0) return fail(400, "Transfer-Encoding in HTTP/1.0");
    if (state_.has_length) return fail(400, "both Content-Length and Transfer-Encoding");
    if (value.empty() || !is_token_byte(value.back())) return fail(400, "Transfer-Encoding is malformed");
    do {
      std::string_view coding = take_element(value);
      if (state_.chunked) return fail(400, "chunked is not the last transfer coding, or repeated");
      if (coding.empty() || !std::ranges::all_of(coding, is_token_byte)) {
        return fail(400, "Transfer-Encoding is malformed");
      }
      if (!is_name(coding, "chunked")) return fail(501, "a transfer coding other than chunked");
      state_.chunked = true;
    } while (!value.empty());
    return true;
  }

  [[gnu::noinline]] bool read_connection(std::string_view value) noexcept {
    if (is_name(value, "keep-alive")) return state_.keep_alive = true;  // what browsers send
    while (!value.empty()) {
      std::string_view option = take_element(value);
      if (!std::ranges::all_of(option, is_token_byte)) return fail(400, "Connection is malformed");
      if (is_name(option, "close")) state_.close = true;
      if (is_name(option, "keep-alive")) state_.keep_alive = true;
    }
    return true;
  }

  line_scan find_line_end_;
  head_limits limits_;
  std::uintptr_t window_ = 0;  ///< where the last window began: a number, as the memory may be gone
  std::unique_ptr<field[]> fields_;
};

}  // namespace detail

}  // namespace skerry::net::http
