// SPDX-License-Identifier: Apache-2.0
#pragma once

/// admin: the window into a running program's shards, over HTTP, read-only.
///
///     GET /metrics   what every shard counts, for Prometheus
///     GET /health    200 while every shard's loop turns, else 503
///     GET /ready     200 until a drain begins; then 503, or nobody is listening any more
///     GET /shards    JSON: what each shard does
///     GET /hops      JSON: the matrix of messages between shards, and how long they waited
///     GET /tasks     JSON: every shard's tasks, and what each waits for
///     GET /trace     what every shard does in the next ?ms=100 (up to 10 000), for ui.perfetto.dev
///     GET /          a page that shows all of it, and refreshes itself
///
/// A program that listens has it: its first listener opens it, at 127.0.0.1:9180 unless another program is there, or
/// where `--admin ADDR:PORT` says. Each request asks every shard
/// by a message of its own, so it costs a loaded shard one message and the copy of its counters.
///
/// Affinity: any shard.
/// Errors:   startup_error when the option's address is none, or its port is taken.
/// Limits:   those of http::server_options, with smaller heads; 1000 tasks of each shard; one recording at a time, of
///           the latest 32768 events of each shard, whose 1 MiB stays with the shard.

#include <skerry/framework/task/task.hpp>

namespace skerry::net::admin {

/// Serves it where `--admin` says, unless that says `off`.
task<> serve_if_wanted();

}  // namespace skerry::net::admin
