// SPDX-License-Identifier: Apache-2.0
#pragma once

/// connection_pool: the connections of one client, by host (an address, or a name and a port; the proxy, if there is
/// one): in use, or idle until somebody needs them or their time has passed.
///
///     wait for a place --> idle one, still silent? --yes--> leased --response read to its end--> idle --> ...
///                               |no                  ^        |                                   |
///                               '----> connect ------'        '--anything else--> closed <--time--'
///
/// An idle connection at which something has come is closed when it is looked at: it is the end, or bytes nobody asked
/// for. At the total bound the connection that is idle longest makes room.
///
/// Affinity:   the shard that made it.
/// Ownership:  the pool outlives its leases (asserted).
/// Invariants: open = leased + idle <= connections_max, of one host <= connections_per_host_max. For a host the places
///             see to it: an idle connection is used before a new one is made. In all, `make_room` does.
/// Limits:     client_options; a host is forgotten with its last connection.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/client.hpp>
#include <skerry/net/http/detail/url.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/timers/timer.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace skerry::net::http::detail {

class connection_pool final : timers::timer {
 public:
  explicit connection_pool(const client_options& given) : options(given), places_(given.connections_max) {}
  ~connection_pool();

  void check_home() const noexcept { home_.check("an HTTP client"); }

  class lease;

  const client_options options;

 private:
  struct idle_connection {
    stream s;
    clock::time_point until;
  };
  struct host {
    host(const address& at, std::uint64_t connections_max) : to(at), places(connections_max) {}
    const address to;  // none: a name is to be looked up
    semaphore places;
    std::deque<idle_connection> idle{};  // the longest first
    std::size_t leases = 0;              // waiting ones included
  };
  using hosts = std::map<std::string, host>;

  void make_room() noexcept;
  void keep(host& of, stream&& s);
  void expired() noexcept override;

  hosts hosts_;
  semaphore places_;
  std::size_t open_ = 0;
  [[no_unique_address]] home_stamp home_;
};

/// A request's place among those of its host, and with it a connection.
class connection_pool::lease {
 public:
  lease(connection_pool& pool, const url& to);
  lease(const lease&) = delete;
  lease& operator=(const lease&) = delete;
  ~lease() { close(); }

  /// Waits for a place, then takes an idle connection or makes one; with `fresh` it makes one.
  task<> connect(bool fresh);
  /// Whether the connection has served before.
  bool reused() const noexcept { return reused_; }
  bool connected() const noexcept { return stream_.has_value(); }
  net::stream& stream() noexcept { return *stream_; }
  /// The connection is in order and goes back.
  void give_back();
  /// Ends the connection; then or later.
  void close() noexcept;

 private:
  connection_pool* pool_;
  hosts::iterator at_;
  units place_;
  units place_of_all_;
  std::optional<net::stream> stream_;
  bool open_ = false;  // counted as such
  bool reused_ = false;
};

}  // namespace skerry::net::http::detail
