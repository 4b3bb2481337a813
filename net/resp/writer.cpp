// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/resp/writer.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace skerry::net::resp {

reply_buffer::reply_buffer(reply_buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)),
      capacity_kept_max_(other.capacity_kept_max_) {}

reply_buffer& reply_buffer::operator=(reply_buffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  capacity_kept_max_ = other.capacity_kept_max_;
  return *this;
}

void reply_buffer::grow(std::size_t more) {
  constexpr std::size_t smallest = 512;
  std::size_t wanted = std::max({smallest, size_ + more, capacity_ * 2});
  // realloc of a large block remaps pages instead of copying them, which operator new cannot.
  void* moved = std::realloc(data_, wanted);
  if (moved == nullptr) throw std::bad_alloc();
  data_ = static_cast<char*>(moved);
  capacity_ = wanted;
}

void reply_buffer::release() noexcept {
  std::free(data_);
  data_ = nullptr;
  size_ = 0;
  capacity_ = 0;
}

void write_simple(reply_buffer& out, std::string_view text) {
  char* begin = out.prepare(text.size() + 3);
  *begin = '+';
  std::memcpy(begin + 1, text.data(), text.size());
  std::memcpy(begin + 1 + text.size(), "\r\n", 2);
  out.commit(text.size() + 3);
}

void write_error(reply_buffer& out, std::string_view text) {
  char* begin = out.prepare(text.size() + 3);
  *begin = '-';
  std::transform(text.begin(), text.end(), begin + 1, [](char c) { return c == '\r' || c == '\n' ? ' ' : c; });
  std::memcpy(begin + 1 + text.size(), "\r\n", 2);
  out.commit(text.size() + 3);
}

void write_bulk_number(reply_buffer& out, std::int64_t value) {
  char digits[detail::number_size_max];
  char* end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  write_bulk(out, {digits, static_cast<std::size_t>(end - digits)});
}

}  // namespace skerry::net::resp
