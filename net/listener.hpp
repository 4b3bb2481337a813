// SPDX-License-Identifier: Apache-2.0
#pragma once

/// listener: one shard's share of a port, or of the name of a Unix socket. Every shard has its own socket on the port
/// (SO_REUSEPORT), so the kernel spreads connections and no shard hands them to another. A Unix socket, or one that was
/// handed to this process, is one for all shards: each accepts from it by a descriptor of its own.
///
///     while (std::optional<skerry::net::stream> s = co_await l.accept()) spawn(serve(std::move(*s)), "connection");
///
/// `listen_on_all_shards` opens the port on every shard and runs such a loop there; server.hpp has limits and an end of
/// its own beside.
///
/// Affinity:     the shard that made it.
/// Errors:       std::system_error; running out of descriptors is none: accepting resumes when they return.
/// Cancellation: accept lets go at once and loses no connection. In a drain accept ends with nothing, unless the
///               listener goes on in it.
/// Limits:       acceptor.hpp's; a backlog of 4096 in the kernel.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/acceptor.hpp>
#include <skerry/net/admin/admin.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/call_batch.hpp>

#include <coroutine>
#include <optional>
#include <utility>

namespace skerry::net {

class listener {
 public:
  static constexpr int backlog = listen_backlog;

  /// Listens on `at`; port 0 takes any free one, and the file of a Unix socket goes with its listener. Throws
  /// std::system_error.
  explicit listener(const address& at, in_drain how = in_drain::finishes);
  /// Accepts from a socket that listens already, and sets it to O_NONBLOCK, for whoever else has it as well. Throws
  /// std::system_error if it does not listen.
  explicit listener(unique_fd listening, in_drain how = in_drain::finishes);
  listener(listener&& other) noexcept : acceptor_(std::exchange(other.acceptor_, nullptr)) {}
  listener& operator=(listener&&) = delete;
  ~listener() {
    if (acceptor_ != nullptr) acceptor_->release();
  }

  class [[nodiscard("co_await it")]] accept_awaiter final : public connection_awaiter {
   public:
    using connection_awaiter::connection_awaiter;
    std::optional<stream> await_resume() {
      int fd = acceptor_.take();
      if (fd < 0) return std::nullopt;
      return stream::adopt(fd, !acceptor_.goes_on_in_drain());
    }
  };

  /// The next connection; nothing when the app drains.
  accept_awaiter accept() noexcept { return accept_awaiter(*acceptor_); }
  /// The same as a bare descriptor; -1 when the app drains.
  connection_awaiter accept_fd() noexcept { return connection_awaiter(*acceptor_); }
  /// Leaves whoever connects to the kernel, but for so many; see acceptor.hpp.
  void want(std::size_t most) noexcept { acceptor_->want(most); }
  /// As in a drain: accept gives those who had connected, then nothing.
  void end() noexcept { acceptor_->end(); }
  /// Another process serves its socket, too, and at the end gets whoever waits there.
  void leave_rest() noexcept { acceptor_->leave_rest(); }
  /// Accepted, and not given to anybody yet.
  std::size_t queued() const noexcept { return acceptor_->waiting(); }
  /// Where it listens, with the real port.
  address where() const { return local_address(fd()); }
  int fd() const noexcept { return acceptor_->fd(); }

 private:
  acceptor* acceptor_;
};

namespace detail {

/// Where the tasks of a listener and of its connections are: in the root scope, for whose end the end of the program
/// waits. What goes on in a drain has one aside, which the program need not wait for.
scope& scope_of(in_drain how);
/// When the app ends, so do all shards' tasks aside: as a service of this shard, behind those that it adds later.
void end_tasks_aside_with_app();

void log_listening(const address& at);

/// Accepts until the app stops.
template <class Handler>
task<> accept_loop(listener from, scope& home) {
  while (std::optional<stream> connection = co_await from.accept()) {
    skerry::detail::spawn_in(home, Handler{}(std::move(*connection)), "connection", current_scheduling_group());
  }
}

template <class Handler>
void begin_accepting(listener from, in_drain how) {
  scope& home = scope_of(how);
  skerry::detail::spawn_in(home, accept_loop<Handler>(std::move(from), home), "accept", current_scheduling_group());
}

inline listener listen_or_explain(const address& at, in_drain how) {
  try {
    return listener(at, how);
  } catch (const std::system_error& error) {
    explain_refusal(at, error);
  }
}

/// Waits a little for a port that may still belong to a process that has ended, and throws startup_error if another one
/// listens there.
task<> until_port_is_free(address at);

/// Accepts from `first` here, and from its socket on every other shard.
template <class Handler>
task<> share_with_all_shards(listener first, in_drain how) {
  auto open = [](unique_fd fd, in_drain in_a_drain) {
    begin_accepting<Handler>(listener(std::move(fd), in_a_drain), in_a_drain);
  };
  for (shard_id s = 0; s < shard_count(); ++s) {
    if (s != this_shard_id()) co_await submit_to(s, open, duplicate(first.fd()), how);
  }
  begin_accepting<Handler>(std::move(first), how);
}

/// listen_on_all_shards without a word to the log or the admin endpoint.
template <class Handler>
task<address> open_on_all_shards(address at, in_drain how) {
  skerry::detail::require_no_captures<Handler>();
  if (at.is_unix()) {
    co_await share_with_all_shards<Handler>(listen_or_explain(at, how), how);
    co_return at;
  }
  co_await until_port_is_free(at);
  auto open = [](address where, in_drain in_a_drain) -> address {
    listener made(where, in_a_drain);
    address real = made.where();
    begin_accepting<Handler>(std::move(made), in_a_drain);
    return real;
  };
  for (shard_id s = 0; s < shard_count(); ++s) at = co_await submit_to(s, open, at, how);
  co_return at;
}

}  // namespace detail

/// Accepts from `first` here and from its socket on every other shard, and calls `handler(stream)` for each connection
/// there; the handler has no captures. The program's first one also opens the admin endpoint, as listen_on_all_shards.
template <class Handler>
task<> accept_on_all_shards(listener first, Handler) {
  skerry::detail::require_no_captures<Handler>();
  co_await admin::begin_listening();
  address at = first.where();
  co_await detail::share_with_all_shards<Handler>(std::move(first), in_drain::finishes);
  detail::log_listening(at);
  co_await admin::end_listening();
}

/// Listens on `at` on every shard and calls `handler(stream)` for each connection there; the handler has no captures.
/// The program's first one also opens the admin endpoint if there is to be one, and before its own port, so that
/// somebody can say that the program is not ready. Returns the address with its real port once all shards listen.
/// Throws startup_error when the address cannot be had.
template <class Handler>
task<address> listen_on_all_shards(address at, Handler) {
  co_await admin::begin_listening();
  at = co_await detail::open_on_all_shards<Handler>(at, in_drain::finishes);
  detail::log_listening(at);
  co_await admin::end_listening();
  co_return at;
}

}  // namespace skerry::net
