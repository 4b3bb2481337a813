// SPDX-License-Identifier: Apache-2.0
#pragma once

/// response_parser: the head of an HTTP/1.x response, from bytes that may be cut anywhere.
///
/// The rule it enforces is request_parser's, seen from the other side: client and server never disagree about where a
/// response ends, or the next one on this connection could be somebody else's. Lines and fields are read by the same
/// code, and what may be repaired is refused as there.
///
///     parse(window) --> need_more    read more, call again with a window that begins with the same byte
///                   --> complete     head() is checked; the body begins at consumed(); then reset()
///                   --> error        close; error_text() says why
///
/// What ends the body, by the first row that fits (RFC 9112 section 6.3):
///
/// | response | framing |
/// | --- | --- |
/// | to HEAD; status 1xx, 204 or 304 | none |
/// | Transfer-Encoding: chunked | chunked |
/// | Content-Length | length |
/// | any other | until_close |
///
/// Refused beside what fields are refused for in a request (bare CR or LF, folding, both lengths, a coding other than
/// chunked): an empty line in front, a status line without its three digits from 100 to 599 or the space behind them,
/// another version than 1.0 and 1.1, and 1xx or 204 that announce a body.
///
/// Ownership:  the window is the caller's. The head's views point into it and are valid until it moves or parse() is
///             called again.
/// Invariants: those of request_parser.
/// Limits:     `head_limits`, with `request_line_bytes_max` for the status line.
/// Errors:     verdicts, no exceptions except std::bad_alloc from the constructor.
/// Source:     RFC 9112 sections 4 to 6 and 9.3, RFC 9110 sections 6.4.1 and 15.

#include <skerry/net/http/detail/head_reader.hpp>
#include <skerry/net/http/message.hpp>

#include <cstddef>
#include <span>
#include <string_view>

namespace skerry::net::http {

class response_parser : private detail::head_reader<response_parser> {
 public:
  explicit response_parser(const head_limits& limits = {});

  /// Reads on where the last call stopped. `window` begins with the first byte of the response, and may have moved and
  /// grown since.
  verdict parse(std::span<const char> window) noexcept;
  const response_head& head() const noexcept { return head_; }
  std::size_t consumed() const noexcept { return consumed_; }
  std::string_view error_text() const noexcept { return error_text_; }
  /// For the next response, which answers a request with method `asked`.
  void reset(method asked = method::get) noexcept;

 private:
  friend class detail::head_reader<response_parser>;
  static constexpr unsigned empty_lines_max = 0;
  static constexpr unsigned first_line_too_long = 400;  // the status is for servers; here it only has to be there
  static constexpr std::string_view first_line_too_long_text = "the status line is too long";
  static constexpr std::string_view empty_lines_text = "an empty line instead of a response";

  bool read_first_line(const line& l) noexcept;
  bool read_own_field(const char*, std::size_t, std::string_view) noexcept { return true; }
  verdict finish(const char* begin, const char* body) noexcept;
  void move_views(const auto& move) noexcept { move(head_.reason); }

  response_head head_;  ///< views into the window as it was in the last call
  method asked_ = method::get;
};

}  // namespace skerry::net::http
