// SPDX-License-Identifier: Apache-2.0
#pragma once

/// request_parser: RESP2 request frames and inline commands, from bytes that may be cut anywhere.
///
/// The rule it enforces: a byte is looked at a bounded number of times, however it arrives, and nothing a peer sends
/// makes the parser hold more than `request_limits` says. The caller owns one contiguous *window* that starts with the
/// first byte it has not dropped yet, grows at its end and may move between calls; the parser keeps offsets into it,
/// never pointers. Arguments are views into the window: nothing is copied. Quoted inline arguments are unescaped in
/// place (they only get shorter), which is why the window is writable.
///
///            +--------- drop(consumed()) after every call ----------+
///            v                                                      |
///     parse(window) --> need_more        read more, call again -----+
///                   --> command          arguments were appended ---+
///                   --> protocol_error   answer `-ERR ` + error_text(), close; parse() must not be called again
///
/// A command that is complete in one window goes straight into the caller's argument vector. One that is not leaves its
/// arguments so far in a table of offsets: eight inline, more in a vector that is released when the command is
/// complete.
///
/// Frames are read as Redis 7 reads them: the two bytes after a count, a length or a body are skipped unread, numbers
/// are canonical decimals, `*0`, `*-1` and empty lines are skipped. Two differences, both so that the answer does not
/// depend on where the bytes were cut: a line is too long when its end is more than `line_bytes_max` away even if
/// the end has arrived, and a zero byte inside an inline command is an ordinary byte.
///
/// Ownership:  the window is the caller's; the appended views are valid until the caller moves or changes it.
/// Invariants: (1) parse() never reads past the window; (2) table_.size == arguments of the command seen before this
///             call; (3) the sum of all work is linear in the bytes, even fed one at a time.
/// Limits:     `request_limits`; an argument takes at least 6 bytes on the wire, 8 in the table and 16 in the vector.
/// Errors:     verdicts, no exceptions except std::bad_alloc.

#include <skerry/framework/assert.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::net::resp {

/// What one client may send. Beyond it the answer is a protocol error.
struct request_limits {
  std::uint32_t bulk_bytes_max = 512U << 20;                    ///< one argument, as Redis' proto-max-bulk-len
  std::uint32_t command_bytes_max = (512U << 20) + (1U << 20);  ///< one whole command with its framing; below 4 GiB
  std::uint32_t arguments_max = 1U << 20;                       ///< the count behind '*'
  std::uint32_t line_bytes_max = 64U << 10;                     ///< an inline command, a count or a length line
};

enum class verdict : std::uint8_t { need_more, command, protocol_error };

class request_parser {
 public:
  explicit request_parser(const request_limits& limits = {}) noexcept;

  /// Reads on where the last call stopped. On `command` the arguments (at least one) have been appended to `arguments`;
  /// on any other verdict `arguments` is as it was. The caller drops the first `consumed()` bytes of the window after
  /// every call, also after `need_more`: empty lines and empty frames are consumed without being a command.
  verdict parse(std::span<char> window, std::vector<std::string_view>& arguments);

  std::size_t consumed() const noexcept { return consumed_; }

  /// After `need_more`: how long the window (after the drop) must be at least before parse() can say anything else.
  /// A connection may size its buffer by it, up to its own bound; it is at most command_bytes_max.
  std::size_t window_wanted() const noexcept { return wanted_; }

  /// Arguments that have arrived of a command that is not complete.
  std::size_t arguments_held() const noexcept { return saved_; }

  /// Whether a command has begun and is not complete: an end of stream now loses something.
  bool mid_command() const noexcept { return position_ != 0 || line_scanned_ != 0; }

  /// After `protocol_error`: "Protocol error: ..." as Redis words it, without "-ERR " and line end.
  std::string error_text() const;

 private:
  enum class phase : std::uint8_t { start, bulk_header, bulk_body };
  enum class fault : std::uint8_t {
    none,
    multibulk_length,
    bulk_length,
    expected_bulk,
    big_multibulk_line,
    big_bulk_line,
    big_inline,
    unbalanced_quotes,
    big_command
  };
  struct extent {
    std::uint32_t offset;
    std::uint32_t size;
  };
  /// What reading a piece came to; `skipped` consumed something that is no command, `frame` read a usable count.
  enum class step : std::uint8_t { need_more, command, failed, skipped, frame };
  enum class number : std::uint8_t { incomplete, failed, found };
  static constexpr std::size_t inline_extents = 8;

  bool read_whole(std::span<char> window, std::vector<std::string_view>& arguments);
  step read_count(std::span<char> window);
  step read_bulks(std::span<char> window, std::vector<std::string_view>& arguments);
  step read_inline(std::span<char> window, std::vector<std::string_view>& arguments);
  static bool split_line(char* line, std::size_t size, std::vector<std::string_view>& arguments);
  number read_number(std::span<char> window, fault too_long, fault malformed, std::int64_t& value);
  number read_number_slowly(std::span<char> window, fault too_long, fault malformed, std::int64_t& value);
  step suspend(std::span<char> window, std::vector<std::string_view>& arguments, std::size_t first);
  step fail(fault what) noexcept;
  void save(extent argument);
  void begin_command() noexcept;

  request_limits limits_;
  std::uint32_t position_ = 0;      ///< next byte to read, from the start of the command
  std::uint32_t line_scanned_ = 0;  ///< bytes after position_ known to hold no line end
  std::uint32_t missing_ = 0;       ///< arguments of this frame not read yet
  std::uint32_t bulk_size_ = 0;     ///< of the argument whose body is awaited
  std::uint32_t saved_ = 0;         ///< extents in the table
  phase phase_ = phase::start;
  fault fault_ = fault::none;
  char unexpected_ = 0;
  std::size_t consumed_ = 0;
  std::size_t wanted_ = 1;
  std::array<extent, inline_extents> inline_{};
  std::vector<extent> spill_;  ///< all saved extents once they are more than inline_ holds
};

}  // namespace skerry::net::resp
