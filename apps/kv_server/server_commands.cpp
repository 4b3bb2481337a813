// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/resp/writer.hpp>
#include <skerry/shards/call_batch.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <kv_server/glob.hpp>
#include <kv_server/kv_shard.hpp>
#include <kv_server/server_commands.hpp>
#include <unistd.h>

namespace kv_server {

using namespace skerry;

namespace {

constexpr unsigned shard_shift = keyspace::cursor_bits;
constexpr std::size_t keys_bytes_max = std::size_t{64} << 20;

task<std::vector<shard_report>> all_reports() {
  auto report = [] { return resource<kv_shard>().report(); };
  call_batch<decltype(report)> calls(shard_count());
  for (shard_id s = 0; s < shard_count(); ++s) calls.add(s, report);
  co_await calls.all();
  std::vector<shard_report> reports;
  for (shard_id s = 0; s < shard_count(); ++s) reports.push_back(calls.take(s));
  co_return reports;
}

task<> flush_all() {
  for (shard_id s = 0; s < shard_count(); ++s) {
    co_await submit_to(s, [] {
      resource<kv_shard>().keys().flush();
      resource<kv_shard>().schedule_maintenance();
    });
  }
}

/// How many keys are compared with a pattern before others get a turn: fewer when each may take longer.
std::size_t keys_at_once(std::string_view pattern, std::size_t most) {
  constexpr std::size_t pattern_bytes = 64 * 1024;
  return std::clamp<std::size_t>(pattern_bytes / std::max<std::size_t>(pattern.size(), 1), 1, most);
}

/// The matching keys of one shard.
struct found_keys {
  using crosses_shards = found_keys;
  std::vector<std::string> keys;
  std::size_t bytes = 0;
  bool too_many = false;
};

/// Every matching key of this shard, some hundred at a time, as long as they take at most `bytes_max`.
task<found_keys> matching_keys(std::string pattern, std::size_t bytes_max) {
  kv_shard& here = resource<kv_shard>();
  found_keys found;
  std::uint64_t cursor = 0;
  do {
    cursor = here.keys().scan(cursor, keys_at_once(pattern, 256), here.now_ms(), [&](std::string_view key) {
      if (found.too_many || !glob_matches(pattern, key)) return;
      found.bytes += sizeof(std::string) + key.size();
      found.too_many = found.bytes > bytes_max;
      if (!found.too_many) found.keys.emplace_back(key);
    });
    co_await maybe_yield();
  } while (cursor != 0 && !found.too_many);
  co_return found;
}

task<> keys(std::string pattern, reply_buffer& out) {
  std::vector<std::string> all;
  std::size_t bytes_left = keys_bytes_max;
  for (shard_id s = 0; s < shard_count(); ++s) {
    found_keys part = co_await submit_to(
        s, [](std::string glob, std::size_t bytes_max) { return matching_keys(std::move(glob), bytes_max); }, pattern,
        bytes_left);
    if (part.too_many) co_return net::resp::write_error(out, "ERR KEYS would answer more than 64 MiB, use SCAN");
    bytes_left -= part.bytes;
    all.insert(all.end(), std::make_move_iterator(part.keys.begin()), std::make_move_iterator(part.keys.end()));
  }
  net::resp::write_array_header(out, all.size());
  for (const std::string& key : all) net::resp::write_bulk(out, key);
}

struct scan_part {
  using crosses_shards = scan_part;
  std::uint64_t cursor = 0;
  std::vector<std::string> keys;
};

scan_part scan_here(std::uint64_t cursor, std::size_t count, const std::string& pattern) {
  kv_shard& here = resource<kv_shard>();
  scan_part part;
  part.cursor = here.keys().scan(cursor, count, here.now_ms(), [&](std::string_view key) {
    if (glob_matches(pattern, key)) part.keys.emplace_back(key);
  });
  return part;
}

task<> scan(const scan_request& wanted, reply_buffer& out) {
  auto shard = static_cast<shard_id>(wanted.cursor >> shard_shift);
  scan_part part;
  if (shard < shard_count()) {
    std::uint64_t position = wanted.cursor & ((std::uint64_t{1} << shard_shift) - 1);
    // Longer steps would hold the shard up; a smaller COUNT is within the contract.
    const std::size_t count_max = keys_at_once(wanted.pattern, 1000);
    part = co_await submit_to(
        shard,
        [](std::uint64_t cursor, std::size_t count, std::string pattern) { return scan_here(cursor, count, pattern); },
        position, std::min(wanted.count, count_max), std::string(wanted.pattern));
    if (part.cursor != 0) {
      part.cursor |= std::uint64_t{shard} << shard_shift;
    } else if (shard + 1 < shard_count()) {
      part.cursor = std::uint64_t{shard + 1} << shard_shift;
    }
  }
  if (!wanted.type_exists) part.keys.clear();
  net::resp::write_array_header(out, 2);
  net::resp::write_bulk(out, std::to_string(part.cursor));
  net::resp::write_array_header(out, part.keys.size());
  for (const std::string& key : part.keys) net::resp::write_bulk(out, key);
}

/// Whether `INFO args…` asks for a section: without arguments for all.
bool asks_for(arguments args, std::string_view lower) {
  return args.size() == 1 || std::ranges::any_of(args.subspan(1), [&](std::string_view wanted) {
           return equal_ignoring_case(wanted, lower) || equal_ignoring_case(wanted, "default") ||
                  equal_ignoring_case(wanted, "all") || equal_ignoring_case(wanted, "everything");
         });
}

std::string info_text(arguments args, const std::vector<shard_report>& reports, const server_settings& settings) {
  shard_report sum;
  std::string shards;
  for (std::size_t s = 0; s < reports.size(); ++s) {
    const shard_report& r = reports[s];
    sum.keys += r.keys;
    sum.expiring += r.expiring;
    sum.commands += r.commands;
    sum.expired += r.expired;
    sum.memory_used += r.memory_used;
    sum.connections += r.connections;
    sum.connections_total += r.connections_total;
    sum.accept_failures += r.accept_failures;
    sum.connections_refused += r.connections_refused;
    shards += fmt::format("shard{}:keys={},commands={}\r\n", s, r.keys, r.commands);
  }
  std::int64_t uptime = (clock::wall().count() / 1'000'000 - settings.started_ms) / 1000;
  const std::pair<std::string_view, std::string> sections[] = {
      {"Server", fmt::format("redis_version:{}\r\nserver_name:skerry\r\nredis_mode:standalone\r\nprocess_id:{}\r\n"
                             "tcp_port:{}\r\nuptime_in_seconds:{}\r\n",
                             spoken_version, ::getpid(), settings.port, uptime)},
      {"Clients", fmt::format("connected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:0\r\n", sum.connections,
                              settings.connections_max)},
      {"Memory", fmt::format("used_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:noeviction\r\n", sum.memory_used,
                             settings.memory_max)},
      {"Stats",
       fmt::format("total_connections_received:{}\r\ntotal_commands_processed:{}\r\nrejected_connections:{}\r\n"
                   "expired_keys:{}\r\naccept_failures:{}\r\n",
                   sum.connections_total, sum.commands, sum.connections_refused, sum.expired, sum.accept_failures)},
      {"Shards", shards},
      {"Keyspace", sum.keys == 0 ? "" : fmt::format("db0:keys={},expires={},avg_ttl=0\r\n", sum.keys, sum.expiring)},
  };
  std::string text;
  for (const auto& [name, lines] : sections) {
    std::string lower(name);
    lower[0] = static_cast<char>(lower[0] + ('a' - 'A'));
    if (asks_for(args, lower)) text += fmt::format("{}# {}\r\n{}", text.empty() ? "" : "\r\n", name, lines);
  }
  return text;
}

}  // namespace

task<> execute_on_all_shards(const command_info& info, arguments args, const server_settings& settings,
                             reply_buffer& out) {
  switch (info.id) {
    case command_id::dbsize: {
      std::vector<shard_report> reports = co_await all_reports();
      std::uint64_t total = 0;
      for (const shard_report& r : reports) total += r.keys;
      net::resp::write_integer(out, static_cast<std::int64_t>(total));
      break;
    }
    case command_id::flushall:
      if (!parse_flushall(args, out)) break;
      co_await flush_all();
      net::resp::write_ok(out);
      break;
    case command_id::keys: co_await keys(std::string(args[1]), out); break;
    case command_id::scan: {
      std::optional<scan_request> wanted = parse_scan(args, out);
      if (wanted) co_await scan(*wanted, out);
      break;
    }
    case command_id::info: {
      std::vector<shard_report> reports = co_await all_reports();
      net::resp::write_bulk(out, info_text(args, reports, settings));
      break;
    }
    default: SKERRY_ASSERT(false, "only commands for all shards come here");
  }
}

}  // namespace kv_server
