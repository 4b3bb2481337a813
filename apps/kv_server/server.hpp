// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The server as one task: what `main` runs, and what a simulation runs in its place.
///
/// Affinity: shard 0 of an app that does not end by itself.
/// Errors:   startup_error for an address that cannot be listened on.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/server_options.hpp>

#include <cstdint>

namespace kv_server {

/// Opens the server on all shards at the app's address. `memory_max`: bytes of keys and values of all shards together.
skerry::task<> serve_all(std::uint64_t memory_max, skerry::net::server_options limits);

}  // namespace kv_server
