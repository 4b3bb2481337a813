// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/random.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>

#include <kv_server/connection.hpp>
#include <kv_server/kv_shard.hpp>
#include <kv_server/server.hpp>
#include <kv_server/session.hpp>

namespace kv_server {

using namespace skerry;

task<> serve_all(std::uint64_t memory_max, net::server_options limits) {
  const app_options& options = app::running_options();
  std::optional<net::address> at = net::address::parse(options.bind, options.port.value_or(6379));
  if (!at) throw startup_error("--bind takes an IP address");
  server_settings settings;
  limits.refusal = "-ERR max number of clients reached\r\n";
  settings.memory_max = memory_max;
  settings.connections_max = limits.connections_max;
  settings.hash_seed = (*this_shard().random)();
  settings.port = at->port();
  settings.started_ms = clock::wall().count() / 1'000'000;
  for (shard_id s = 0; s < shard_count(); ++s) {
    co_await submit_to(
        s,
        [](server_settings given) {
          resources().emplace<server_settings>(given);
          resources().emplace<kv_shard>(given.memory_max / shard_count());
          resources().emplace<session_pool>();
        },
        settings);
  }
  const auto handler = [](net::stream s) { return serve(std::move(s)); };
  co_await net::start_server(*at, handler, limits);
}

}  // namespace kv_server
