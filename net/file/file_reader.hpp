// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_reader: a file from one end to the other, with reads in flight ahead of who reads.
///
///     net::file data = co_await net::open_file("data");
///     net::file_reader blocks(data);
///     while (true) {
///       std::span<const std::byte> block = co_await blocks.next();
///       if (block.empty()) break;
///       look_at(block);
///     }
///
/// `depth` blocks of `block_bytes` go round: one is lent to the reader, the others are being read or wait, in the order
/// of the file whatever order the device answers in. No byte is copied here. A block that came short is asked for the
/// rest, so only the last one is short; of a pipe or terminal, which has one place to read, one read is in flight and
/// a block is what it gave.
///
///     next() gives the lent block back -> read again, further on -> waits for its turn -> lent
///
/// Affinity:     the file's shard. One task at a time.
/// Ownership:    keeps the file open; the handle may go, and its close() returns after the reader's end. Dropping
///               the reader cancels what is in flight; the memory goes when the kernel has let go.
/// Lifetime:     a block, until the next call of next() or the reader's end.
/// Errors:       std::system_error naming the path and the place. Every byte before it is given first, and it is thrown
///               again by each later call. EINVAL where an O_DIRECT file does not take such blocks.
/// Cancellation: next() lets go at once. Nothing is lost: what comes is there for the next call.
/// Invariants:   (1) blocks are given in the order of the file; (2) the first end that is met, in that order, is the
///               end: what grew on behind it meanwhile is not read.
/// Limits:       depth * block_bytes of memory, from the start. That of an O_DIRECT file is registered with the ring
///               when its blocks go round a second time, if there is room (aligned_buffer.hpp has what that saves).

#include <skerry/framework/task/task.hpp>
#include <skerry/net/file/file.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace skerry::net {

namespace detail {
class read_ahead;
}  // namespace detail

/// Has a constructor, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct file_reader_options {
  file_reader_options() noexcept {}

  std::size_t block_bytes = 128 * 1024;                                 ///< rounded up to pages; up to 1 GiB
  std::size_t depth = 4;                                                ///< blocks; 1: nothing is read ahead
  std::uint64_t offset = 0;                                             ///< where to begin
  std::uint64_t bytes_max = std::numeric_limits<std::uint64_t>::max();  ///< how much of the file
};

class file_reader {
 public:
  /// Nothing is read before the first call of next(). Throws std::bad_alloc.
  explicit file_reader(file& from, const file_reader_options& options = file_reader_options());
  file_reader(file_reader&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  file_reader& operator=(file_reader&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~file_reader();

  /// The next block; empty at the end.
  task<std::span<const std::byte>> next();
  /// Where the block that next() will give begins.
  std::uint64_t position() const noexcept;

 private:
  detail::read_ahead* state_;
};

}  // namespace skerry::net
