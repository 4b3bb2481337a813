// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/text.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <numeric>
#include <utility>

#include <fmt/core.h>

namespace skerry::net::admin {

namespace {

/// Rows of cells, as wide as their widest; numbers to the right.
class text_table {
 public:
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  void append_to(std::string& out) const {
    std::vector<std::size_t> widths;
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        fmt::format_to(std::back_inserter(out), "{}{:>{}}", i == 0 ? "" : "  ", row[i], widths[i]);
      }
      out += '\n';
    }
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string span_of(double ns) {
  constexpr std::pair<double, const char*> units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};
  for (const auto& [size, name] : units) {
    if (ns >= size) return fmt::format("{:.{}f} {}", ns / size, ns < 10 * size ? 1 : 0, name);
  }
  return fmt::format("{:.0f} ns", ns);
}

std::string share_of(std::chrono::nanoseconds part, std::chrono::nanoseconds whole) {
  return whole.count() == 0 ? "-" : fmt::format("{} %", 100 * part / whole);
}

/// Below which power of two `part` of a pair's messages waited.
std::string wait_below(const pair_stats& pair, double part) {
  double left = part * static_cast<double>(pair.requests);
  std::size_t digits = 0;
  while (digits + 1 < pair.waits.size() && (left -= static_cast<double>(pair.waits[digits])) > 0) ++digits;
  return span_of(static_cast<double>(std::uint64_t{1} << digits));
}

void append_shards(std::string& out, std::span<const shard_figures> shards) {
  text_table all;
  all.add({"shard", "busy", "run queue", "turn p99", "connections", "tasks", "timers", "steps", "turns", "entries",
           "sleeps", "sent", "away", "buffers"});
  for (const shard_figures& each : shards) {
    const shard_stats& s = each.stats;
    all.add({std::to_string(s.id), share_of(s.loop.uptime - s.loop.idle, s.loop.uptime), std::to_string(each.ready),
             span_of(static_cast<double>(each.turn_p99_ns)), std::to_string(each.connections), std::to_string(s.tasks),
             std::to_string(s.timers), std::to_string(s.loop.tasks_run), std::to_string(s.loop.turns),
             std::to_string(s.kernel.kernel_entries), std::to_string(s.loop.sleeps), std::to_string(s.messages_sent),
             std::to_string(s.messages_outstanding), fmt::format("{} of {}", s.buffers.taken, s.buffers.buffers)});
  }
  all.append_to(out);
}

void append_messages(std::string& out, std::span<const shard_figures> shards) {
  if (shards.size() > matrix_shards_max) {
    fmt::format_to(std::back_inserter(out), "\nMessages between {} shards: /hops\n", shards.size());
    return;
  }
  out += "\nMessages, and below how much half and 99 of 100 of them waited; rows send, columns receive\n";
  text_table all;
  std::vector<std::string> head{"from \\ to"};
  for (const shard_figures& to : shards) head.push_back(std::to_string(to.stats.id));
  all.add(std::move(head));
  for (std::size_t from = 0; from < shards.size(); ++from) {
    std::vector<std::string> row{std::to_string(from)};
    for (const shard_figures& to : shards) {
      const pair_stats& pair = to.stats.received_from[from];
      row.push_back(pair.requests == 0
                        ? "-"
                        : fmt::format("{} ({}, {})", pair.requests, wait_below(pair, .5), wait_below(pair, .99)));
    }
    all.add(std::move(row));
  }
  all.append_to(out);
}

void append_servers(std::string& out, std::span<const shard_figures> shards) {
  std::map<std::string, shard_figures::server> sums;
  for (const shard_figures& each : shards) {
    for (const shard_figures::server& one : each.servers) {
      shard_figures::server& sum = sums.try_emplace(one.name, one.name, 0, 0, 0).first->second;
      sum.connections += one.connections;
      sum.handling += one.handling;
      sum.answers += one.answers;
    }
  }
  text_table all;
  all.add({"HTTP server", "connections", "handling", "answers"});
  for (const auto& [name, sum] : sums) {
    all.add({name, std::to_string(sum.connections), std::to_string(sum.handling), std::to_string(sum.answers)});
  }
  out += '\n';
  all.append_to(out);
}

}  // namespace

std::string figures_as_text(std::span<const shard_figures> shards) {
  std::string out;
  const auto up = shards.empty() ? std::chrono::nanoseconds(0) : shards.front().stats.loop.uptime;
  fmt::format_to(std::back_inserter(out), "{} shards, up for {}; sums since the start\n\n", shards.size(),
                 span_of(static_cast<double>(up.count())));
  append_shards(out, shards);
  append_messages(out, shards);
  append_servers(out, shards);
  out += "\nTasks and what they wait for: /tasks. All that is counted: /metrics.\n";
  return out;
}

}  // namespace skerry::net::admin
