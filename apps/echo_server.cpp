// SPDX-License-Identifier: Apache-2.0
// Sends back whatever arrives, on every core. Try it with: nc 127.0.0.1 7777
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/activation.hpp>
#include <skerry/net/server.hpp>
#include <skerry/net/server_flags.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/toolkit/observe/stall_detector.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

namespace {

using namespace skerry;

task<> echo(net::stream connection) {
  while (true) {
    buffer bytes = co_await connection.read();
    if (bytes.empty()) break;
    co_await connection.write(bytes);
  }
}

task<> serve(const net::server_flags& flags, const stall_flag& stalls) {
  co_await stalls.watch();
  co_await dump_tasks_on_sigquit();
  const net::server_options limits = flags.options();
  auto handler = [](net::stream s) { return echo(std::move(s)); };
  auto activated = net::take_activated_sockets();  // from systemd, or whoever started us with sockets
  for (net::activated_socket& each : activated) {
    co_await net::start_server(net::listener(std::move(each.fd)), handler, limits);
  }
  if (!activated.empty()) co_return;
  const app_options& options = app::running_options();
  std::optional<net::address> at = net::address::parse(options.bind, options.port.value_or(7777));
  if (!at) throw startup_error("--bind takes an IP address");
  net::shut_down_when_handed_over(co_await net::start_server(*at, handler, limits));
}

}  // namespace

int main(int argc, char** argv) {
  skerry::app app("echo_server", "sends back whatever arrives", "0.1.0", 7777);
  const net::server_flags flags(app.options());
  const stall_flag stalls(app.options());
  return app.run(argc, argv, [&] { return serve(flags, stalls); });
}
