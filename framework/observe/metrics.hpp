// SPDX-License-Identifier: Apache-2.0
#pragma once

/// metrics: what a shard counts, and the list by which others find it.
///
/// Whoever counts owns the number as a plain member, a `std::uint64_t` for a counter, a `std::int64_t` for a gauge; the
/// shard's registry only knows where it is, what it is called and in what unit. Nothing is atomic: a shard counts for
/// itself, and a reader elsewhere asks this shard for a `snapshot`.
///
///     class acceptor {
///       std::uint64_t accepted_ = 0;
///       observe::registration shown_ = this_shard().metrics->add(
///           accepted_, {.name = "skerry_net_accepted_total", .help = "Connections accepted."});
///     };
///
/// Names follow Prometheus, and a name that does not is a bug that the first run reports: lower case and underscores, a
/// counter ends in `_total` and nothing else does, and the name says the unit it is exported in (`_seconds`, `_bytes`).
/// The labels `le` (histograms) and `shard` belong to whoever exports.
///
/// Affinity:   the registry, its metrics and their registrations belong to one shard.
/// Ownership:  a registration ends before its metric and its registry: declare it after the metric.
/// Invariants: (1) metrics that share a name share kind, unit and help; (2) no two share name and labels.
/// Limits:     16384 metrics in a registry, asserted: register kinds of things, not each connection.

#include <skerry/framework/observe/histogram.hpp>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace skerry::observe {

/// What a metric's number counts. Times are counted in nanoseconds and exported in seconds.
enum class unit : std::uint8_t { none, bytes, nanoseconds };

/// One dimension by which metrics of a name differ.
struct label {
  std::string name{};
  std::string value{};
  bool operator==(const label&) const = default;
};

/// What a reader needs to know about a metric.
struct metric_info {
  using crosses_shards = metric_info;

  std::string name{};
  std::string help{};  ///< one sentence for people
  observe::unit unit = observe::unit::none;
  std::vector<label> labels{};
};

/// A metric's description and its value at one moment.
struct sample {
  using crosses_shards = sample;

  metric_info info;
  std::variant<std::uint64_t, std::int64_t, std::unique_ptr<const histogram>> value;  ///< counter, gauge, histogram
};

/// All metrics of a shard at one moment, in the order of registration.
using snapshot = std::vector<sample>;

class registry;

namespace detail {

struct metric {
  metric_info info;
  std::variant<std::function<std::uint64_t()>, std::function<std::int64_t()>, const histogram*> value;
};

struct metric_remover {
  std::list<metric>::iterator place{};
  void operator()(registry* from) const noexcept;
};

}  // namespace detail

/// Keeps a metric in a registry; dropping it, or `reset`, takes the metric out.
struct [[nodiscard]] registration : std::unique_ptr<registry, detail::metric_remover> {
  using unique_ptr::unique_ptr;
};

/// The metrics of one shard.
class registry {
 public:
  static constexpr std::size_t metrics_max = 16384;

  registry() = default;
  registry(const registry&) = delete;
  registry& operator=(const registry&) = delete;
  ~registry() { SKERRY_ASSERT(metrics_.empty(), "registrations end before the registry they are in"); }

  /// A counter never goes back, a gauge goes up and down.
  registration add(const std::uint64_t& counter, metric_info info) {
    return add_counter([&counter] { return counter; }, std::move(info));
  }
  registration add(const std::int64_t& gauge, metric_info info) {
    return add_gauge([&gauge] { return gauge; }, std::move(info));
  }
  registration add(const histogram& values, metric_info info) { return insert({std::move(info), &values}); }
  /// Variables only: a metric that dies at once is a mistake.
  template <typename T>
  registration add(const T&& value, metric_info info) = delete;
  /// Numbers that are fetched when a reader asks.
  registration add_counter(std::function<std::uint64_t()> read, metric_info info) {
    return insert({std::move(info), std::move(read)});
  }
  registration add_gauge(std::function<std::int64_t()> read, metric_info info) {
    return insert({std::move(info), std::move(read)});
  }

  snapshot take_snapshot() const;

 private:
  friend detail::metric_remover;
  registration insert(detail::metric added);

  std::list<detail::metric> metrics_;  // registration order; a list, so that a registration's place stays valid
};

}  // namespace skerry::observe
