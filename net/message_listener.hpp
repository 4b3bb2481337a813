// SPDX-License-Identifier: Apache-2.0
#pragma once

/// message_listener: where message sockets connect to, by default with SOCK_SEQPACKET, which keeps messages apart.
///
///     net::message_listener door(*net::address::parse("unix:@door"));
///     while (std::optional<net::message_socket> guest = co_await door.accept()) spawn(serve(std::move(*guest)));
///
/// Affinity:     the shard that made it. A name can be bound once, so there is one for all shards; to serve on several,
///               pass accepted connections on (descriptors cross shards, see message_socket.hpp).
/// Errors:       std::system_error; running out of descriptors is none: accepting resumes when they return. EPROTOTYPE
///               tells a client that it came with the other kind.
/// Cancellation: accept lets go at once and loses no connection. In a drain accept ends with nothing, after those that
///               had connected; they are ended and waited for, unless `options.drain` says that they go on.
/// Limits:       acceptor.hpp's; a backlog of `listen_backlog` in the kernel.

#include <skerry/net/acceptor.hpp>
#include <skerry/net/message_socket.hpp>

#include <optional>
#include <utility>

namespace skerry::net {

class message_listener {
 public:
  /// Listens on `at`, a Unix socket, whose file goes with the listener. `options` are those of accepted sockets, which
  /// by default finish in a drain.
  explicit message_listener(const address& at, message_kind kind = message_kind::packets,
                            message_options options = served());
  /// Accepts packets from a socket that listens already. Throws std::system_error if it does not.
  explicit message_listener(unique_fd listening, message_options options = served());
  message_listener(message_listener&& other) noexcept
      : acceptor_(std::exchange(other.acceptor_, nullptr)), options_(other.options_) {}
  message_listener& operator=(message_listener&&) = delete;
  ~message_listener();

  class [[nodiscard("co_await it")]] accept_awaiter final : public connection_awaiter {
   public:
    explicit accept_awaiter(message_listener& of) noexcept : connection_awaiter(*of.acceptor_), options_(of.options_) {}
    std::optional<message_socket> await_resume();

   private:
    const message_options& options_;
  };

  /// The next connection; nothing when the app drains.
  accept_awaiter accept() noexcept { return accept_awaiter(*this); }
  address where() const { return local_address(acceptor_->fd()); }
  int fd() const noexcept { return acceptor_->fd(); }

 private:
  static message_options served() noexcept {
    message_options options;
    options.drain = in_drain::finishes;
    return options;
  }

  acceptor* acceptor_;
  message_options options_;
};

}  // namespace skerry::net
