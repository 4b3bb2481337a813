// SPDX-License-Identifier: Apache-2.0
#pragma once

/// admin: the window into a running program's shards, over HTTP, read-only.
///
///     GET /metrics   what every shard counts, for Prometheus; as OpenMetrics for who accepts that
///     GET /health    200 while every shard's loop turns, else 503 and which do not
///     GET /ready     200 while the program listens, or runs if it has no --port; 503 before, and from the begin of a
///                    drain on
///     GET /shards    JSON: what each shard does
///     GET /histograms  JSON: how long requests, turns of the loop and more took, all shards together
///     GET /hops      JSON: the matrix of messages between shards, and how long they waited: `waits[n]` are those of
///                    less than 2^n nanoseconds and not of less than half of that; the last, 31, has no end
///     GET /tasks     JSON: every shard's tasks, how old each is, what it waits for and for how long, which of its
///                    coroutines await each other, and the same of the branches of a combinator
///     GET /trace     what every shard does in the next ?ms=100 (up to 10 000), for ui.perfetto.dev
///     GET /          a page that shows all of it, and refreshes itself
///     GET /text      the same figures in plain tables, for terminals and browsers without scripts
///
/// Where `--admin ADDR:PORT` names a place every program has it, before its main begins. Where nobody does, a program
/// that listens has it: its first listener or `bind_on_all_shards` opens it, at 127.0.0.1:9180 unless another program
/// is there. Each request asks every shard by a message of its own, so it costs a loaded shard one message, the copy of
/// its counters, and for /metrics, /shards and /tasks a walk over its tasks; the first /tasks that meets a coroutine
/// unknown so far reads the program's symbols, some milliseconds.
///
/// It outlives the drain, so that whoever balances load sees the 503 and not a refused connection, and whoever wonders
/// why the drain takes so long can look. A program that ends by itself does not wait for it: its tasks are in no root
/// scope, so they are neither counted nor listed.
///
/// Affinity: any shard.
/// Errors:   startup_error when the option's address is none, or its port is taken.
/// Limits:   those of http::server_options, with smaller heads; 1000 tasks of each shard; one recording at a time, of
///           the latest 32768 events of each shard, whose 1 MiB stays with the shard.

#include <skerry/framework/task/task.hpp>

namespace skerry::net::admin {

/// A listener is about to open its port: opens the endpoint at the default place, unless `--admin` says `off` or it is
/// open. The program is not ready until `end_listening`.
task<> begin_listening();
/// The listener's port is open.
task<> end_listening();

}  // namespace skerry::net::admin
