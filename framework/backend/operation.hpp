// SPDX-License-Identifier: Apache-2.0
#pragma once

/// operation: one request to the kernel, in the form of an io_uring submission, and where its completions go.
///
/// Every backend understands exactly the requests that `prepare` writes; nothing above one fills a submission in any
/// other way. On io_uring the slot is the kernel's own, so preparing costs no call.
///
///     prepare::recv(backend.submit(op), fd)   --submit_and_reap()-->   kernel   --complete(result, flags)-->   op
///
///     request              completions                                  result
///     poll                 one, or one per event (multishot)            ready events
///     accept               one                                          descriptor
///     accept_multishot     one per connection, until one without more   descriptor
///     recv                 one per arrival, until one without more      bytes; the buffer's number in flags
///     send, sendmsg        one                                          bytes, perhaps fewer than asked for
///     send_zero_copy       as send; with `more`, one more when the      bytes, as above; of the second, `copied` or 0
///                          kernel no longer reads the memory
///     recvmsg              one; the rest as recvmsg(2) writes it        bytes, those of a whole datagram if so asked
///     recvmsg_multishot    as recv                                      io_uring_recvmsg_out and the two lengths of
///                                                                       `layout`, whose areas follow it, and bytes
///     openat2              one                                          descriptor
///     read(v), write(v)    one                                          bytes, perhaps fewer than asked for
///     read_lent            one                                          bytes; the buffer's number in flags, if there
///     the rest             one                                          0
///     all                                                               or -errno
///
/// Affinity:   home shard.
/// Ownership:  an operation, and all memory its submission points to, lives until the last completion (the one without
///             `more`); its destructor asserts it. That is the proof that a stale completion cannot reach a new owner.
/// Excluded:   LINK, DRAIN, timeouts, MSG_RING, direct descriptors: backends use them as they like, nobody above does.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>

#include <cstdint>

#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <sys/socket.h>

struct statx;

namespace skerry {

using submission = ::io_uring_sqe;

struct cancel_tag;

class operation : public detail::list_hook<cancel_tag> {
 public:
  /// `result` as above, `flags` as below. Stores the result and wakes a task; never resumes one.
  virtual void complete(std::int32_t result, std::uint32_t flags) noexcept = 0;

  /// Submitted, and the last completion has not come.
  bool in_flight() const noexcept { return in_flight_; }

 protected:
  ~operation() { SKERRY_ASSERT(!in_flight_, "an operation lives until its last completion"); }

 private:
  friend class backend;
  friend struct prepare;
  // Both for the trace: which submission of the shard's backend this is (modulo 2^32), and what was asked for.
  std::uint32_t number_ = 0;
  std::uint8_t opcode_ = 0;
  bool in_flight_ = false;
};

namespace completion {
/// More completions of the same submission will come.
constexpr bool more(std::uint32_t flags) noexcept { return (flags & IORING_CQE_F_MORE) != 0; }
/// A buffer of the ring was filled, perhaps with nothing: it is to be taken.
constexpr bool has_buffer(std::uint32_t flags) noexcept { return (flags & IORING_CQE_F_BUFFER) != 0; }
constexpr std::uint16_t buffer_number(std::uint32_t flags) noexcept {
  return static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
}
/// The second completion of send_zero_copy. Its result may be `copied`: after all (IORING_NOTIF_USAGE_ZC_COPIED).
constexpr bool lets_go(std::uint32_t flags) noexcept { return (flags & IORING_CQE_F_NOTIF) != 0; }
constexpr std::int32_t copied = INT32_MIN;
}  // namespace completion

/// The only requests there are. Each takes a zeroed slot from `backend::submit`.
struct prepare {
  static void set(submission& s, io_uring_op opcode, int fd, const void* address, std::uint32_t length,
                  std::uint64_t offset) noexcept {
    s.opcode = static_cast<std::uint8_t>(opcode);
    if (s.user_data != 0) reinterpret_cast<operation*>(s.user_data)->opcode_ = s.opcode;
    s.fd = fd;
    s.addr = reinterpret_cast<std::uint64_t>(address);
    s.len = length;
    s.off = offset;
  }

