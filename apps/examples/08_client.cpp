// SPDX-License-Identifier: Apache-2.0
// block_on: tasks in a plain main, on one shard made for the occasion. Sends a line to 127.0.0.1 and prints the answer.
// Run it with: build/release/apps/08_client 7777 hello    while build/release/apps/07_line_server runs
#include <skerry/net/stream.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include <fmt/core.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

task<std::string> ask(net::address server, std::string line) {
  line += '\n';
  net::stream connection = co_await net::connect(server);
  co_await connection.write(line);
  std::string answer;
  while (!answer.ends_with('\n')) {
    buffer bytes = co_await connection.read();  // what has arrived; rarely just one line
    if (bytes.empty()) break;
    answer.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  co_return answer;
}

task<std::string> ask_within(clock::duration limit, net::address server, std::string line) {
  co_return co_await with_timeout(limit, ask(server, line));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: {} PORT LINE\n", argv[0]);
    return 1;
  }
  try {
    auto server = net::address::parse("127.0.0.1", static_cast<std::uint16_t>(std::atoi(argv[1])));
    fmt::print("{}", skerry::block_on(ask_within(5s, server.value(), argv[2])));
    return 0;
  } catch (const std::exception& failed) {
    fmt::print(stderr, "{}\n", failed.what());
    return 1;
  }
}
