// SPDX-License-Identifier: Apache-2.0
#pragma once

/// request_examples: for each range of durations one request that took so long, by the name under which logs and traces
/// know it. From "a few requests take 50 ms" to one of them is then one step. OpenMetrics calls them exemplars.
///
/// A request is a candidate when its range has had none since the examples were last taken, so between two scrapes the
/// cost is a bit test. Its name is the trace id of its `traceparent` (W3C Trace Context), else the X-Request-Id of its
/// response, which the middleware `request_id` gives. One without a name uses its turn up and leaves the old example.
///
/// Affinity: the shard of the server.
/// Limits:   33 examples with names of up to `id_bytes_max`; OpenMetrics allows 128 characters for name and label.
/// Units:    nanoseconds; a range is two powers of two.

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::net::http::detail {

struct request_example {
  std::string kind;  ///< "trace_id" or "request_id"
  std::string id;
  std::uint64_t took_ns = 0;
  std::chrono::nanoseconds at{};  ///< wall time
};

class request_examples {
 public:
  static constexpr std::size_t id_bytes_max = 64;

  /// Whether `keep` should be told about a request that took so long.
  bool wants(std::uint64_t took_ns) const noexcept { return (had_ >> range_of(took_ns) & 1) == 0; }
  /// `id` may be empty or too long: then nothing is kept.
  void keep(std::uint64_t took_ns, std::string_view kind, std::string_view id, std::chrono::nanoseconds at) {
    had_ |= std::uint64_t{1} << range_of(took_ns);
    if (id.empty() || id.size() > id_bytes_max) return;
    examples_[range_of(took_ns)] = {std::string(kind), std::string(id), took_ns, at};
  }
  /// All of them; from now on each range wants a new one.
  std::vector<request_example> take() {
    had_ = 0;
    std::vector<request_example> all;
    for (const request_example& each : examples_) {
      if (!each.id.empty()) all.push_back(each);
    }
    return all;
  }

 private:
  static std::size_t range_of(std::uint64_t ns) noexcept {
    return (static_cast<std::size_t>(std::bit_width(ns)) + 1) / 2;
  }

  std::uint64_t had_ = 0;
  std::array<request_example, 33> examples_{};
};

}  // namespace skerry::net::http::detail
