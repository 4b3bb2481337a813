// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/exposition.hpp>
#include <skerry/net/http/message.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/core.h>

namespace skerry::net::admin {

namespace {

using observe::histogram;
using observe::sample;

/// Counts by power of two, [k] has the values below 2^k that are not below 2^(k-1), and by bucket.
struct merged {
  std::array<std::uint64_t, 65> counts{};
  std::array<std::uint64_t, histogram::bucket_count> fine{};
  std::uint64_t count = 0;
  std::uint64_t sum = 0;

  void add(const histogram& more) {
    count += more.count();
    sum += more.sum();
    for (std::size_t bucket = 0; bucket < histogram::bucket_count; ++bucket) {
      const auto power = static_cast<std::size_t>(std::bit_width(histogram::lowest_in(bucket)));
      counts[power] += more.count_in(bucket);
      fine[bucket] += more.count_in(bucket);
    }
  }
};

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '\\' || (quotes && c == '"')) out += '\\';
      out += c;
    }
  }
  return out;
}

/// `{a="b",c="d"}`, or nothing when there are none.
std::string labels_text(const std::vector<observe::label>& labels, std::string_view more) {
  std::string out;
  for (const observe::label& each : labels) {
    fmt::format_to(std::back_inserter(out), "{}{}=\"{}\"", out.empty() ? "" : ",", each.name,
                   escaped(each.value, true));
  }
  if (!more.empty()) out.append(out.empty() ? "" : ",").append(more);
  return out.empty() ? out : "{" + out + "}";
}

std::string in_unit(observe::unit unit, std::uint64_t value) {
  if (unit != observe::unit::nanoseconds) return std::to_string(value);
  return fmt::format("{}.{:09}", value / 1'000'000'000, value % 1'000'000'000);
}
std::string in_unit(observe::unit unit, std::int64_t value) {
  const std::string size = in_unit(unit, static_cast<std::uint64_t>(value < 0 ? -value : value));
  return value < 0 ? "-" + size : size;
}

/// Metrics of one name, each with its shard.
using family = std::vector<std::pair<std::size_t, const sample*>>;

/// Families in the order in which their names were first seen.
std::vector<family> families_of(std::span<const observe::snapshot> shards) {
  std::vector<family> all;
  std::map<std::string_view, std::size_t> places;
  for (std::size_t shard = 0; shard < shards.size(); ++shard) {
    for (const sample& each : shards[shard]) {
      const auto [place, added] = places.try_emplace(each.info.name, all.size());
      if (added) all.emplace_back();
      all[place->second].emplace_back(shard, &each);
    }
  }
  return all;
}

/// The histograms of a family, those with the same labels merged.
std::vector<std::pair<const observe::metric_info*, merged>> histograms_of(const family& of) {
  std::vector<std::pair<const observe::metric_info*, merged>> all;
  for (const auto& [shard, each] : of) {
    const auto* values = std::get_if<2>(&each->value);
    if (values == nullptr) continue;
    auto same = std::ranges::find_if(all, [&](const auto& h) { return h.first->labels == each->info.labels; });
    if (same == all.end()) same = all.emplace(same, &each->info, merged());
    same->second.add(**values);
  }
  return all;
}

/// The text in one of its two dresses.
class writer {
 public:
  writer(bool openmetrics, std::span<const exemplar> exemplars) : open_(openmetrics), exemplars_(exemplars) {}

  std::string write(std::span<const observe::snapshot> shards) {
    for (const family& each : families_of(shards)) write_family(each);
    if (open_) out_ += "# EOF\n";
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> text, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), text, std::forward<Args>(args)...);
  }

  void write_family(const family& of) {
    constexpr std::array<std::string_view, 3> kinds{"counter", "gauge", "histogram"};
    const observe::metric_info& shared = of.front().second->info;
    std::string_view name = shared.name;
    if (open_ && name.ends_with("_total")) name.remove_suffix(std::string_view("_total").size());
    put("# HELP {} {}\n# TYPE {} {}\n", name, escaped(shared.help, open_), name,
        kinds[of.front().second->value.index()]);
    if (open_ && shared.unit != observe::unit::none) {
      put("# UNIT {} {}\n", name, shared.unit == observe::unit::bytes ? "bytes" : "seconds");
    }
    for (const auto& [shard, each] : of) {
      const std::string labels = labels_text(each->info.labels, fmt::format("shard=\"{}\"", shard));
      if (const auto* counter = std::get_if<0>(&each->value)) {
        put("{}{} {}\n", shared.name, labels, in_unit(shared.unit, *counter));
      } else if (const auto* gauge = std::get_if<1>(&each->value)) {
        put("{}{} {}\n", shared.name, labels, in_unit(shared.unit, *gauge));
      }
    }
    for (const auto& [info, all] : histograms_of(of)) write_histogram(*info, all);
  }

  /// OpenMetrics compares bounds as text, so it wants whole numbers as "3.0".
  std::string bound(observe::unit unit, std::uint64_t value) const {
    return in_unit(unit, value) + (open_ && unit != observe::unit::nanoseconds ? ".0" : "");
  }

  void write_histogram(const observe::metric_info& info, const merged& all) {
    const auto used = [](std::uint64_t n) { return n != 0; };
    const auto first = static_cast<std::size_t>(std::ranges::find_if(all.counts, used) - all.counts.begin());
    std::size_t last = all.counts.size();
    while (last > first && all.counts[last - 1] == 0) --last;
    std::uint64_t below = 0, from = 0;
    for (std::size_t power = 0; power < std::min<std::size_t>(last + 1, 64); ++power) {
      below += all.counts[power];
      if (power < first || power % 2 != 0) continue;
      const std::uint64_t highest = (std::uint64_t{1} << power) - 1;
      put("{}_bucket{} {}", info.name, labels_text(info.labels, fmt::format("le=\"{}\"", bound(info.unit, highest))),
          below);
      write_exemplar(info, from, highest);
      from = highest + 1;
    }
    put("{}_bucket{} {}", info.name, labels_text(info.labels, "le=\"+Inf\""), all.count);
    write_exemplar(info, from, std::numeric_limits<std::uint64_t>::max());
    put("{}_sum{} {}\n", info.name, labels_text(info.labels, ""), in_unit(info.unit, all.sum));
    put("{}_count{} {}\n", info.name, labels_text(info.labels, ""), all.count);
  }

  /// Behind a bucket of the values from `least` to `most`, and the end of its line.
  void write_exemplar(const observe::metric_info& info, std::uint64_t least, std::uint64_t most) {
    const exemplar* latest = nullptr;
    for (const exemplar& each : exemplars_) {
      if (each.value < least || each.value > most || each.metric != info.name || each.labels != info.labels) continue;
      if (latest == nullptr || each.at > latest->at) latest = &each;
    }
    if (latest != nullptr) {
      const auto at = std::chrono::duration_cast<std::chrono::milliseconds>(latest->at).count();
      put(" # {} {} {}.{:03}", labels_text({latest->is}, ""), in_unit(info.unit, latest->value), at / 1000, at % 1000);
    }
    out_ += '\n';
  }

  const bool open_;
  const std::span<const exemplar> exemplars_;
  std::string out_;
};

