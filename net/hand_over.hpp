// SPDX-License-Identifier: Apache-2.0
#pragma once

/// hand_over: a server is exchanged for its next version, and no client notices.
///
///     net::server_options options;
///     options.hand_over = true;                                           // in both programs, on the same address
///     net::server s = co_await net::start_server(at, handler, options);   // takes over from whoever serves there
///     const bool is_old = co_await s.handed_over();                       // when the next one has taken over
///     if (is_old) app::shutdown();
///
///     old                                          new
///     name socket <-------------- connect -------- is somebody at this name?   no: opens the port itself
///     our user's? --"sockets N", descriptors-----> the name socket, then the listening ones
///     both accept from the same sockets <--------- "serving": all its shards listen
///     handed_over(); drains: serves whom it had accepted, leaves whoever waits in the sockets to the new one
///
/// What is handed over are the listening sockets themselves (SCM_RIGHTS), with whoever waits in them. Several processes
/// may bind one port (SO_REUSEPORT), too, but a connection belongs to the socket that the kernel chose at its first
/// packet, and closing that resets it. Rejected for that reason: binding anew and accepting until nobody waits, which
/// loses whom the kernel puts there between the last accept and the close, and all whose handshake is under way;
/// steering new ones away before by a program in the kernel, which still loses the latter and must know the order of
/// the sockets; and net.ipv4.tcp_migrate_req, which does it right but is the administrator's to set.
///
/// A successor that ends before it says "serving" has taken nothing: the old one goes on, and offers itself again.
///
/// The name is abstract and made from the address: it needs no directory, goes with the process, and belongs to one
/// network namespace, as ports do. Anybody may connect to it or have taken it, so each side asks the kernel who the
/// other is: only processes of the same user hand over to each other.
///
/// A successor with more shards opens further sockets for those; one with fewer accepts from several on some shards. It
/// hands over all of them.
///
/// A Unix socket can be bound once, so a server has one, of which each shard has a descriptor, and one is handed over.
/// Its file stays in its place, and who has handed it over leaves it there: it goes with the last of the line. Two
/// programs may write the path of a file in two ways, or the same path in two directories, so the name to ask at is
/// made from the file itself, its device and number. An abstract name needs nobody to leave it.
///
/// Affinity:     the shard that starts the server.
/// Errors:       startup_error for a name that is another user's, and for a predecessor that does not answer within
///               `hand_over_wait`.
/// Cancellation: at every point; descriptors that have come are closed.
/// Limits:       `hand_over_sockets_max`; an abstract name of up to 80 bytes. A socket that was given to the process
///               (LISTEN_FDS) is its giver's to hand over. The admin endpoint's port is not handed over: while the old
///               process has it, the new one does without. A successor that comes when the old one drains without
///               having handed over opens the port itself once that is free, or is told that it is in use.

#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/message_listener.hpp>
#include <skerry/net/message_socket.hpp>
#include <skerry/net/server_options.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/net/socket_file.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace skerry::net {

inline constexpr std::chrono::seconds hand_over_wait{5};
inline constexpr std::size_t hand_over_sockets_max = 2048;

namespace detail {

/// Whom a server was taken over from, until it serves.
struct predecessor {
  message_socket line;
  unique_fd name;
  std::vector<unique_fd> listening;
};

/// How a server's hand-over ends. The handle and the task that offers it share it.
struct hand_over_outcome {
  event over{"hand_over"};
  bool handed = false;
  std::optional<socket_file> file;  // the server's, while it is this process's to remove
};

/// What the lines between the two are made with.
message_options hand_over_line();
/// Where the process that listens on `at` can be asked for its sockets; nothing if `at` is a path without a socket.
std::optional<address> hand_over_name(const address& at);
/// Asks for them; nothing if there is no such process.
task<std::optional<predecessor>> take_over(address at);
/// From now on we serve, and offer our sockets to the next.
task<> say_serving(message_socket line);
/// Gives those of a server to whoever asks at `name`, until one serves, or a drain.
task<> give_to_successor(message_listener name, server_id whose, std::shared_ptr<hand_over_outcome> outcome);

}  // namespace detail

}  // namespace skerry::net
