// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <skerry/net/http/request_parser.hpp>

namespace skerry::net::http {

/// Takes the frame off a chunked body, from bytes that may be cut anywhere.
class chunked_decoder {
 public:
  /// Looks at the front of `input`: `consumed()` bytes of it are done with afterwards, of which `data()` is a run of
  /// body bytes inside `input` (it may be empty). `complete`: the last chunk and the trailers have been read.
  verdict decode(std::span<const char> input) noexcept;
  std::span<const char> data() const noexcept { return data_; }
  std::size_t consumed() const noexcept { return consumed_; }
  unsigned error_status() const noexcept { return error_status_; }
  std::string_view error_text() const noexcept { return error_text_; }
  void reset() noexcept;

 private:
  std::span<const char> data_;
  std::size_t consumed_ = 0;
  unsigned error_status_ = 0;
  std::string_view error_text_;
};

}  // namespace skerry::net::http