std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

/// Thousandths of a weight such as "0.75"; of anything else, nothing is liked.
unsigned weight_of(std::string_view text) noexcept {
  if (text.empty() || text[0] < '0' || text[0] > '1') return 0;
  unsigned thousandths = text[0] == '1' ? 1000 : 0;
  if (text.size() > 5 || (text.size() > 1 && text[1] != '.')) return 0;
  for (std::size_t i = 2, worth = 100; i < text.size(); ++i, worth /= 10) {
    if (text[i] < '0' || text[i] > '9') return 0;
    thousandths += static_cast<unsigned>(worth) * static_cast<unsigned>(text[i] - '0');
  }
  return std::min(thousandths, 1000U);
}

}  // namespace

std::string prometheus_text(std::span<const observe::snapshot> shards) { return writer(false, {}).write(shards); }
std::string openmetrics_text(std::span<const observe::snapshot> shards, std::span<const exemplar> exemplars) {
  return writer(true, exemplars).write(shards);
}

bool prefers_openmetrics(std::string_view accept) noexcept {
  unsigned open = 0, plain = 0;
  while (!accept.empty()) {
    const std::size_t comma = std::min(accept.find(','), accept.size());
    std::string_view parameters = accept.substr(0, comma);
    accept.remove_prefix(std::min(comma + 1, accept.size()));
    const std::size_t semicolon = std::min(parameters.find(';'), parameters.size());
    const std::string_view type = trimmed(parameters.substr(0, semicolon));
    parameters.remove_prefix(semicolon);
    unsigned weight = 1000;
    bool known = true;
    while (!parameters.empty()) {
      parameters.remove_prefix(1);
      const std::size_t end = std::min(parameters.find(';'), parameters.size());
      const std::string_view parameter = trimmed(parameters.substr(0, end));
      parameters.remove_prefix(end);
      if (parameter.starts_with("q=") || parameter.starts_with("Q=")) weight = weight_of(parameter.substr(2));
      if (parameter.starts_with("version=") && parameter != "version=1.0.0") known = false;
    }
    if (http::same_name(type, "application/openmetrics-text")) open = std::max(open, known ? weight : 0);
    if (http::same_name(type, "text/plain")) plain = std::max(plain, weight);
  }
  return open != 0 && open >= plain;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= ' ') out += c;
  }
  return out + '"';
}

std::string histograms_as_json(std::span<const observe::snapshot> shards) {
  std::string out = "[";
  const auto put = [&]<class... Args>(fmt::format_string<Args...> text, Args&&... args) {
    fmt::format_to(std::back_inserter(out), text, std::forward<Args>(args)...);
  };
  for (const family& of : families_of(shards)) {
    for (const auto& [info, all] : histograms_of(of)) {
      put(R"({}{{"name":{},"help":{},"unit":"{}","labels":{{)", out.size() == 1 ? "" : ",\n", quoted(info->name),
          quoted(info->help),
          info->unit == observe::unit::nanoseconds ? "nanoseconds"
          : info->unit == observe::unit::bytes     ? "bytes"
                                                   : "");
      for (const observe::label& each : info->labels) {
        put("{}{}:{}", out.back() == '{' ? "" : ",", quoted(each.name), quoted(each.value));
      }
      put(R"(}},"count":{},"sum":{},"buckets":[)", all.count, all.sum);
      for (std::size_t bucket = 0; bucket < all.fine.size(); ++bucket) {
        if (all.fine[bucket] == 0) continue;
        put("{}[{},{}]", out.back() == '[' ? "" : ",", histogram::lowest_in(bucket), all.fine[bucket]);
      }
      out += "]}";
    }
  }
  return out + "]\n";
}

}  // namespace skerry::net::admin
