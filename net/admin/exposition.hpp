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
/// OpenMetrics is the same in a stricter dress: families without `_total`, units, exemplars behind buckets, an end.
///
/// Pure: snapshots in, text out.
///
/// Affinity: none of its own.
/// Source:   Prometheus, "Exposition formats", text format 0.0.4; OpenMetrics 1.0.

#include <skerry/framework/observe/metrics.hpp>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::net::admin {

/// One observation of a histogram that has a name.
struct exemplar {
  using crosses_shards = exemplar;

  std::string metric;                  ///< the histogram's name
  std::vector<observe::label> labels;  ///< and labels
  observe::label is;                   ///< what it was, such as trace_id
  std::uint64_t value = 0;             ///< in the metric's unit
  std::chrono::nanoseconds at{};       ///< wall time
};

/// The text for `shards`, whose place is their shard's number. Metrics that only some shards have are told for those.
std::string prometheus_text(std::span<const observe::snapshot> shards);
/// The same as OpenMetrics; of the exemplars of a bucket it has the latest.
std::string openmetrics_text(std::span<const observe::snapshot> shards, std::span<const exemplar> exemplars);

constexpr std::string_view prometheus_type = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view openmetrics_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Whether the sender of this Accept names OpenMetrics and likes nothing plainer better.
bool prefers_openmetrics(std::string_view accept) noexcept;

/// As a JSON string; control bytes are left out.
std::string quoted(std::string_view text);
/// The histograms of all shards, merged, as JSON: [{"name":…,"labels":{…},"help":…,"count":…,"buckets":[[least,n],…]}].
std::string histograms_as_json(std::span<const observe::snapshot> shards);

}  // namespace skerry::net::admin
