// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file: an open file, as a handle. Nothing here blocks the shard: every call is an operation of its ring.
///
///     net::file log = co_await net::open_file("/tmp/log", net::open_options(O_RDWR | O_CREAT));
///     co_await log.write("begun\n", 0);
///     co_await log.sync();
///     buffer first = co_await log.read(0);           // at most 8 KiB, in a buffer of this shard's pool
///     std::vector<std::byte> all(co_await log.size());
///     std::size_t got = co_await log.read(all, 0);   // or in memory of one's own
///     co_await log.close();                          // or drop it, and a failure is logged
///
/// What the handle stands for lives in its shard's pool. Dropping the handle closes the descriptor in the kernel, after
/// the last operation on it; an operation that somebody still awaits is not disturbed.
///
///     opening --descriptor--> open --handle dropped--> operations end --none is left--> closing --> freed
///         '-- refused, or cancelled before it was open ------------------------------------------> freed
///
/// Here rather than in framework: a file is a thing that servers serve and store, made of what a shard offers to all
/// (operations, buffers, the drain), as a stream is; the core knows neither.
///
/// Affinity:     the shard that opened it, asserted. Several tasks may read and write at a time; the kernel orders what
///               overlaps.
/// Lifetime:     memory given to read and write is the caller's and must live until the call returns or the awaiting
///               task has ended. A cancelled task ends only when the kernel has let go, so its own locals always do.
/// Errors:       std::system_error whose text names the call and the path. After a sync that failed every later one
///               throws the same: the kernel tells a lost write once, drops what it could not write and would say that
///               all is well when asked again. Write all of it anew, to another file. A request that does not fit
///               an O_DIRECT file, or an offset for one with O_APPEND, is EINVAL, with what would fit.
/// Cancellation: the operation is cancelled in the kernel, and the task ends when the kernel has answered. A write may
///               then have been done in part, or whole. An open that was cancelled leaves no descriptor, but perhaps
///               the file that it made. close() goes on alone.
/// Units:        bytes; offsets and sizes have 64 bits.
/// Limits:       1 GiB in one operation; read and write make as many as it takes. Reads into buffers share the bound of
///               their pool and wait in turn. The number of open files is the process's (RLIMIT_NOFILE: EMFILE). A
///               handle that outlives its tasks, in a resource say, keeps the stop of its shard waiting.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/task/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <linux/openat2.h>

namespace skerry::net {

class file_reader;
class file_state;
class file_writer;

/// How to open. Has constructors, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct open_options {
  open_options() noexcept {}
  explicit open_options(int how, unsigned permissions = 0666) noexcept : flags(how), mode(permissions) {}

  int flags = O_RDONLY;       ///< O_*; O_CLOEXEC is always added. O_NONBLOCK holds for the opening only: it is the way
                              ///< not to wait for the other end of a FIFO
  unsigned mode = 0666;       ///< of a file that is made, less the process's umask
  std::uint64_t resolve = 0;  ///< RESOLVE_*: what the path may lead through, see openat2(2)
  int directory = AT_FDCWD;   ///< where a relative path begins; stays open until the call has returned
};

enum class file_kind : std::uint8_t { regular, directory, other };

/// What offsets, lengths and memory must be multiples of where a file is open with O_DIRECT.
struct file_alignment {
  std::size_t memory = 1;
  std::size_t offset = 1;
};

struct file_status {
  std::uint64_t size = 0;
  std::uint64_t inode = 0;
  std::chrono::nanoseconds modified{};  ///< since 1970-01-01 UTC
  std::uint32_t permissions = 0;        ///< the lowest twelve bits of st_mode
  file_kind kind = file_kind::other;
};

/// What becomes of a part of a file, and of the file's size; the values are the kernel's.
enum class allocation : std::uint8_t {
  extend = 0,      ///< has space on the device, so that a write there meets no ENOSPC; the file grows to its end
  keep_size = 1,   ///< the same, but the file has the size it had
  punch_hole = 3,  ///< reads as zeros and has no space any more; the file has the size it had
  zero = 16,       ///< reads as zeros and has space; the file grows to its end
};

