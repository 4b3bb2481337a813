// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server: listens on every shard, runs a handler for each connection within limits, and ends in order.
///
///     net::server_options limits;
///     limits.connections_max = 10'000;
///     limits.connections_per_address_max = 20;
///     const auto handler = [](net::stream client) { return serve(std::move(client)); };
///     net::server s = co_await net::start_server(at, handler, limits);
///     net::drain_result end = co_await s.drain(std::chrono::seconds(10));    // end.cancelled: those that took longer
///
/// A server that is left alone serves until the stop of the app, which drains it with everything else.
///
///     drain   listeners close; those who had connected are served; readers get the end of the stream, after what is on
///             its way
///             connections end --all have--> done
///             limit passed: those that are left are cancelled, and counted
///
/// The handler is a function from a stream to task<>, without captures. An exception ends its connection and nothing
/// else; it is counted, and logged once in ten seconds: as a warning, or at level debug what the peer did (a reset,
/// silence).
///
/// `listen_on_all_shards` without options is the same without limits, counts or an end of its own, for programs that
/// need none.
///
/// Which shard serves a connection is the kernel's choice, or `server_options::accept`'s. A handler may still give its
/// connection to another shard (stream::move_to); it stays one of the server's there.
///
/// Affinity:     starts and drains from any shard; handlers run where the accept policy puts their connection. The
///               handle belongs to the shard that started it.
/// Ownership:    the shards keep the server; the handle may go.
/// Errors:       startup_error when the address cannot be had, with the way out.
/// Cancellation: a start that is cancelled ends what it began with a drain without time. A drain that is cancelled
///               once it runs has begun all the same, and goes on without its limit.
/// Limits:       server_options.hpp. A connection costs what its handler does, its endpoint and its task's node.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/server_options.hpp>
#include <skerry/shards/submit_to.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace skerry::net {

namespace detail {
struct hand_over_outcome;
using connection_handler = task<> (*)(stream);
}  // namespace detail

class server {
 public:
  /// What has started; see start_server.
  server(detail::server_id id, const address& at, std::shared_ptr<detail::hand_over_outcome> hand_over) noexcept
      : id_(id), at_(at), hand_over_(std::move(hand_over)) {}
  server(server&& other) noexcept
      : id_(std::exchange(other.id_, 0)), at_(other.at_), hand_over_(std::move(other.hand_over_)) {}
  server& operator=(server&&) = delete;

  /// By which its parts are found on the shards.
  detail::server_id id() const noexcept { return id_; }
  /// With its real port.
  const address& where() const noexcept { return at_; }
  /// Of all shards.
  task<server_stats> stats() const;
  /// Whether it has the option hand_over.
  bool hands_over() const noexcept { return hand_over_ != nullptr; }
  /// Waits until a successor serves; false if a drain begins before. Only with `server_options::hand_over` (asserted).
  task<bool> handed_over() const;
  /// Once (asserted). A limit of 0 cancels at once.
  task<drain_result> drain(clock::duration limit);

 private:
  detail::server_id id_;
  address at_;
  std::shared_ptr<detail::hand_over_outcome> hand_over_;
};

namespace detail {

/// This shard's part, which accepts from `sockets`, or from one of its own on `at`. Gives its address.
address open_part(server_id id, const server_options& options, connection_handler handler, const address& at,
                  std::vector<unique_fd> sockets);
/// Opens one on any shard.
using part_opener = task<address> (*)(shard_id, server_id, server_options, address, std::vector<unique_fd>);

template <class Handler>
task<> run_handler(stream client) {
  return Handler{}(std::move(client));
}
template <class Handler>
task<address> open_part_on(shard_id where, server_id id, server_options options, address at,
                           std::vector<unique_fd> sockets) {
  const auto open = [](server_id whose, const server_options& with, const address& there, std::vector<unique_fd> from) {
    return open_part(whose, with, &run_handler<Handler>, there, std::move(from));
  };
  co_return co_await submit_to(where, open, id, options, at, std::move(sockets));
}

/// Opens or takes over what this address needs, with the admin endpoint before and the line in the log behind.
task<server> start_at(address at, server_options options, connection_handler handler, part_opener open);
/// The same from a socket that listens.
task<server> start_from(listener first, server_options options, connection_handler handler, part_opener open);

}  // namespace detail

/// Listens on `at` on every shard and calls `handler(stream)` for each connection there. The program's first server
/// also opens the admin endpoint if there is to be one, and before its own port, so that somebody can say that the
/// program is not ready. Returns once all shards listen. Throws startup_error when the address cannot be had.
template <class Handler>
task<server> start_server(address at, Handler, server_options options = server_options()) {
  skerry::detail::require_no_captures<Handler>();
  return detail::start_at(at, std::move(options), &detail::run_handler<Handler>, &detail::open_part_on<Handler>);
}
/// The same, accepting from `first` here and from its socket on every other shard.
template <class Handler>
task<server> start_server(listener first, Handler, server_options options = server_options()) {
  skerry::detail::require_no_captures<Handler>();
  return detail::start_from(std::move(first), std::move(options), &detail::run_handler<Handler>,
                            &detail::open_part_on<Handler>);
}

/// From now on the app shuts down when a successor serves; for a server without the option hand_over nothing changes.
void shut_down_when_handed_over(const server& s);

/// What all servers of this shard have come to together, here.
server_stats stats_of_this_shards_servers();

/// listen_on_all_shards with limits or another accept policy: a server that serves until the stop of the app.
template <class Handler>
task<address> listen_on_all_shards(address at, Handler serve, server_options options) {
  server started = co_await start_server(at, serve, std::move(options));
  co_return started.where();
}
/// The same for a socket that listens.
template <class Handler>
task<> accept_on_all_shards(listener first, Handler serve, server_options options) {
  co_await start_server(std::move(first), serve, std::move(options));
}

}  // namespace skerry::net