  /// Completes once when one of `events` (POLLIN, POLLOUT, …) is there.
  static void poll(submission& s, int fd, std::uint32_t events) noexcept {
    set(s, IORING_OP_POLL_ADD, fd, nullptr, 0, 0);
    s.poll32_events = events;
  }

  /// Completes each time one of `events` arises, until one completion without `more`.
  static void poll_multishot(submission& s, int fd, std::uint32_t events) noexcept {
    poll(s, fd, events);
    s.len = IORING_POLL_ADD_MULTI;
  }

  /// One connection of a listening socket, as a non-blocking close-on-exec descriptor.
  static void accept(submission& s, int fd) noexcept {
    set(s, IORING_OP_ACCEPT, fd, nullptr, 0, 0);
    s.accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  }
  /// All who come, one by one. Ends on EMFILE and other errors.
  static void accept_multishot(submission& s, int fd) noexcept {
    accept(s, fd);
    s.ioprio = IORING_ACCEPT_MULTISHOT;
  }

  /// Whatever arrives, each time in a buffer of ring `group`. Ends on end of stream, errors and lack of buffers; with
  /// `most` after about as many bytes, which may come together, in buffers in a row (`backend::bundles`).
  static void recv_multishot(submission& s, int fd, std::uint16_t group, std::uint32_t most = 0) noexcept {
    set(s, IORING_OP_RECV, fd, nullptr, most, 0);  // with less than ends it, Linux 6.18 may not tell a reset
    s.ioprio = IORING_RECV_MULTISHOT | (most != 0 ? 1u << 4 : 0);  // IORING_RECVSEND_BUNDLE
    s.file_index = most;                                           // `optlen` of Linux 6.17
    s.flags = IOSQE_BUFFER_SELECT;
    s.buf_group = group;
  }

  /// One contiguous piece, or one datagram; `to`, for those whose socket is not connected, lives until the completion.
  static void send(submission& s, int fd, const void* data, std::uint32_t bytes, const sockaddr* to = nullptr,
                   std::uint16_t to_bytes = 0) noexcept {
    set(s, IORING_OP_SEND, fd, data, bytes, reinterpret_cast<std::uint64_t>(to));
    s.addr_len = to_bytes;
    s.msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  }

  /// One piece, of a TCP connection.
  static void send_zero_copy(submission& s, int fd, const void* data, std::uint32_t bytes) noexcept {
    send(s, fd, data, bytes);
    s.opcode = IORING_OP_SEND_ZC;
    s.ioprio = 1u << 3;  // IORING_SEND_ZC_REPORT_USAGE
  }

  /// `message` and all it points to live until the completion.
  static void sendmsg(submission& s, int fd, const msghdr* message) noexcept {
    set(s, IORING_OP_SENDMSG, fd, message, 1, 0);
    s.msg_flags = MSG_NOSIGNAL;
  }

  /// As recvmsg(2) once there is something; descriptors close on exec. `flags` is 0 or MSG_TRUNC.
  static void recvmsg(submission& s, int fd, msghdr* message, std::uint32_t flags) noexcept {
    set(s, IORING_OP_RECVMSG, fd, message, 1, 0);
    s.msg_flags = MSG_CMSG_CLOEXEC | flags;
  }

  /// Each in a buffer of `group`; `payloadlen` is before a cut. Ends as recv, on empty ones, and by MSG_DONTWAIT.
  static void recvmsg_multishot(submission& s, int fd, const msghdr* layout, std::uint16_t group, int flags) noexcept {
    recv_multishot(s, fd, group);
    set(s, IORING_OP_RECVMSG, fd, layout, 1, 0);
    s.msg_flags = static_cast<std::uint32_t>(MSG_CMSG_CLOEXEC | MSG_TRUNC | flags);
  }

  static void connect(submission& s, int fd, const sockaddr* address, socklen_t bytes) noexcept {
    set(s, IORING_OP_CONNECT, fd, address, 0, bytes);
  }

