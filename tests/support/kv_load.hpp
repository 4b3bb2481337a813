// SPDX-License-Identifier: Apache-2.0
#pragma once

/// kv_load: the key-value server and its clients as a simulation loads them, where it is measured and where it is
/// tested.
///
/// Affinity: `serve` is a host's main, `be_client` another's.
/// Limits:   a thousand keys, of which a third end by themselves; a client sends a hundred commands a second at most.

#include <skerry/net/connect.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include <kv_server/server.hpp>

namespace skerry::kv_load {

inline task<> serve() { return kv_server::serve_all(std::uint64_t{1} << 30, {}); }

/// A command, its answer, ten milliseconds of thought.
inline task<> be_client(std::string server, clock::duration how_long) {
  net::stream s = co_await net::connect(*net::address::parse(server, 6379));
  const clock::time_point until = clock::now() + how_long;
  while (clock::now() < until) {
    std::string command = "SET k" + std::to_string(sim::draw(1000)) + " v";
    if (sim::draw(3) == 0) command += " PX 5000";
    command += "\r\n";
    co_await s.write(std::as_bytes(std::span(command)));
    co_await s.read();
    co_await sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace skerry::kv_load
