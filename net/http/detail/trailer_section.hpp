// SPDX-License-Identifier: Apache-2.0
#pragma once

/// trailer_section: the fields behind a chunked body, those that came and those that are to be sent.
///
/// The rule it enforces: a trailer never says what only a head may say. Whoever merges trailers into a head would
/// believe a length, a host or a cookie that no check of heads has seen. So the same names are kept out both ways, and
/// what came is shown beside the head, never in it.
///
///     decode(bytes) -> add(run of trailer bytes) ... -> end() -> fields()        received
///     append_trailer(lines, line) ... -> last chunk, lines, empty line           sent
///
/// Affinity:   none of its own.
/// Ownership:  the views of fields() point into the text here, until clear().
/// Invariants: between clear() and end() fields() is empty: what is shown is whole.
/// Limits:     chunked_decoder's, which it holds for what comes in; append_trailer holds them for what goes out.
/// Source:     RFC 9110 section 6.5, RFC 9112 section 7.1.2.

#include <skerry/net/http/message.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::net::http::detail {

/// Whether a field of that name may be a trailer: none of framing, routing, request modifiers, authentication, response
/// control data, and how a body is to be read.
bool may_trail(std::string_view name) noexcept;

/// Whether who sent these fields takes trailers: `TE: trailers`.
bool takes_trailers(std::span<const field> head) noexcept;

/// Appends a line that is checked already; std::length_error past what a chunked_decoder takes.
void append_trailer(std::string& lines, std::string_view line);

class trailer_section {
 public:
  /// The next bytes, which a chunked_decoder has let through.
  void add(std::span<const char> run) { text_.append(run.data(), run.size()); }
  /// All have come, the empty line included.
  void end();
  /// In the order in which they came.
  std::span<const field> fields() const noexcept { return fields_; }
  void clear() noexcept {
    text_.clear();
    fields_.clear();
  }

 private:
  std::string text_;  ///< the lines as they came; without a trailer two bytes, which take nothing from the heap
  std::vector<field> fields_;
};

}  // namespace skerry::net::http::detail
