// SPDX-License-Identifier: Apache-2.0
#pragma once

/// chunked_decoder: takes the frame off a chunked body, from bytes that may be cut anywhere.
///
/// The rule it enforces: where a body ends is never a matter of opinion, and a frame costs a bounded number of bytes
/// beside those it carries. Every byte given is done with when decode() returns, so the caller keeps nothing.
///
///     decode(input) --> need_more    use data(), a view into input; drop consumed() bytes; call again with the rest
///                   --> complete     the same; the next request begins at consumed(); then reset()
///                   --> error        answer error_status(), close
///
///     size_begin --> size --;--> extension_... --CR--> size_end --LF--> data --> data_cr --> data_lf --> size_begin
///                                                         | (the last chunk)
///                 +----------------------------LF---------+
///                 v
///            line_begin --> name --:--> value --CR--> value_end --LF--> line_begin
///                 |
///                 +--CR--> end --LF--> over
///
/// Sizes are 1 to 16 hexadecimal digits and nothing else. Extensions are checked, without white space, and dropped.
/// Trailers are held to the rules of fields in a head, and names that belong into one are refused. Their bytes are the
/// last ones of a call, for who wants them: detail/trailer_section.hpp.
///
/// Affinity: none of its own.
/// Limits:   a size line has `line_bytes_max` bytes; all extensions together `extension_bytes_max` and a byte more for
///           each 16 of the body (a signature per chunk passes, a megabyte of extensions for a byte each does not);
///           trailers `trailers_max` and `trailer_bytes_max`.
/// Errors:   400, or 431 for trailers past their limits.
/// Source:   RFC 9112 section 7.1, RFC 9110 section 6.5.

#include <skerry/net/http/request_parser.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace skerry::net::http {

class chunked_decoder {
 public:
  static constexpr std::uint32_t line_bytes_max = 256;
  static constexpr std::uint32_t extension_bytes_max = 16 * 1024;
  static constexpr std::uint32_t trailers_max = 32;
  static constexpr std::uint32_t trailer_bytes_max = 8 * 1024;

  /// Looks at the front of `input`: `consumed()` bytes of it are done with afterwards (at least one, if there are any),
  /// of which `data()` is a run of body bytes inside `input` (it may be empty). `complete`: the last chunk and the
  /// trailers have been read.
  verdict decode(std::span<const char> input) noexcept;
  std::span<const char> data() const noexcept { return data_; }
  std::size_t consumed() const noexcept { return consumed_; }
  /// So many of the bytes consumed, the last ones, are of trailers and the empty line behind them.
  std::size_t trailer_bytes() const noexcept { return trailer_run_; }
  unsigned error_status() const noexcept { return error_status_; }
  std::string_view error_text() const noexcept { return error_text_; }
  void reset() noexcept;

 private:
  enum class place : std::uint8_t {
    size_begin,
    size,
    extension_begin,
    extension_name,
    extension_value_begin,
    extension_value,
    quoted,
    escaped,
    quote_end,
    size_end,
    data,
    data_cr,
    data_lf,
    line_begin,
    name,
    value,
    value_end,
    end,
    over
  };

  bool step(char c) noexcept;
  bool read_size(char c) noexcept;
  bool read_extension(char c) noexcept;
  bool end_extension(char c) noexcept;
  bool read_name(char c) noexcept;
  bool is_forbidden_name() const noexcept;
  bool fail(unsigned status, std::string_view text) noexcept;

  std::span<const char> data_;
  std::size_t consumed_ = 0;
  std::uint64_t missing_ = 0;     ///< of this chunk: what its size says, less what has come
  std::uint64_t body_bytes_ = 0;  ///< that have come
  std::uint64_t extension_bytes_ = 0;
  std::uint32_t line_bytes_ = 0;  ///< of this size line
  std::uint32_t digits_ = 0;
  std::uint32_t trailers_ = 0;
  std::uint32_t trailer_bytes_ = 0;
  std::uint32_t name_size_ = 0;
  std::array<char, 24> name_{};  ///< of this trailer, its beginning: longer names are not forbidden
  place place_ = place::size_begin;
  unsigned error_status_ = 0;
  std::uint32_t trailer_run_ = 0;
  std::string_view error_text_;
};

}  // namespace skerry::net::http
