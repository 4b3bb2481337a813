// SPDX-License-Identifier: Apache-2.0
// A server that is exchanged for its next version while clients keep coming: the second one that is started takes the
// port over, and the first one ends when it has served its clients.
// Run it with: build/release/apps/18_hot_restart --port 7038 &
// and then: echo hello | nc -w1 127.0.0.1 7038
// and then both once more.
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>

#include <optional>
#include <string>
#include <utility>

#include <unistd.h>

namespace {

using namespace skerry;

task<> tell_who_serves(net::stream client) {
  const buffer asked = co_await client.read();
  if (!asked.empty()) co_await client.write("process " + std::to_string(::getpid()) + "\n");
}

task<> run() {
  const app_options& options = app::running_options();
  const std::optional<net::address> at = net::address::parse(options.bind, *options.port);
  net::server_options limits;
  limits.hand_over = true;
  limits.connections_max = 10'000;
  limits.connections_per_address_max = 1'000;
  const auto handler = [](net::stream client) { return tell_who_serves(std::move(client)); };
  // Then the app drains: whoever was accepted here is served here.
  net::shut_down_when_handed_over(co_await net::start_server(*at, handler, limits));
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("18_hot_restart", "hands its port over to the next of its kind", "1.0", 7038).run(argc, argv, run);
}
