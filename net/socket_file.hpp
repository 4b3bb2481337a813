// SPDX-License-Identifier: Apache-2.0
#pragma once

/// socket_file: the name of a listening Unix socket in the file system, which goes with it.
///
/// The kernel leaves the file behind when its socket is closed, and then refuses the name to the next one. So:
///
///     bind, nobody there  ------------------------------------------> ours
///     bind refused: is it a socket, and does it refuse to connect? --yes--> stale: removed, bound again
///                                        '--no--> somebody lives there, or it is no socket: EADDRINUSE
///     closed: is the file still the one we made? --yes--> removed     (else a successor has taken the name over)
///     handed over (hand_over.hpp): it stays, and goes with the successor
///
/// Two programs that find the same stale file must not remove each other's new one, nor one that is bound and does not
/// listen yet. So all this happens under a lock (flock) of the directory, which leaves no file behind; where the
/// directory cannot be read, there is none. Rejected: a lock file, which would itself have to be removed; and removing
/// whatever is there, which takes the name away from a server that lives.
///
/// Affinity:   any shard; plain calls.
/// Ownership:  the acceptor's.
/// Errors:     std::system_error naming the call and the address. A listening socket without a file is no error.
/// Limits:     the lock blocks its shard while others on the machine make their sockets in the same directory.

#include <skerry/net/address.hpp>
#include <skerry/net/socket.hpp>

#include <string>
#include <utility>

#include <sys/socket.h>
#include <sys/types.h>

namespace skerry::net {

class socket_file {
 public:
  /// None: TCP, abstract names, sockets that somebody else made.
  socket_file() = default;
  /// The file at `path`, as it is now.
  explicit socket_file(std::string path);
  socket_file(socket_file&& other) noexcept
      : path_(std::exchange(other.path_, {})), device_(other.device_), number_(other.number_) {}
  socket_file& operator=(socket_file&&) = delete;
  ~socket_file();
  /// It is another process's now, and stays.
  void leave() noexcept { path_.clear(); }

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t number_ = 0;
};

/// What a listener listens with.
struct listening_socket {
  explicit listening_socket(unique_fd socket, socket_file file = {}) noexcept
      : fd(std::move(socket)), name(std::move(file)) {}
  unique_fd fd;
  socket_file name;  // goes first
};

/// Listens on `at`, a Unix socket, with one of `type`: see above.
listening_socket listen_on_path(const address& at, int backlog, int type = SOCK_STREAM);

}  // namespace skerry::net
