// SPDX-License-Identifier: Apache-2.0
#pragma once

/// message: the words of HTTP that parser, router, server and client share: methods, statuses, fields, the head of a
/// request.
///
/// Everything here is a value or a view. A head's views point into the bytes that its parser was given, and live as
/// long as those stay where they are.
///
/// Affinity: none of its own.
/// Source:   RFC 9110 (semantics), RFC 9112 (HTTP/1.1).

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace skerry::net::http {

/// The methods of RFC 9110 and PATCH (RFC 5789); any other token is `other`, and `request_head::method_text` has it.
enum class method : std::uint8_t { get, head, post, put, delete_, connect, options, trace, patch, other };

method parse_method(std::string_view text) noexcept;
std::string_view to_string(method m) noexcept;  ///< "GET"; of `other` an empty text

/// The reason phrase that goes with a status, "Not Found"; for an unknown one that of its class.
std::string_view reason_of(unsigned status) noexcept;

/// One header field. The name is as it was sent; names are compared without regard to case.
struct field {
  std::string_view name;
  std::string_view value;  ///< without the white space around it
};

/// Whether two names or tokens are the same but for the case of ASCII letters.
bool same_name(std::string_view a, std::string_view b) noexcept;

/// The first field called `name`, or nothing.
std::optional<std::string_view> find(std::span<const field> fields, std::string_view name) noexcept;

/// How the end of a body is known.
enum class framing : std::uint8_t { none, length, chunked, until_close };  ///< the last for responses only

/// The head of a request, checked: what a parser lets through obeys RFC 9112 and the limits.
struct request_head {
  http::method method = method::get;
  std::uint8_t minor_version = 1;  ///< HTTP/1.x
  http::framing framing = framing::none;
  bool keep_alive = true;         ///< what version and Connection ask for
  bool expects_continue = false;  ///< waits for "100 Continue" before it sends its body
  std::uint64_t content_length = 0;
  std::string_view method_text;
  std::string_view target;  ///< as sent
  std::string_view path;    ///< of the target, still percent-encoded; begins with '/', or is "*"; empty for CONNECT
  std::string_view query;   ///< behind '?', still encoded
  std::string_view host;    ///< of an absolute target, else of Host; empty only for HTTP/1.0
  std::span<const field> fields;
};

/// The head of a response, checked the same way.
struct response_head {
  unsigned status = 0;
  std::uint8_t minor_version = 1;  ///< HTTP/1.x
  http::framing framing = framing::none;
  bool keep_alive = true;  ///< whether another request may follow on this connection
  std::uint64_t content_length = 0;
  std::string_view reason;  ///< as sent
  std::span<const field> fields;
};

/// Whether a response with this status never has a body.
constexpr bool is_bodiless(unsigned status) noexcept { return status < 200 || status == 204 || status == 304; }

/// Appends a field as a line. Throws std::invalid_argument for a name or value that HTTP cannot carry: a line break in
/// a value would forge fields.
void append_field(std::string& lines, std::string_view name, std::string_view value);

}  // namespace skerry::net::http
