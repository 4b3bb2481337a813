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
///               all is well when asked again. Write all of it anew, to another file.
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

class file_state;

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

struct file_status {
  std::uint64_t size = 0;
  std::uint64_t inode = 0;
  std::chrono::nanoseconds modified{};  ///< since 1970-01-01 UTC
  std::uint32_t permissions = 0;        ///< the lowest twelve bits of st_mode
  file_kind kind = file_kind::other;
};

class file {
 public:
  static constexpr std::size_t bytes_per_operation_max = std::size_t{1} << 30;

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
