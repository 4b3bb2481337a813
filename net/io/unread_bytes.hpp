// SPDX-License-Identifier: Apache-2.0
#pragma once

/// unread_bytes: what has been received and not read yet, as one run of bytes in two places.
///
///     held          copied bytes, in front    only what straddles two buffers, or waits while more is received
///     buffer        as the kernel gave it     the rest of the last one
///
/// The rule it enforces: who waits for more bytes holds no receive buffer. A peer that sends a byte a second would else
/// pin 8 KiB with each; so the rest of a buffer is copied before the next one comes, and each byte is copied at most
/// once. Where a frame lies in one buffer, nothing is.
///
/// Affinity:   the shard of its buffers.
/// Invariants: (1) a view stays as it is until the next call of `view`, `keep` or `add`; (2) before `add`, the buffer
///             has nothing left.
/// Limits:     its user's; empty, it keeps at most `kept_bytes_max` of memory.

#include <skerry/framework/io/buffer_pool.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace skerry::net::detail {

class unread_bytes {
 public:
  static constexpr std::size_t kept_bytes_max = 4096;
  static constexpr std::size_t npos = std::string_view::npos;

  std::size_t size() const noexcept { return held().size() + received().size(); }
  /// Where `delimiter` begins first, at `from` or behind it; npos where it does not, or is not whole yet.
  std::size_t find(std::string_view delimiter, std::size_t from) const noexcept;
  /// The first `bytes`, in one piece. Asserts that they are there.
  std::string_view view(std::size_t bytes);
  /// What lies in one piece as it is: nothing only if nothing is there.
  std::string_view first_piece() const noexcept { return held().empty() ? received() : held(); }
  /// Drops from the front; views of it stay.
  void drop(std::size_t bytes) noexcept;
  /// Copies the rest of the buffer and gives the buffer back.
  void keep();
  void add(buffer next) noexcept;

 private:
  std::string_view held() const noexcept { return std::string_view(held_).substr(held_read_); }
  std::string_view received() const noexcept {
    return {reinterpret_cast<const char*>(received_.data()) + received_read_, received_.size() - received_read_};
  }
  void compact();

  std::string held_;
  std::size_t held_read_ = 0;
  buffer received_;
  std::size_t received_read_ = 0;
};

}  // namespace skerry::net::detail
