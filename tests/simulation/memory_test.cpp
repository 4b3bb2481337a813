// SPDX-License-Identifier: Apache-2.0
// An hour of the loaded key-value server in a simulation takes no more memory than its first ten minutes.
#include <skerry/net/connect.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <kv_server/server.hpp>
#include <malloc.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

task<> serve() { return kv_server::serve_all(std::uint64_t{1} << 30, {}); }

/// A command, its answer, ten milliseconds of thought; a third of the keys end by themselves.
task<> be_client(std::string server, clock::duration how_long) {
  net::stream s = co_await net::connect(*net::address::parse(server, 6379));
  const clock::time_point until = clock::now() + how_long;
  while (clock::now() < until) {
    std::string command = "SET k" + std::to_string(sim::draw(1000)) + " v";
    if (sim::draw(3) == 0) command += " PX 5000";
    command += "\r\n";
    co_await s.write(std::as_bytes(std::span(command)));
    co_await s.read();
    co_await sleep_for(10ms);
  }
}

TEST(memory, of_a_simulation_does_not_grow_with_its_time) {
  std::vector<std::size_t> in_use;  // after each minute
  sim::options o;
  o.steps_max = std::numeric_limits<std::uint64_t>::max();
  const sim::report ended = sim::run(o, [&]() -> task<> {
    sim::host_handle server = sim::host("server", 8);
    server.start(serve);
    co_await sleep_for(10ms);
    for (int i = 0; i < 3; ++i) {
      sim::host_handle client = sim::host("client" + std::to_string(i));
      client.start([ip = server.ip()] { return be_client(ip, 1h); }, true);
    }
    for (int minute = 1; minute < 60; ++minute) {
      co_await sleep_for(1min);
      in_use.push_back(::mallinfo2().uordblks);
    }
  });
  EXPECT_EQ(ended.violation, "");
  ASSERT_GE(in_use.size(), 50u);
  std::cout << in_use[9] / 1024 << " KiB after ten minutes, " << in_use.back() / 1024 << " KiB at the end\n";
  EXPECT_LE(in_use.back(), in_use[9] + in_use[9] / 50);
}

}  // namespace
