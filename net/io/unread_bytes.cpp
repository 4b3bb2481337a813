// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/net/io/unread_bytes.hpp>

#include <algorithm>

namespace skerry::net::detail {

std::size_t unread_bytes::find(std::string_view delimiter, std::size_t from) const noexcept {
  SKERRY_ASSERT(!delimiter.empty(), "a delimiter has at least one byte");
  const std::string_view front = held();
  const std::string_view back = received();
  if (from < front.size()) {
    const std::size_t at = front.find(delimiter, from);
    if (at != npos) return at;
    // Those that begin in front and end behind.
    const std::size_t last = front.size() - std::min(front.size(), delimiter.size() - 1);
    for (std::size_t at_border = std::max(from, last); at_border < front.size(); ++at_border) {
      const std::string_view here = front.substr(at_border);
      if (delimiter.starts_with(here) && back.starts_with(delimiter.substr(here.size()))) return at_border;
    }
    from = front.size();
  }
  const std::size_t at = back.find(delimiter, from - front.size());
  return at == npos ? npos : front.size() + at;
}

std::string_view unread_bytes::view(std::size_t bytes) {
  SKERRY_ASSERT(bytes <= size(), "what is looked at has been received");
  if (held().empty()) return received().substr(0, bytes);
  if (bytes > held().size()) {
    const std::size_t missing = bytes - held().size();
    compact();
    held_.append(received().substr(0, missing));
    received_read_ += missing;
  }
  return held().substr(0, bytes);
}

void unread_bytes::drop(std::size_t bytes) noexcept {
  SKERRY_ASSERT(bytes <= size(), "what is dropped has been received");
  const std::size_t of_held = std::min(bytes, held().size());
  held_read_ += of_held;
  received_read_ += bytes - of_held;
}

/// Not for a few bytes: who looks far ahead and reads little at a time would move everything each time.
void unread_bytes::compact() {
  if (held_read_ < held_.size() - held_read_) return;
  held_.erase(0, std::exchange(held_read_, 0));
}

void unread_bytes::keep() {
  compact();
  if (held_.empty() && held_.capacity() > kept_bytes_max) held_ = std::string();
  held_.append(received());
  received_ = buffer();
  received_read_ = 0;
}

void unread_bytes::add(buffer next) noexcept {
  SKERRY_ASSERT(received().empty(), "a buffer is read, or kept, before the next one comes");
  received_ = std::move(next);
  received_read_ = 0;
}

}  // namespace skerry::net::detail
