// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>

#include <memory>
#include <utility>

#include <kv_server/connection.hpp>
#include <kv_server/kv_shard.hpp>
#include <kv_server/server_commands.hpp>
#include <kv_server/session.hpp>

namespace kv_server {

using namespace skerry;

namespace {

/// What lives as long as the connection: its name in the shard's count, and a session while it needs one.
class connection {
 public:
  connection() {
    kv_shard& here = resource<kv_shard>();
    ++here.connections;
    state.id = (++here.connections_total * shard_count() + this_shard_id()) & client_state::id_max;
  }
  ~connection() { --resource<kv_shard>().connections; }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  client_state state;
  std::unique_ptr<session> at_work;
};

}  // namespace

task<> serve(net::stream client) {
  connection served;
  while (!served.state.closing) {
    co_await client.readable();
    if (served.at_work == nullptr) served.at_work = resource<session_pool>().take();
    co_await served.at_work->run(client, served.state);
    if (served.at_work->idle()) resource<session_pool>().give_back(std::move(served.at_work));
  }
}

}  // namespace kv_server