class file {
 public:
  static constexpr std::size_t bytes_per_operation_max = std::size_t{1} << 30;
  static constexpr std::size_t pieces_per_operation_max = 1024;  // IOV_MAX

  file(file&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  file& operator=(file&& other) noexcept;
  ~file();

  /// Fills `into`, or as much of it as there is before the end of the file; tells how much. Less from a pipe or a
  /// terminal: what one operation gave.
  task<std::size_t> read(std::span<std::byte> into, std::uint64_t offset);
  /// The next bytes, in a buffer of this shard's pool; empty at the end.
  task<buffer> read(std::uint64_t offset, std::size_t bytes_max = buffer_pool::buffer_bytes);
  /// Writes all of `bytes`. Past the end of the file the gap reads as zeros.
  task<> write(std::span<const std::byte> bytes, std::uint64_t offset);
  task<> write(std::string_view text, std::uint64_t offset) { return write(std::as_bytes(std::span(text)), offset); }
  task<> write(const buffer& bytes, std::uint64_t offset) {
    return write(std::span(bytes.data(), bytes.size()), offset);
  }
  /// As read and write, from and to several pieces of memory that lie one behind the other in the file; the list, too,
  /// lives until the call returns.
  task<std::size_t> read_vectored(std::span<const std::span<std::byte>> into, std::uint64_t offset);
  task<> write_vectored(std::span<const std::span<const std::byte>> pieces, std::uint64_t offset);
  /// Writes at the end of a file that is open with O_APPEND, whoever else does. Bytes of others may come between two
  /// parts of these only where the kernel took less than it was given: on a full disk, or beyond 1 GiB.
  task<> append(std::span<const std::byte> bytes);
  task<> append(std::string_view text) { return append(std::as_bytes(std::span(text))); }
  /// Gives the file that size: cuts it off, or adds zeros that take no space. Before Linux 6.9 rings do not have it and
  /// the shard itself makes the call, which is short unless the disk has a queue.
  task<> truncate(std::uint64_t size);
  /// EOPNOTSUPP where the file system cannot.
  task<> allocate(std::uint64_t offset, std::uint64_t bytes, allocation how = allocation::extend);
  /// What a file that is open with O_DIRECT wants offsets, lengths and memory to be multiples of: what the kernel says,
  /// or where it says nothing the block size. See aligned_buffer.hpp.
  task<file_alignment> alignment() const;
  /// Returns when everything that was written is on the device, with what is needed to find it (fsync).
  task<> sync() { return sync(false); }
  /// The same without times and such (fdatasync).
  task<> sync_data() { return sync(true); }
  task<file_status> status() const;
  task<std::uint64_t> size() const;
  /// Closes, and throws what a dropped handle would only log. The handle is empty once it is awaited.
  task<> close();

  int fd() const noexcept;
  const std::string& path() const noexcept;

 private:
  friend class file_reader;
  friend class file_writer;
  friend task<std::expected<file, std::errc>> open_if_possible(std::string path, open_options options);
  explicit file(file_state& made) noexcept : state_(&made) {}
  file_state& state() const noexcept;
  task<> sync(bool data_only);

  file_state* state_;
};

/// Opens `path`. Throws std::system_error; EINVAL for a path with a NUL in it, which the kernel would cut off there.
task<file> open_file(std::string path, open_options options = open_options());

/// The same for those who expect that it may not be there: a refusal of the kernel is a value.
task<std::expected<file, std::errc>> open_if_possible(std::string path, open_options options = open_options());

/// Gives a file another name, atomically; what had that name is gone. Both in one file system.
task<> rename_file(std::string from, std::string to);
/// Takes a name away; directories are refused.
task<> remove_file(std::string path);

/// Open files of this shard, closing ones included.
std::size_t open_files() noexcept;

}  // namespace skerry::net
