// SPDX-License-Identifier: Apache-2.0
#pragma once

/// exposition: what shards have counted, as the text that Prometheus scrapes.
///
///     skerry_messages_sent_total{shard="0"} 1234
///     skerry_http_handler_seconds_bucket{server="http",le="0.000001023"} 7
///
/// Counters and gauges are told apart by shard; histograms are merged over the shards, because percentiles of a program
/// are what people ask for and a bucket per shard would be a page of text each. Of a histogram's buckets every second
/// power of two is told, from the first to the last that has something.
///
/// Pure: snapshots in, text out.
///
/// Affinity: none of its own.
/// Source:   Prometheus, "Exposition formats", text format 0.0.4.

#include <skerry/framework/observe/metrics.hpp>

#include <span>
#include <string>

namespace skerry::net::admin {

/// The text for `shards`, whose place is their shard's number. Metrics that only some shards have are told for those.
std::string prometheus_text(std::span<const observe::snapshot> shards);

}  // namespace skerry::net::admin
