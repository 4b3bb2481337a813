// SPDX-License-Identifier: Apache-2.0
/// http_server with ten thousand clients that have been answered and now say nothing.

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <support/server_process.hpp>
#include <sys/resource.h>

namespace {

using skerry::test::blocking_client;
using skerry::test::server_process;

constexpr std::size_t wanted = 10'000;
constexpr std::size_t for_others = 500;  // descriptors of the server's rings, files and the like

/// As many connections as the limit of descriptors, raised as far as it goes, leaves room for.
std::size_t connections_possible() {
  rlimit limit{};
  EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, std::max<rlim_t>(limit.rlim_cur, wanted + for_others));
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);  // the server inherits it
  return std::min(wanted, static_cast<std::size_t>(limit.rlim_cur) - for_others);
}

/// Bytes that only this process has.
std::size_t private_bytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::size_t total = 0, kilobytes = 0;
  std::string word;
  while (file >> word) {
    if ((word == "Private_Dirty:" || word == "Private_Clean:") && file >> kilobytes) total += kilobytes * 1024;
  }
  EXPECT_GT(total, 0u);
  return total;
}

void ask(blocking_client& client) {
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  std::string answer;
  while (!answer.ends_with("Hello, World!")) {
    const std::string more = client.receive();
    ASSERT_FALSE(more.empty()) << answer;
    answer += more;
  }
}

TEST(http_server, ten_thousand_idle_clients_cost_bounded_memory_each_and_are_still_served) {
  const std::size_t count = connections_possible();
  if (count < wanted) std::printf("only %zu connections: the limit of descriptors (ulimit -Hn) is too low\n", count);
  server_process server(HTTP_SERVER, {"--shards", "2", "--overprovision", "--admin", "off"});
  {
    // Whatever is made for the first requests is made; that many at once are never asked again.
    std::vector<std::unique_ptr<blocking_client>> some;
    for (int i = 0; i < 100; ++i) ask(*some.emplace_back(std::make_unique<blocking_client>(server.port())));
  }
  const std::size_t before = private_bytes(server.pid());
  std::vector<std::unique_ptr<blocking_client>> clients;
  for (std::size_t i = 0; i < count; ++i) {
    ask(*clients.emplace_back(std::make_unique<blocking_client>(server.port())));
  }
  const std::size_t each = (private_bytes(server.pid()) - before) / count;
  std::printf("%zu idle connections, %zu bytes each\n", count, each);
  EXPECT_LT(each, 2048u);
  for (std::size_t i = 0; i < count; i += count / 100) ask(*clients[i]);
  clients.clear();
  blocking_client late(server.port());
  ask(late);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

}  // namespace
