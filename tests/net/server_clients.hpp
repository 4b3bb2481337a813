// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server_clients: a server that echoes the number of its shard, and what its clients ask and hear.

#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/server.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry::server_tests {

using namespace std::chrono_literals;
using net::drain_result;
using net::server_options;
using net::server_stats;
using net::start_server;
using test_support::loopback;
using test_support::manual_clock;
using test_support::quiet_options;
using test_support::raw_peer;
using test_support::read_all;
using test_support::run_shards;
using test_support::text_of;
using test_support::turn;

/// Answers each byte with the shard's number, until the end.
inline task<> echo(net::stream client) {
  while (true) {
    const buffer bytes = co_await client.read();
    if (bytes.empty()) co_return;
    co_await client.write(std::string(bytes.size(), static_cast<char>('0' + this_shard_id())));
  }
}
inline constexpr auto echo_handler = [](net::stream client) { return echo(std::move(client)); };

/// One question and its answer; false if the end or a reset came instead.
inline task<bool> ask(raw_peer& peer) {
  try {
    co_await peer.send("?");
    const std::string answer = co_await peer.receive_exactly(1);
    co_return answer.size() == 1;
  } catch (const std::system_error&) {
    co_return false;
  }
}

/// Whether its kernel has the answer.
inline bool has_answer(const raw_peer& peer) {
  return peer.fd() >= 0 && test_support::queued_bytes(peer.fd(), SIOCINQ) > 0;
}
inline std::size_t answered(const std::vector<raw_peer>& peers) {
  return static_cast<std::size_t>(std::ranges::count_if(peers, has_answer));
}

inline task<> until(std::function<bool()> so) {
  while (!so()) co_await turn();
}

/// Turns enough for whatever the shards were about to do.
inline task<> settle() {
  for (int i = 0; i < 50; ++i) co_await turn();
}

inline std::uint64_t metric(const std::string& name, const std::string& label = "") {
  std::uint64_t sum = 0;
  for (const observe::sample& each : this_shard().metrics->take_snapshot()) {
    const bool fits =
        each.info.name == name &&
        (label.empty() || std::ranges::any_of(each.info.labels, [&](auto& has) { return has.value == label; }));
    if (!fits) continue;
    if (const auto* count = std::get_if<std::uint64_t>(&each.value)) sum += *count;
    if (const auto* gauge = std::get_if<std::int64_t>(&each.value)) sum += static_cast<std::uint64_t>(*gauge);
  }
  return sum;
}

}  // namespace skerry::server_tests