  static void close(submission& s, int fd) noexcept { set(s, IORING_OP_CLOSE, fd, nullptr, 0, 0); }
  /// On a thread of the kernel's: closing some files takes milliseconds.
  static void close_by_worker(submission& s, int fd) noexcept { close(s, fd), s.flags = IOSQE_ASYNC; }

  // Files. Offsets are in bytes from the start; a descriptor without positions (a pipe) ignores them. Paths are
  // relative to `directory`, or to the working directory where that is AT_FDCWD.

  static void openat2(submission& s, int directory, const char* path, const open_how* how) noexcept {
    set(s, IORING_OP_OPENAT2, directory, path, sizeof *how, reinterpret_cast<std::uint64_t>(how));
  }

  /// What `mask` (STATX_*) asks of the open file.
  static void statx(submission& s, int fd, std::uint32_t mask, struct ::statx* into) noexcept {
    constexpr std::uint32_t empty_path = 0x1000;  // AT_EMPTY_PATH, which <fcntl.h> has for GNU sources only
    set(s, IORING_OP_STATX, fd, "", mask, reinterpret_cast<std::uint64_t>(into));
    s.statx_flags = empty_path;
  }

  /// `slot`: where the memory is registered (`backend::register_buffer`), if anywhere. Likewise of write.
  static void read(submission& s, int fd, void* into, std::uint32_t bytes, std::uint64_t offset,
                   int slot = -1) noexcept {
    set(s, slot < 0 ? IORING_OP_READ : IORING_OP_READ_FIXED, fd, into, bytes, offset);
    if (slot >= 0) s.buf_index = static_cast<std::uint16_t>(slot);
  }

  /// Into a buffer of ring `group`, at most its size. ENOBUFS when there is none.
  static void read_lent(submission& s, int fd, std::uint32_t bytes, std::uint64_t offset,
                        std::uint16_t group) noexcept {
    set(s, IORING_OP_READ, fd, nullptr, bytes, offset);
    s.flags = IOSQE_BUFFER_SELECT;
    s.buf_group = group;
  }

  static void write(submission& s, int fd, const void* data, std::uint32_t bytes, std::uint64_t offset,
                    int slot = -1) noexcept {
    set(s, slot < 0 ? IORING_OP_WRITE : IORING_OP_WRITE_FIXED, fd, data, bytes, offset);
    if (slot >= 0) s.buf_index = static_cast<std::uint16_t>(slot);
  }

  static void vectored(submission& s, io_uring_op readv_or_writev, int fd, const iovec* pieces, std::uint32_t count,
                       std::uint64_t offset) noexcept {
    set(s, readv_or_writev, fd, pieces, count, offset);
  }

  static void fallocate(submission& s, int fd, int mode, std::uint64_t offset, std::uint64_t bytes) noexcept {
    set(s, IORING_OP_FALLOCATE, fd, reinterpret_cast<void*>(bytes), static_cast<std::uint32_t>(mode), offset);
  }
  static constexpr auto op_ftruncate = static_cast<io_uring_op>(55);  // of Linux 6.9; EINVAL before
  static void ftruncate(submission& s, int fd, std::uint64_t to) noexcept { set(s, op_ftruncate, fd, nullptr, 0, to); }

  static void fsync(submission& s, int fd, bool data_only) noexcept {
    set(s, IORING_OP_FSYNC, fd, nullptr, 0, 0);
    if (data_only) s.fsync_flags = IORING_FSYNC_DATASYNC;
  }

  static void renameat(submission& s, int directory, const char* from, const char* to) noexcept {
    set(s, IORING_OP_RENAMEAT, directory, from, static_cast<std::uint32_t>(directory),
        reinterpret_cast<std::uint64_t>(to));
  }

  static void unlinkat(submission& s, int directory, const char* path, std::uint32_t flags) noexcept {
    set(s, IORING_OP_UNLINKAT, directory, path, 0, 0);
    s.unlink_flags = flags;
  }
  static void mkdirat(submission& s, int directory, const char* path, std::uint32_t mode) noexcept {
    set(s, IORING_OP_MKDIRAT, directory, path, mode, 0);
  }
};

}  // namespace skerry
