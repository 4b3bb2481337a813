// SPDX-License-Identifier: Apache-2.0
// A key-value server that speaks RESP2: keys live on the shard that their hash names. Talk to it with redis-cli -p
// 6379.
#include <skerry/framework/random.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/server.hpp>
#include <skerry/net/server_flags.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/topology.hpp>
#include <skerry/toolkit/observe/stall_detector.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

#include <kv_server/connection.hpp>
#include <kv_server/kv_shard.hpp>
#include <kv_server/session.hpp>

namespace {

using namespace skerry;

task<> serve_all(std::uint64_t memory_max, const net::server_flags& flags, const stall_flag& stalls) {
  co_await stalls.watch();
  co_await dump_tasks_on_sigquit();
  const app_options& options = app::running_options();
  std::optional<net::address> at = net::address::parse(options.bind, options.port.value_or(6379));
  if (!at) throw startup_error("--bind takes an IP address");
  kv_server::server_settings settings;
  net::server_options limits = flags.options();
  limits.refusal = "-ERR max number of clients reached\r\n";
  settings.memory_max = memory_max;
  settings.connections_max = limits.connections_max;
  settings.hash_seed = (*this_shard().random)();
  settings.port = at->port();
  settings.started_ms = clock::wall().count() / 1'000'000;
  for (shard_id s = 0; s < shard_count(); ++s) {
    co_await submit_to(
        s,
        [](kv_server::server_settings given) {
          resources().emplace<kv_server::server_settings>(given);
          resources().emplace<kv_server::kv_shard>(given.memory_max / shard_count());
          resources().emplace<kv_server::session_pool>();
        },
        settings);
  }
  const auto handler = [](net::stream s) { return kv_server::serve(std::move(s)); };
  co_await net::start_server(*at, handler, limits);
}

}  // namespace

int main(int argc, char** argv) {
  skerry::app app("kv_server", "a sharded key-value server that speaks RESP2", "0.1.0", 6379);
  skerry::byte_size memory_max{skerry::memory_limit_bytes() / 4 * 3};
  app.options().add_option("maxmemory", memory_max, "keys and values of all shards together hold at most this",
                           skerry::byte_size{1 << 20});
  const skerry::net::server_flags flags(app.options(), skerry::net::hot_restart::none);  // the keys would stay behind
  const skerry::stall_flag stalls(app.options());
  return app.run(argc, argv, [&] { return serve_all(memory_max.bytes, flags, stalls); });
}
