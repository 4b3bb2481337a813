// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/io/buffer_chain.hpp>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

namespace skerry::net {

std::vector<std::span<const std::byte>> buffer_chain::pieces() const {
  std::vector<std::span<const std::byte>> made;
  made.reserve(static_cast<std::size_t>(end() - begin()));
  for (const buffer& each : *this) made.emplace_back(each.data(), each.size());
  return made;
}

void buffer_chain::append(buffer last) {
  if (last.empty()) return;
  const std::size_t bytes = last.size();
  pieces_.push_back(std::move(last));
  size_ += bytes;
}

void buffer_chain::append(const buffer_chain& last) {
  const std::size_t pieces = static_cast<std::size_t>(last.end() - last.begin());  // it may be this one
  pieces_.reserve(pieces_.size() + pieces);
  const std::size_t bytes = last.size_;
  for (std::size_t n = 0; n < pieces; ++n) pieces_.push_back(last.begin()[n]);
  size_ += bytes;
}

void buffer_chain::prepend(buffer first) {
  if (first.empty()) return;
  const std::size_t bytes = first.size();
  if (first_ != 0) {
    pieces_[--first_] = std::move(first);
  } else {
    pieces_.insert(pieces_.begin(), std::move(first));
  }
  size_ += bytes;
}

buffer_chain buffer_chain::slice(std::size_t offset, std::size_t bytes) const {
  SKERRY_ASSERT(offset <= size_, "a slice lies inside its chain");
  buffer_chain part;
  bytes = std::min(bytes, size_ - offset);
  for (const buffer* each = begin(); bytes != 0; ++each) {
    if (offset >= each->size()) {
      offset -= each->size();
      continue;
    }
    buffer shared = each->slice(std::exchange(offset, 0), bytes);
    bytes -= shared.size();
    part.append(std::move(shared));
  }
  return part;
}

buffer_chain buffer_chain::split(std::size_t bytes) {
  SKERRY_ASSERT(bytes <= size_, "what is split off is there");
  buffer_chain front = slice(0, bytes);
  drop(bytes);
  return front;
}

void buffer_chain::drop(std::size_t bytes) noexcept {
  SKERRY_ASSERT(bytes <= size_, "what is dropped is there");
  size_ -= bytes;
  while (bytes != 0) {
    buffer& front = pieces_[first_];
    if (bytes < front.size()) {
      front = front.slice(bytes, front.size());
      return;
    }
    bytes -= front.size();
    front = buffer();
    ++first_;
  }
  // Each piece is moved at most once for each that was dropped.
  if (first_ >= pieces_.size() - first_) {
    pieces_.erase(pieces_.begin(), std::next(pieces_.begin(), static_cast<std::ptrdiff_t>(std::exchange(first_, 0))));
  }
}

std::size_t buffer_chain::copy_to(std::span<std::byte> into) const noexcept {
  std::size_t copied = 0;
  for (const buffer& each : *this) {
    const std::size_t bytes = std::min(each.size(), into.size() - copied);
    if (bytes == 0) break;
    std::memcpy(into.data() + copied, each.data(), bytes);
    copied += bytes;
  }
  return copied;
}

std::string buffer_chain::text() const {
  std::string all(size_, '\0');
  copy_to(std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace skerry::net
