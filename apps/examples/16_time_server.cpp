// SPDX-License-Identifier: Apache-2.0
// Datagrams: whoever sends one gets the time back, in UTC, from whichever shard the kernel gave it to.
// Run it with: build/release/apps/16_time_server --port 7037
// and then: echo what time is it | nc -u -w1 127.0.0.1 7037
#include <skerry/net/datagram.hpp>
#include <skerry/shards/app.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/chrono.h>

namespace {

using namespace skerry;

std::string time_line() {
  const std::chrono::seconds since_1970 = std::chrono::duration_cast<std::chrono::seconds>(clock::wall());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ} from shard {}\n", fmt::gmtime(since_1970.count()), this_shard_id());
}

/// Ends when the app drains.
task<> answer_all(net::datagram_socket socket) {
  while (std::optional<net::datagram> asked = co_await socket.receive()) {
    const std::string line = time_line();
    try {
      co_await socket.send(asked->from(), line);
    } catch (const std::system_error&) {
      // This one cannot be reached; the next one may.
    }
  }
}

task<> run() {
  const app_options& options = app::running_options();
  const std::optional<net::address> at = net::address::parse(options.bind, *options.port);
  co_await net::bind_on_all_shards(*at, [](net::datagram_socket socket) { return answer_all(std::move(socket)); });
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("16_time_server", "tells the time by UDP", "1.0", 7037).run(argc, argv, run);
}
