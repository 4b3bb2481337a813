// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_writer: a file from one place on, with writes in flight behind who writes.
///
///     net::file data = co_await net::open_file("data", net::open_options(O_WRONLY | O_CREAT));
///     net::file_writer out(data);
///     co_await out.write("begun\n");                     // copies into the block that is being filled
///     std::span<std::byte> room = co_await out.room();   // or fill it oneself, without a copy
///     out.commit(make_bytes(room));
///     co_await out.sync();                               // or flush(), which leaves it to the kernel when
///
/// `depth` blocks of `block_bytes` go round: one is filled, the others are on their way or free. A full one leaves by
/// itself; flush() sends what is in the last, too, and waits for all of them.
///
///     room(), commit() -> full, or flush() -> written by the kernel (again from where it stopped short) -> free
///
/// Free blocks have no order, so one that the device is slow with holds up no other.
///
/// A write that failed breaks the writer: what it held, and what other blocks held behind it, may be missing, so
/// nothing that follows may look as if it were there. The error is thrown once as what it was, by the first call that
/// comes to know of it (flush at the latest), with the first place that is missing; every later call throws the same
/// code, as an earlier write's. A sync that failed breaks it likewise: the kernel has dropped what it could not write,
/// and would say that all is well when asked again. Write all of it anew, to another file.
///
/// Affinity:     the file's shard. One task at a time.
/// Ownership:    keeps the file open; the handle may go, and its close() returns after the writer's end. Dropping
///               the writer drops what is not flushed, and cancels what is on its way: a destructor cannot tell an end
///               from a cancel, so an end says `flush`.
/// Errors:       std::system_error naming the path and the place. EINVAL where an O_DIRECT file does not take such
///               blocks, or a last one that is not whole: pad it, flush, and truncate the file.
/// Cancellation: every call lets go at once, and what is on its way goes on; write() may have taken a part.
/// Invariants:   blocks lie one behind the other in the file, from `offset` on; they may be written in any order.
/// Limits:       depth * block_bytes of memory, from the start; room() and write() wait when all of it is on its way.
///               That of an O_DIRECT file is registered with the ring as file_reader's is.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/file/file.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace skerry::net {

namespace detail {
class write_behind;
}  // namespace detail

/// Has a constructor, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct file_writer_options {
  file_writer_options() noexcept {}

  std::size_t block_bytes = 128 * 1024;  ///< rounded up to pages; up to 1 GiB
  std::size_t depth = 4;                 ///< blocks; 1: nothing is written behind
  std::uint64_t offset = 0;              ///< where to begin
};

class file_writer {
 public:
  /// Throws std::bad_alloc, and std::system_error (EINVAL) for a file with O_APPEND, which has no places.
  explicit file_writer(file& to, const file_writer_options& options = file_writer_options());
  file_writer(file_writer&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  file_writer& operator=(file_writer&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~file_writer();

  /// Room for at least one more byte, in the block that is being filled; stays until the next call.
  task<std::span<std::byte>> room();
  /// So many bytes of that room are filled.
  void commit(std::size_t bytes) noexcept;
  /// Takes all of `bytes`, which may go when it returns.
  task<> write(std::span<const std::byte> bytes);
  task<> write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  /// Returns when everything that was taken is with the kernel: in its page cache, or with O_DIRECT on the device.
  task<> flush();
  /// Returns when all of it is on the device, with what is needed to find it.
  task<> sync() { return sync(false); }
  /// The same without times and such (fdatasync).
  task<> sync_data() { return sync(true); }
  /// Where the next byte goes.
  std::uint64_t position() const noexcept;

 private:
  task<> sync(bool data_only);
  detail::write_behind& state() const noexcept;

  detail::write_behind* state_;
};

}  // namespace skerry::net
