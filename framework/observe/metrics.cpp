// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/metrics.hpp>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace skerry::observe {

namespace {

bool is_name(std::string_view name) noexcept {
  return !name.empty() && name.front() > '9' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789") == std::string_view::npos;
}

void check(const metric_info& info, bool is_counter) noexcept {
  std::string_view name = info.name;
  SKERRY_ASSERT(is_name(name), "a metric's name is lower case letters, digits and underscores");
  SKERRY_ASSERT(is_counter == name.ends_with("_total"), "the name of a counter, and of nothing else, ends in _total");
  if (is_counter) name.remove_suffix(std::string_view("_total").size());
  SKERRY_ASSERT(name.ends_with("_seconds") == (info.unit == unit::nanoseconds),
                "a metric in nanoseconds is exported in seconds and named *_seconds, and no other is");
  SKERRY_ASSERT(name.ends_with("_bytes") == (info.unit == unit::bytes),
                "a metric in bytes is named *_bytes, and no other is");
  SKERRY_ASSERT(!info.help.empty(), "a metric has a sentence of help");
  for (const label& each : info.labels) {
    SKERRY_ASSERT(is_name(each.name), "a label's name is lower case letters, digits and underscores");
    SKERRY_ASSERT(!each.name.starts_with("__"), "label names that start with two underscores belong to Prometheus");
    SKERRY_ASSERT(each.name != "le" && each.name != "shard", "the labels le and shard are added by the exporter");
    SKERRY_ASSERT(std::ranges::count(info.labels, each.name, &label::name) == 1, "a metric has each label once");
  }
}

}  // namespace

void detail::metric_remover::operator()(registry* from) const noexcept {
  SKERRY_ASSERT(!from->metrics_.empty(), "a registration is in its registry");
  from->metrics_.erase(place);
}

registration registry::insert(detail::metric added) {
  SKERRY_ASSERT(metrics_.size() < metrics_max, "a registry is full: register kinds of things, not each thing");
  check(added.info, added.value.index() == 0);
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
  for (const auto& [info, value] : metrics_) {
    sample& taken = result.emplace_back(info);
    if (const auto* count = std::get_if<0>(&value)) taken.value = (*count)();
    if (const auto* level = std::get_if<1>(&value)) taken.value = (*level)();
    if (const auto* values = std::get_if<2>(&value)) taken.value = std::make_unique<const histogram>(**values);
  }
  return result;
}

}  // namespace skerry::observe
