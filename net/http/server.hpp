// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server: HTTP/1.1 on every shard. Whoever uses it writes a function from a request to a response.
///
///     task<response> hello(request& r) { co_return response::text("Hello, " + std::string(r.path())); }
///
///     task<> serve_all(address at) { co_await serve(at, [] { return handler(hello); }); }
///
/// The maker runs once on every shard, so what it makes (a handler, a router with its middleware) belongs to one shard
/// and is shared with none. Each shard has its listener; a connection stays where it was accepted, and a handler that
/// needs another shard's data asks for it by submit_to.
///
///     idle -> head -> handler <-> body
///      ^               |
///      '---- write <---'          each of these waits has a limit, see server_options
///
/// One timer per connection watches all of them: progress only notes a new deadline. When one passes, the whole
/// exchange is cancelled where it stands; who had asked and got no answer yet gets 408 or 503 before the close.
///
/// Connections are net::start_server's: `server_options::connections` limits them, and lets the next process take the
/// port over. Whoever is too many is told 503 as soon as its request has begun to come, and has to come again; with an
/// empty `connections.refusal` it waits in the kernel until there is room.
///
///     net::http::server_options options;
///     options.connections.connections_max = 10'000;
///     options.connections.hand_over = true;      // a hot restart: hand_over.hpp
///     co_await net::http::serve(at, [] { return make(); }, options);
///
/// Affinity:     serve on any shard; handlers on the shard of their connection.
/// Lifetime:     the handlers live until their shard ends.
/// Errors:       an http_error of a handler is answered with its status, any other exception is logged and answered
///               with 500, both as a problem document (RFC 9457). A request that breaks the protocol gets its 4xx or
///               5xx and the end of the connection. startup_error when the port cannot be had.
/// Cancellation: serve returns once all shards listen. In a drain requests in flight are answered with
///               `Connection: close`, those whose body has not come by then with 503; idle connections end at once.
/// Limits:       server_options, all on by default but those on connections. Per connection at most one head, one
///               response and the stream's marks.

#include <skerry/framework/resources.hpp>
#include <skerry/net/http/request.hpp>
#include <skerry/net/http/request_parser.hpp>
#include <skerry/net/http/response.hpp>
#include <skerry/net/server.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace skerry::net::http {

namespace detail {
/// Without limits, and with the words for whoever one of them refuses.
net::server_options refusing_by_503();
}  // namespace detail

/// What one client may cost, and how many there may be. Times are measured in the loop's milliseconds.
struct server_options {
  using crosses_shards = server_options;
  server_options() {}  // no aggregate: g++ 12 destroys an aggregate temporary inside a co_await operand twice

  net::server_options connections = detail::refusing_by_503();  ///< without a name of its own, it has `name`

  head_limits head;
  std::uint64_t body_bytes_max = 1 << 20;         ///< 413 beyond; a handler may set another for its request
  std::uint64_t body_dropped_max = 64 * 1024;     ///< of a body that its handler left unread; more: the connection ends
  std::uint32_t body_bytes_per_second_min = 256;  ///< slower bodies end in 408
  std::uint32_t requests_per_connection_max = 1'000'000;
  std::uint32_t requests_max = 10'000;                ///< in the hands of handlers, per shard; 503 beyond
  std::chrono::milliseconds idle_timeout{60'000};     ///< between requests
  std::chrono::milliseconds head_timeout{10'000};     ///< from the first byte of a head to its last; 408
  std::chrono::milliseconds body_timeout{30'000};     ///< silence in a body; 408
  std::chrono::milliseconds handler_timeout{60'000};  ///< between what a handler reads or writes; 503 before its answer
  std::chrono::milliseconds write_timeout{30'000};    ///< for the peer to take 64 KiB; then the connection breaks
  std::string name = "http";                          ///< the label `server` of its metrics
};

namespace detail {

class connection_counters;

/// A shard's part of one server.
class site {
 public:
  site(handler&& handle, const server_options& options);
  site(const site&) = delete;
  site& operator=(const site&) = delete;
  ~site();

  http::handler handle;
  const server_options options;
  std::unique_ptr<connection_counters> counters;
};
/// The type by which a shard finds the site of one maker.
template <class Make>
class site_of : public site {
  using site::site;
};

task<> serve_connection(site& here, stream client);

template <class Make>
struct serve_with {
  task<> operator()(stream client) const { return serve_connection(resource<site_of<Make>>(), std::move(client)); }
};

template <class Make>
task<> prepare_sites(server_options options) {
  skerry::detail::require_no_captures<Make>();
  auto prepare = [](const server_options& given) { resources().emplace<site_of<Make>>(Make{}(), given); };
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, prepare, options);
}

}  // namespace detail

/// Serves HTTP on `at` on every shard with what `make()` gives there: something that is called with a request and
/// returns task<response>. A maker serves one address. Gives a handle to drain it by, and to ask what it has come to.
template <class Make>
task<net::server> start_server(address at, Make, server_options options = server_options()) {
  co_await detail::prepare_sites<Make>(options);
  net::server_options connections = std::move(options.connections);
  if (connections.name.empty()) connections.name = std::move(options.name);
  co_return co_await net::start_server(at, detail::serve_with<Make>(), std::move(connections));
}

/// The same until the stop of the app, which is shut down when a successor serves. Returns the address with its real
/// port.
template <class Make>
task<address> serve(address at, Make make, server_options options = server_options()) {
  const net::server started = co_await http::start_server(at, make, std::move(options));
  shut_down_when_handed_over(started);
  co_return started.where();
}

}  // namespace skerry::net::http
