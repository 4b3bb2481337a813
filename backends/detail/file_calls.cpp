// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/detail/file_calls.hpp>
#include <skerry/backends/detail/job.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <span>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace skerry::detail {

namespace {

bool is_vectored(const submission& what) noexcept {
  return what.opcode == IORING_OP_READV || what.opcode == IORING_OP_WRITEV;
}

std::int32_t result_of(long returned) noexcept { return returned < 0 ? -errno : static_cast<std::int32_t>(returned); }

/// As a ring does it: not waiting for the other side of a named pipe, for no cancel would reach the thread.
std::int32_t open(const submission& what) noexcept {
  open_how how = *reinterpret_cast<const open_how*>(what.addr2);
  const bool asked_for = (how.flags & O_NONBLOCK) != 0;
  if ((how.flags & O_PATH) == 0) how.flags |= O_NONBLOCK;
  const std::int32_t fd = result_of(::syscall(SYS_openat2, what.fd, memory_of<const char>(what), &how, sizeof how));
  if (fd < 0 || asked_for || (how.flags & O_PATH) != 0) return fd;
  if (const int flags = ::fcntl(fd, F_GETFL); flags >= 0) ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  return fd;
}

}  // namespace

bool is_read(const submission& what) noexcept {
  return what.opcode == IORING_OP_READ || what.opcode == IORING_OP_READV || what.opcode == IORING_OP_READ_FIXED;
}

std::uint64_t bytes_of(const submission& what) noexcept {
  if (!is_vectored(what)) return what.len;
  std::uint64_t bytes = 0;
  for (const iovec& each : std::span(memory_of<const iovec>(what), what.len)) bytes += each.iov_len;
  return bytes;
}

bool is_transfer(const submission& what) noexcept {
  return is_read(what) || what.opcode == IORING_OP_WRITE || what.opcode == IORING_OP_WRITEV ||
         what.opcode == IORING_OP_WRITE_FIXED;
}

std::int32_t transfer(const submission& what, std::int64_t offset, int flags) noexcept {
  const iovec one{memory_of<void>(what), what.len};
  const iovec* pieces = is_vectored(what) ? memory_of<const iovec>(what) : &one;
  const int count = is_vectored(what) ? static_cast<int>(what.len) : 1;
  return result_of(is_read(what) ? ::preadv2(what.fd, pieces, count, offset, flags)
                                 : ::pwritev2(what.fd, pieces, count, offset, flags));
}

std::int32_t transfer_ready(const submission& what) noexcept {
  const std::int32_t result = transfer(what, where_it_stands, RWF_NOWAIT);
  if (result != -EOPNOTSUPP) return result;
  // A kind of file whose driver does not know the flag: what is ready gives something without waiting.
  const iovec first = is_vectored(what) ? *memory_of<const iovec>(what) : iovec{memory_of<void>(what), what.len};
  if (is_read(what)) return result_of(::read(what.fd, first.iov_base, first.iov_len));
  return result_of(::write(what.fd, first.iov_base, std::min<std::size_t>(first.iov_len, PIPE_BUF)));
}

std::int32_t perform(const submission& what) noexcept {
  if (is_transfer(what)) {
    const std::int32_t result = transfer(what, static_cast<std::int64_t>(what.off), 0);
    return result != -ESPIPE ? result : transfer(what, where_it_stands, 0);
  }
  const auto* path = memory_of<const char>(what);
  switch (what.opcode) {
    case IORING_OP_OPENAT2: return open(what);
    case IORING_OP_STATX:
      return result_of(::statx(what.fd, path, static_cast<int>(what.statx_flags), what.len,
                               reinterpret_cast<struct statx*>(what.off)));
    case IORING_OP_FSYNC:
      return result_of((what.fsync_flags & IORING_FSYNC_DATASYNC) != 0 ? ::fdatasync(what.fd) : ::fsync(what.fd));
    case IORING_OP_FALLOCATE:
      return result_of(::fallocate(what.fd, static_cast<int>(what.len), static_cast<off_t>(what.off),
                                   static_cast<off_t>(what.addr)));
    case prepare::op_ftruncate: return result_of(::ftruncate(what.fd, static_cast<off_t>(what.off)));
    case IORING_OP_RENAMEAT:
      return result_of(
          ::renameat(what.fd, path, static_cast<int>(what.len), reinterpret_cast<const char*>(what.addr2)));
    case IORING_OP_UNLINKAT: return result_of(::unlinkat(what.fd, path, static_cast<int>(what.unlink_flags)));
    case IORING_OP_MKDIRAT: return result_of(::mkdirat(what.fd, path, what.len));
    case IORING_OP_CLOSE: return result_of(::close(what.fd));
    default: return -EINVAL;
  }
}

}  // namespace skerry::detail
