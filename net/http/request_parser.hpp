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
/// |     | space behind either; Host missing (1.1), repeated, empty, malformed, or another than the target's; a |
/// |     | Connection that is no list of tokens; a target of the wrong form for its method, with a fragment or a byte |
/// |     | that is not visible ASCII; more than two empty lines in front |
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

#include <skerry/net/http/message.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace skerry::net::http {

/// What the head of a request may come to.
struct head_limits {
  std::uint32_t request_line_bytes_max = 8192;  ///< beyond: 414
  std::uint32_t head_bytes_max = 32 * 1024;     ///< request line and fields; beyond: 431
  std::uint32_t fields_max = 100;               ///< beyond: 431
};

enum class verdict : std::uint8_t { need_more, complete, error };

class request_parser {
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
  /// The window's bytes of the line at hand; `end` is that of the window: scans may look so far, and stop before.
  struct line {
    const char* begin;
    const char* stop;
    const char* end;
  };
  enum class place : std::uint8_t { request_line, fields, over };

  /// All that a request leaves behind, so that reset() is one assignment.
  struct progress {
    std::size_t begin = 0;    ///< of the request line, behind empty lines
    std::size_t at = 0;       ///< of the line at hand
    std::size_t scanned = 0;  ///< up to here that line holds no control byte
    std::size_t seen = 0;     ///< size of the last window
    std::uint32_t fields = 0;
    place where = place::request_line;
    std::uint8_t empty_lines = 0;
    bool has_host = false;
    bool has_length = false;
    bool chunked = false;
    bool close = false;
    bool keep_alive = false;
    bool expects_continue = false;
  };

  bool read_request_line(const line& l) noexcept;
  bool read_target(std::string_view target) noexcept;
  bool read_field(const line& l) noexcept;
  bool read_host(std::string_view value) noexcept;
  bool read_expect(std::string_view value) noexcept;
  bool read_content_length(std::string_view value) noexcept;
  bool read_transfer_encoding(std::string_view value) noexcept;
  bool read_connection(std::string_view value) noexcept;
  verdict stop_short(const line& l, const char* begin) noexcept;
  verdict finish(const char* begin, const char* body) noexcept;
  bool same_authority() const noexcept;
  void follow(const char* begin) noexcept;
  bool fail(unsigned status, std::string_view text) noexcept;
  verdict refuse(unsigned status, std::string_view text) noexcept;

  const char* (*find_line_end_)(const char* at, const char* end) noexcept;  ///< of detail/scan.hpp, for this CPU
  head_limits limits_;
  progress state_;
  request_head head_;           ///< views into the window as it was in the last call
  std::string_view authority_;  ///< the target's
  std::uintptr_t window_ = 0;   ///< where the last window began: a number, as the memory may be gone
  std::unique_ptr<field[]> fields_;
  std::size_t consumed_ = 0;
  unsigned error_status_ = 0;
  std::string_view error_text_;
};

}  // namespace skerry::net::http
