// SPDX-License-Identifier: Apache-2.0
#pragma once

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
  /// Whether a head has begun: an end of the stream, or of patience, now loses something.
  bool mid_head() const noexcept { return scanned_ != 0; }
  /// After `error`: the status to answer with before closing, and why, for people.
  unsigned error_status() const noexcept { return error_status_; }
  std::string_view error_text() const noexcept { return error_text_; }
  /// For the next request.
  void reset() noexcept;

 private:
  head_limits limits_;
  request_head head_;
  std::unique_ptr<field[]> fields_;
  std::size_t scanned_ = 0;
  std::size_t consumed_ = 0;
  unsigned error_status_ = 0;
  std::string_view error_text_;
};

}  // namespace skerry::net::http
