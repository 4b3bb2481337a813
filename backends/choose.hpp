// SPDX-License-Identifier: Apache-2.0
#pragma once

/// make_backends: the kernel's backends for the shards of a process, chosen once, before any shard runs.
///
///     chosen_backends chosen = make_backends("auto", 4, 512);
///     log::info("{}", chosen.reason);  // backend epoll: io_uring is not usable here: Operation not permitted
///
///     name        gives
///     auto        io_uring if its start-up self-test passes (the rings of all shards are made, the first is entered),
///                 else epoll, with the refusal as the reason
///     io_uring    io_uring, or the refusal as an error
///     epoll       epoll, io_uring is not tried
///
/// An extra of io_uring (extras.hpp) is asked for outright: `auto` finds no way around it to epoll.
///
/// Whether receives come in bundles (`backend::bundles`), and sends go without copying where asked for, is found out on
/// the first ring, for all of them.
///
/// Affinity: the thread of shard 0, as for make_io_uring_backends.
/// Errors:   startup_error: another name, io_uring or an extra that was asked for and is refused, an extra with epoll,
///           and on epoll no descriptors.

#include <skerry/backends/extras.hpp>
#include <skerry/framework/backend/backend.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skerry {

struct chosen_backends {
  std::vector<std::unique_ptr<backend>> all;  ///< one per shard
  std::string reason;                         ///< one line for people: which, and why
  bool refused = false;                       ///< io_uring was tried, in vain
};

/// `entries`: submissions per turn for which there is room at first; on io_uring see make_io_uring_backends.
chosen_backends make_backends(std::string_view name, std::size_t shards, unsigned entries,
                              const io_uring_extras& extras = {});

/// On epoll, which needs nobody's permission. Throws startup_error.
std::vector<std::unique_ptr<backend>> make_epoll_backends(std::size_t shards, unsigned entries);

}  // namespace skerry
