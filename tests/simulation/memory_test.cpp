// SPDX-License-Identifier: Apache-2.0
// An hour of the loaded key-value server in a simulation takes no more memory than its first ten minutes.
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <malloc.h>
#include <support/kv_load.hpp>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

using kv_load::be_client;
using kv_load::serve;

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
