// SPDX-License-Identifier: Apache-2.0
// Sends back whatever arrives, on every core. Try it with: nc 127.0.0.1 7777
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/activation.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>

namespace {

using namespace skerry;

task<> echo(net::stream connection) {
  try {
    while (true) {
      buffer bytes = co_await connection.read();
      if (bytes.empty()) break;
      co_await connection.write(bytes);
    }
  } catch (const std::system_error& broken) {
    log::debug("connection: {}", broken.what());
  }
}

task<> serve() {
  auto handler = [](net::stream s) { return echo(std::move(s)); };
  auto activated = net::take_activated_sockets();  // from systemd, or whoever started us with sockets
  for (net::activated_socket& each : activated) {
    co_await net::accept_on_all_shards(net::listener(std::move(each.fd)), handler);
  }
  if (!activated.empty()) co_return;
  const app_options& options = app::running_options();
  std::optional<net::address> at = net::address::parse(options.bind, options.port.value_or(7777));
  if (!at) throw startup_error("--bind takes an IP address");
  co_await net::listen_on_all_shards(*at, handler);
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("echo_server", "sends back whatever arrives", "0.1.0", 7777).run(argc, argv, serve);
}
