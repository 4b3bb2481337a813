// SPDX-License-Identifier: Apache-2.0
#pragma once

/// writer: RESP2 replies, appended to bytes that are reused.
///
/// `reply_buffer` is a byte string that is never zero-filled, grows by doubling and keeps its memory over `clear()` up
/// to a stated bound, so that a shard that answers batch after batch allocates nothing. The `write_` functions append
/// one reply each and know nothing of who reads it.
///
///     write_bulk(out, "value");      // $5\r\nvalue\r\n
///     write_array_header(out, 2);    // *2\r\n, then two replies
///
/// Affinity:  none of its own; one writer at a time. Memory comes from malloc and is freed where the buffer ends.
/// Limits:    the caller bounds what it appends (see `size()`); `capacity_kept_max` bounds what clear() keeps.
/// Errors:    std::bad_alloc.

#include <skerry/framework/assert.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace skerry::net::resp {

class reply_buffer {
 public:
  static constexpr std::size_t capacity_kept_default = 64U << 10;

  explicit reply_buffer(std::size_t capacity_kept_max = capacity_kept_default) noexcept
      : capacity_kept_max_(capacity_kept_max) {}
  ~reply_buffer() { release(); }
  reply_buffer(reply_buffer&& other) noexcept;
  reply_buffer& operator=(reply_buffer&& other) noexcept;

  void append(const void* bytes, std::size_t size) {
    std::memcpy(prepare(size), bytes, size);
    size_ += size;
  }
  void append(std::string_view text) {
    if (!text.empty()) append(text.data(), text.size());
  }

  /// Room for `size` more bytes, to be filled and then announced with `commit`. Valid until the next append.
  char* prepare(std::size_t size) {
    if (capacity_ - size_ < size) [[unlikely]]
      grow(size);
    return data_ + size_;
  }
  void commit(std::size_t size) noexcept {
    SKERRY_ASSERT(size <= capacity_ - size_, "only prepared bytes can be committed");
    size_ += size;
  }

  /// Takes back what was appended since `size()` was this.
  void truncate(std::size_t size) noexcept {
    SKERRY_ASSERT(size <= size_, "a buffer is only truncated to a size it had");
    size_ = size;
  }

  /// Empties it. Keeps the memory unless it is more than `capacity_kept_max`.
  void clear() noexcept {
    size_ = 0;
    if (capacity_ > capacity_kept_max_) [[unlikely]]
      release();
  }

  const char* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::size_t capacity() const noexcept { return capacity_; }
  std::string_view view() const noexcept { return {data_, size_}; }

 private:
  void grow(std::size_t more);
  void release() noexcept;

  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  std::size_t capacity_kept_max_;
};

/// `+text`; the text has no line end.
void write_simple(reply_buffer& out, std::string_view text);
/// `-text`, the code included ("ERR syntax error"). Line ends inside become spaces: an error is one line.
void write_error(reply_buffer& out, std::string_view text);
/// `*-1`: an array that is not there.
inline void write_null_array(reply_buffer& out) { out.append("*-1\r\n", 5); }
inline void write_null(reply_buffer& out) { out.append("$-1\r\n", 5); }
inline void write_ok(reply_buffer& out) { out.append("+OK\r\n", 5); }

namespace detail {
inline constexpr std::size_t number_size_max = 24;  // a sign, 19 digits, a type byte and a line end

inline char* put_number(char* at, char type, std::int64_t value) noexcept {
  *at++ = type;
  if (value >= 0 && value < 10) {
    *at++ = static_cast<char>('0' + value);
  } else {
    at = std::to_chars(at, at + 20, value).ptr;
  }
  *at++ = '\r';
  *at++ = '\n';
  return at;
}

inline void write_number(reply_buffer& out, char type, std::int64_t value) {
  char* begin = out.prepare(number_size_max);
  out.commit(static_cast<std::size_t>(put_number(begin, type, value) - begin));
}
}  // namespace detail

inline void write_integer(reply_buffer& out, std::int64_t value) { detail::write_number(out, ':', value); }

/// `*count`; the caller then writes that many replies.
inline void write_array_header(reply_buffer& out, std::size_t count) {
  detail::write_number(out, '*', static_cast<std::int64_t>(count));
}

/// `$size` alone, for a body the caller sends itself, followed by a line end.
inline void write_bulk_header(reply_buffer& out, std::size_t size) {
  detail::write_number(out, '$', static_cast<std::int64_t>(size));
}

inline void write_bulk(reply_buffer& out, std::string_view value) {
  char* begin = out.prepare(detail::number_size_max + value.size() + 2);
  char* at = detail::put_number(begin, '$', static_cast<std::int64_t>(value.size()));
  if (!value.empty()) std::memcpy(at, value.data(), value.size());
  at += value.size();
  *at++ = '\r';
  *at++ = '\n';
  out.commit(static_cast<std::size_t>(at - begin));
}

/// A number as a bulk string, which is how INFO-like maps and CONFIG GET carry numbers.
void write_bulk_number(reply_buffer& out, std::int64_t value);

}  // namespace skerry::net::resp
