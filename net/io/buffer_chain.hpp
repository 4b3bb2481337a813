// SPDX-License-Identifier: Apache-2.0
#pragma once

/// buffer_chain: received bytes in several buffers as one text. Joining, cutting and copying a chain shares the buffers
/// and copies no byte.
///
///     net::buffer_chain message;
///     while (message.size() < 20) {
///       buffer more = co_await s.read();
///       if (more.empty()) break;
///       message.append(std::move(more));
///     }
///     const net::buffer_chain head = message.split(20);  // and `message` has what follows
///     net::file made = co_await net::open_file("/tmp/made", net::open_options(O_RDWR | O_CREAT));
///     co_await made.write_vectored(message.pieces(), 0);  // gathered: one operation
///     co_await net::write(s, message);
///     std::vector<std::byte> memory(message.size());
///     message.copy_to(memory);                            // scattered: into memory of one's own
///
/// A chain keeps whole receive buffers from their pool, however few bytes of them it holds: it is for what is being
/// passed on. What is kept for long is copied out by `text` or `copy_to`, and what is read line by line or frame by
/// frame is a buffered_reader's.
///
/// Affinity:   the shard of its buffers.
/// Ownership:  the last chain, or buffer, that shares bytes gives them back. Pieces are valid while the chain is as it
///             is.
/// Invariants: (1) no piece is empty; (2) size() is the sum of the pieces.
/// Units:      bytes.
/// Limits:     the pool's: while buffers are held by chains, receivers wait. 24 bytes per piece.
/// Errors:     std::bad_alloc where it grows; then it is as it was.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/task/task.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace skerry::net {

class buffer_chain {
 public:
  buffer_chain() noexcept = default;
  /// Of one piece.
  explicit buffer_chain(buffer only) { append(std::move(only)); }

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  /// The pieces, in order.
  const buffer* begin() const noexcept { return pieces_.data() + first_; }
  const buffer* end() const noexcept { return pieces_.data() + pieces_.size(); }
  /// The same as memory: what vectored writes take.
  std::vector<std::span<const std::byte>> pieces() const;

  void append(buffer last);
  void append(const buffer_chain& last);
  void prepend(buffer first);

  /// Takes the first `bytes` out. Asserts that they are there.
  buffer_chain split(std::size_t bytes);
  /// The same bytes from `offset`, at most `bytes` of them, shared.
  buffer_chain slice(std::size_t offset, std::size_t bytes) const;
  /// Lets the first `bytes` go. Asserts that they are there.
  void drop(std::size_t bytes) noexcept;

  /// Copies as much as there is and fits; tells how much.
  std::size_t copy_to(std::span<std::byte> into) const noexcept;
  std::string text() const;

 private:
  std::vector<buffer> pieces_;  // those before first_ are gone
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

/// Writes all of `bytes`, which the caller keeps until it returns; suspends, fails and is cancelled as the stream's
/// write.
template <byte_stream Stream>
task<> write(Stream& to, const buffer_chain& bytes) {
  for (const buffer& each : bytes) co_await to.write(std::span(each.data(), each.size()));
}

}  // namespace skerry::net
