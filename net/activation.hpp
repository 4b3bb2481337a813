// SPDX-License-Identifier: Apache-2.0
#pragma once

/// activation: sockets that were opened for this process before it started (systemd's LISTEN_FDS).
///
///     auto serve_client = [](net::stream client) { return serve(std::move(client)); };
///     auto sockets = net::take_activated_sockets();
///     for (net::activated_socket& each : sockets) {
///       co_await net::accept_on_all_shards(net::listener(std::move(each.fd)), serve_client);
///     }
///
/// Whoever holds the socket while a program is exchanged for its next version holds its queue, too: clients that
/// connect meanwhile wait there, and none is refused. Nor does the program need the privilege for a low port. A
/// listener sets it to O_NONBLOCK, and with it for the holder, who only keeps it.
///
///     LISTEN_PID        whom they are for; another process's are not taken
///     LISTEN_FDS        how many; they are descriptors 3, 4, …
///     LISTEN_FDNAMES    their names, between colons; may be missing
///
/// Affinity:   any shard, once per process: whoever takes them owns them.
/// Errors:     startup_error naming the variable, for what does not hold. That a socket listens, its listener checks.
/// Limits:     `activated_sockets_max`.
/// Source:     sd_listen_fds(3).

#include <skerry/net/socket.hpp>

#include <string>
#include <vector>

namespace skerry::net {

inline constexpr int activated_sockets_max = 256;

struct activated_socket {
  unique_fd fd;
  std::string name;  ///< FileDescriptorName= of its unit; "unknown" if nobody said
};

/// None if this process was started without.
std::vector<activated_socket> take_activated_sockets();

}  // namespace skerry::net
