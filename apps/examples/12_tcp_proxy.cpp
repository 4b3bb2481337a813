// SPDX-License-Identifier: Apache-2.0
// A TCP proxy: passes bytes both ways, to the first of its servers' addresses that answers.
// Run it with: build/release/apps/12_tcp_proxy --to 127.0.0.1:7777,[::1]:7777    while 07_line_server runs
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <sstream>

namespace {

using namespace skerry;
using servers = std::vector<net::address>;  // a resource: each shard has its own

task<> pass_on(net::stream& from, net::stream& to) {
  for (buffer bytes = co_await from.read(); !bytes.empty(); bytes = co_await from.read()) {
    co_await to.write(bytes);  // waits for a slow reader, and so does not read for it
  }
  to.shutdown_output();  // the end is passed on, too; the other direction goes on
}

task<> serve_client(net::stream client) {
  try {
    auto server = co_await with_timeout(std::chrono::seconds(5), net::connect(resource<servers>()));
    co_await when_all(pass_on(client, server), pass_on(server, client));
  } catch (const std::system_error& broken) {
    log::info("connection: {}", broken.what());  // both ends close
  }
}

constexpr auto prepare = [](const std::string& list) {
  servers& here = resources().emplace<servers>();
  std::istringstream words(list);
  for (std::string word; std::getline(words, word, ',');) {
    here.push_back(net::address::parse(word).value_or(net::address()));
    if (here.back().family() == 0) throw startup_error("--to takes ADDR:PORT,…; this is none: " + word);
  }
};

task<> serve(std::string to) {
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, prepare, to);
  auto at = net::address::parse(app::running_options().bind, *app::running_options().port);
  if (!at) throw startup_error("--bind takes an IP address");
  co_await net::listen_on_all_shards(*at, [](net::stream client) { return serve_client(std::move(client)); });
}

}  // namespace

int main(int argc, char** argv) {
  skerry::app app("12_tcp_proxy", "passes bytes both ways", "1.0", 7778);
  std::string to = "127.0.0.1:7777";
  app.options().add_option("to", to, "addresses of the server, tried in this order");
  return app.run(argc, argv, [&] { return serve(to); });
}
