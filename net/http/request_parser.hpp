// SPDX-License-Identifier: Apache-2.0
#pragma once

/// request_parser: the head of an HTTP/1.x request, from bytes that may be cut anywhere.
///
/// The rule it enforces: two parties that read the same bytes never disagree about where a request ends or whom it is
/// for. What RFC 9112 lets a recipient repair (a bare line feed, a folded line, equal lengths given twice) is refused,
/// because a proxy in front may have repaired it the other way. A byte is looked at a bounded number of times however
/// it arrives, nothing is copied, and after the constructor nothing is allocated.
///
///     parse(window) --> need_more    read more, call again with a window that begins with the same byte
///                   --> complete     head() is checked; the body begins at consumed(); then reset()
///                   --> error        answer error_status(), close
///
/// Work per line: one scan for the bytes that may not be in it finds its end; then it is read. Views follow a window
/// that has moved when the next call begins. An error is seen when the line it is in has ended, bytes that may stand
/// nowhere in a head when they come; which error depends on the bytes, never on where they were cut.
///
/// | status | refused |
/// | --- | --- |
/// | 400 | a line feed or carriage return alone, other control bytes, a folded line, space before the colon, a name |
/// |     | that is no token; Content-Length repeated, a list, signed, empty, above 2^63 - 1, or beside |
/// |     | Transfer-Encoding; Transfer-Encoding in HTTP/1.0, `chunked` repeated, not last or with parameters; white |
/// |     | space behind either; CONNECT with a body; Host missing (1.1), repeated, empty, malformed, or another than |
/// |     | the target's; a Connection that is no list of tokens; a target of the wrong form for its method, with a |
/// |     | fragment or a byte that is not visible ASCII; more than two empty lines in front |
/// | 414 | a request line longer than the limit |
/// | 417 | an expectation other than 100-continue |
/// | 431 | more bytes or fields than the limits |
/// | 501 | a transfer coding other than `chunked` |
/// | 505 | HTTP/x.y other than 1.0 and 1.1 |
///
/// Ownership:  the window is the caller's. The head's views point into it (the path of a target that has none, at a
///             literal) and are valid until it moves or parse() is called again.
/// Invariants: (1) parse() never reads outside of the window; (2) no verdict but need_more depends on bytes behind
///             consumed(); (3) the sum of all work is linear in the bytes, even fed one at a time.
/// Limits:     `head_limits`; a field takes 32 bytes here, allocated once for all.
/// Errors:     verdicts, no exceptions except std::bad_alloc from the constructor.
/// Source:     RFC 9112 sections 2 to 6 and 9.3, RFC 9110 sections 5.5, 7.2 and 10.1.1, RFC 3986 section 3.2.

#include <skerry/net/http/detail/head_reader.hpp>
#include <skerry/net/http/message.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace skerry::net::http {

class request_parser : private detail::head_reader<request_parser> {
 public:
  explicit request_parser(const head_limits& limits = {});

  /// Reads on where the last call stopped. `window` begins with the first byte of the request, and may have moved and
  /// grown since. After `complete` the head's views point into this window and `consumed()` is where the body begins.
  verdict parse(std::span<const char> window) noexcept;
  const request_head& head() const noexcept { return head_; }
  std::size_t consumed() const noexcept { return consumed_; }
  /// Whether a head has begun: an end of the stream, or of patience, now loses something. Empty lines in front of a
  /// request are none of it.
  bool mid_head() const noexcept { return state_.seen != state_.begin; }
  /// After `error`: the status to answer with before closing, and why, for people.
  unsigned error_status() const noexcept { return error_status_; }
  std::string_view error_text() const noexcept { return error_text_; }
  /// For the next request.
  void reset() noexcept;

 private:
  friend class detail::head_reader<request_parser>;
  static constexpr unsigned empty_lines_max = 2;
  static constexpr unsigned first_line_too_long = 414;
  static constexpr std::string_view first_line_too_long_text = "the request line is too long";
  static constexpr std::string_view empty_lines_text = "empty lines instead of a request";

  bool read_first_line(const line& l) noexcept;
  bool read_target(std::string_view target) noexcept;
  bool read_own_field(const char* name, std::size_t name_size, std::string_view value) noexcept;
  bool read_host(std::string_view value) noexcept;
  bool read_expect(std::string_view value) noexcept;
  verdict finish(const char* begin, const char* body) noexcept;
  bool same_authority() const noexcept;
  void move_views(const auto& move) noexcept;

  request_head head_;           ///< views into the window as it was in the last call
  std::string_view authority_;  ///< the target's
  bool has_host_ = false;
  bool expects_continue_ = false;
};

}  // namespace skerry::net::http
