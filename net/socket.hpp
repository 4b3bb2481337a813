// SPDX-License-Identifier: Apache-2.0
#pragma once

/// socket: the calls that make and set up sockets, all in one place. They do not wait for a peer, so they are plain
/// calls and no operations. A world without a kernel replaces this file.
///
/// Errors: std::system_error naming the call and the address.

#include <skerry/net/address.hpp>

#include <system_error>

#include <sys/socket.h>
#include <sys/types.h>

namespace skerry::net {

/// A descriptor that closes itself.
class unique_fd {
 public:
  using crosses_shards = unique_fd;

  explicit unique_fd(int fd = -1) noexcept : fd_(fd) {}
  unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
  unique_fd& operator=(unique_fd&&) = delete;
  ~unique_fd();
  int get() const noexcept { return fd_; }
  int release() noexcept {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

/// How many connections wait in the kernel for a listener.
inline constexpr int listen_backlog = 4096;

/// A non-blocking stream socket for `family`.
unique_fd make_stream_socket(int family);
/// A non-blocking Unix socket of `type`: SOCK_STREAM, SOCK_SEQPACKET.
unique_fd make_unix_socket(int type);
/// No call on it waits any more, whoever else has the socket. Throws std::system_error.
void set_non_blocking(int fd);
/// A connection that waits for a listener already, which does not block; -1 if there is none to be had.
int accept_now(int listening) noexcept;
/// Sends small segments at once; ignores a socket that cannot.
void set_no_delay(int fd) noexcept;
/// Gives a socket that is to connect its own address; with port 0 the kernel chooses one that is free for its peer.
void bind_to(int fd, const address& from);
/// A listening TCP socket that shares its port with the other shards' ones.
unique_fd make_listening_socket(const address& at, int backlog);
/// Whether another process listens on `at`.
bool port_in_use(const address& at);
/// Throws startup_error when another process listens on `at`: sharing a port would hide that.
void require_free_port(const address& at);
/// Throws startup_error for an `error` in listening on `at`, with the way out.
[[noreturn]] void explain_refusal(const address& at, const std::system_error& error);
/// Another descriptor of the same socket. Throws std::system_error.
unique_fd duplicate(int fd);
/// Throws std::system_error if `fd` is no socket of this type that listens.
void require_listening(int fd, int type = SOCK_STREAM);
address local_address(int fd);
/// Of a connected socket; "unix:" for a Unix socket's client.
address peer_address(int fd);
/// Who connected, or listened, at the other end of a Unix socket, as the kernel knows it from that time.
struct credentials {
  pid_t pid;  ///< 0 if it is in another PID namespace
  uid_t uid;
  gid_t gid;
};
/// Throws std::system_error if `fd` is no connected Unix socket.
credentials peer_credentials(int fd);
/// No more bytes from us, behind those the kernel has. Plain: it only queues the end, and as an operation it would run
/// in a kernel worker thread.
void shut_down_output(int fd) noexcept;
/// Receives end behind what has come. The peer is not told.
void shut_down_input(int fd) noexcept;
/// The close to come sends a reset instead of an end (TCP; a Unix socket has no such thing).
void reset_at_close(int fd) noexcept;
/// Bytes sent, or waiting in the kernel to be, that the peer's kernel has not acknowledged; the end counts as one.
int unacknowledged_bytes(int fd) noexcept;
/// Bytes that wait in the kernel to be received.
int unread_bytes(int fd) noexcept;

}  // namespace skerry::net
