// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/metrics.hpp>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace skerry::observe {

namespace {

// The locale must not decide what a metric may be called, so no <cctype>.
constexpr bool is_lower(char c) noexcept { return (c >= 'a' && c <= 'z') || c == '_'; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool is_name(std::string_view name) noexcept {
  return !name.empty() && is_lower(name.front()) &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_lower(c) || is_digit(c); });
}

void check_name(const metric_info& info, bool is_counter) noexcept {
  std::string_view name = info.name;
  SKERRY_ASSERT(is_name(name), "a metric's name is lower case letters, digits and underscores");
  SKERRY_ASSERT(is_counter == name.ends_with("_total"), "the name of a counter, and of nothing else, ends in _total");
  if (is_counter) name.remove_suffix(std::string_view("_total").size());
  SKERRY_ASSERT(name.ends_with("_seconds") == (info.unit == unit::nanoseconds),
                "a metric in nanoseconds is exported in seconds and named *_seconds, and no other is");
  SKERRY_ASSERT(name.ends_with("_bytes") == (info.unit == unit::bytes),
                "a metric in bytes is named *_bytes, and no other is");
  SKERRY_ASSERT(!info.help.empty(), "a metric has a sentence of help");
}

void check_labels(const metric_info& info) noexcept {
  for (const label& each : info.labels) {
    SKERRY_ASSERT(is_name(each.name), "a label's name is lower case letters, digits and underscores");
    SKERRY_ASSERT(!each.name.starts_with("__"), "label names that start with two underscores belong to Prometheus");
    SKERRY_ASSERT(each.name != "le" && each.name != "shard", "the labels le and shard are added by the exporter");
    const auto same = [&](const label& other) { return other.name == each.name; };
    SKERRY_ASSERT(std::count_if(info.labels.begin(), info.labels.end(), same) == 1, "a metric has each label once");
  }
}

histogram_data data_of(const histogram& from) {
  histogram_data data{from.count(), from.sum(), from.min(), from.max(), {}};
  for (std::size_t i = 0; i < histogram::bucket_count; ++i) {
    if (from.count_in(i) == 0) continue;
    data.buckets.push_back({histogram::lowest_in(i), histogram::highest_in(i), from.count_in(i)});
  }
  return data;
}

}  // namespace

void detail::metric_remover::operator()(registry* from) const noexcept {
  SKERRY_ASSERT(!from->metrics_.empty(), "a registration is in its registry");
  from->metrics_.erase(place);
}

registry::~registry() { SKERRY_ASSERT(metrics_.empty(), "registrations end before the registry they are in"); }

registration registry::insert(detail::metric added) {
  SKERRY_ASSERT(metrics_.size() < metrics_max, "a registry is full: register kinds of things, not each thing");
  check_name(added.info, std::holds_alternative<counter_reader>(added.value));
  check_labels(added.info);
  for (const detail::metric& other : metrics_) {
    if (other.info.name != added.info.name) continue;
    SKERRY_ASSERT(other.value.index() == added.value.index(), "metrics that share a name are of one kind");
    SKERRY_ASSERT(other.info.unit == added.info.unit, "metrics that share a name share their unit");
    SKERRY_ASSERT(other.info.help == added.info.help, "metrics that share a name share their help");
    SKERRY_ASSERT(other.info.labels != added.info.labels, "this metric is registered already");
  }
  metrics_.push_back(std::move(added));
  return {this, {std::prev(metrics_.end())}};
}

snapshot registry::take_snapshot() const {
  snapshot result;
  result.samples.reserve(metrics_.size());
  for (const detail::metric& each : metrics_) {
    sample& taken = result.samples.emplace_back(sample{each.info, {}});
    if (const auto* count = std::get_if<counter_reader>(&each.value)) taken.value = (*count)();
    if (const auto* level = std::get_if<gauge_reader>(&each.value)) taken.value = (*level)();
    if (const auto* values = std::get_if<const histogram*>(&each.value)) taken.value = data_of(**values);
  }
  return result;
}

}  // namespace skerry::observe
