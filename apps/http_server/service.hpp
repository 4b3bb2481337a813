// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The service as one task: what `main` runs, and what a simulation runs in its place.
///
/// Affinity: shard 0 of an app that does not end by itself.
/// Errors:   startup_error for an address that cannot be listened on, and for a directory that cannot be opened.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/net/http/server.hpp>

#include <cstdint>
#include <string>

namespace http_server {

inline constexpr std::uint16_t default_port = 8080;

/// What answers on the calling shard, which has an item_store. `files` as below.
skerry::net::http::router make_router(const std::string& files);

/// Serves on all shards at the app's address. `files`: the directory that is at /static/; empty: none is.
skerry::task<> serve_all(std::string files, skerry::net::http::server_options limits);

}  // namespace http_server
