// SPDX-License-Identifier: Apache-2.0
// A key-value server that speaks RESP2: keys live on the shard that their hash names. Talk to it with redis-cli -p
// 6379.
#include <skerry/net/server_flags.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/topology.hpp>
#include <skerry/toolkit/observe/stall_detector.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

#include <kv_server/server.hpp>

int main(int argc, char** argv) {
  skerry::app app("kv_server", "a sharded key-value server that speaks RESP2", "0.1.0", 6379);
  skerry::byte_size memory_max{skerry::memory_limit_bytes() / 4 * 3};
  app.options().add_option("maxmemory", memory_max, "keys and values of all shards together hold at most this",
                           skerry::byte_size{1 << 20});
  const skerry::net::server_flags flags(app.options(), skerry::net::hot_restart::none);  // the keys would stay behind
  const skerry::stall_flag stalls(app.options());
  return app.run(argc, argv, [&]() -> skerry::task<> {
    co_await stalls.watch();
    co_await skerry::dump_tasks_on_sigquit();
    co_await kv_server::serve_all(memory_max.bytes, flags.options());
  });
}
