// SPDX-License-Identifier: Apache-2.0
// A server whose connections go to the data: the first line names a board, and from then on the client is served by the
// shard that has it, without a message between shards. What was sent along with the first line goes along.
// Run it with: build/release/apps/19_rebalance --port 7039 &
// and then: printf 'tides\nhigh at noon\nlow at six\n' | nc -w1 127.0.0.1 7039
#include <skerry/framework/resources.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/shard_map.hpp>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace {

using namespace skerry;

constexpr std::size_t line_max = 1000;
using boards = std::map<std::string, unsigned>;  // lines on each; a resource: every shard has those that are its own

task<> serve_board(net::stream client, std::string name) {
  net::buffered_reader in(client);
  while (const std::optional<std::string_view> line = co_await in.read_line(line_max)) {
    const unsigned count = ++resource<boards>()[name];
    co_await client.write(name + ' ' + std::to_string(count) + ": " + std::string(*line) + '\n');
  }
}

task<> find_board(net::stream client) {
  net::buffered_reader in(client);
  const std::optional<std::string_view> first = co_await in.read_line(line_max);
  if (!first) co_return;
  std::string name(*first);
  const shard_id owner = shard_map().shard_of(std::hash<std::string>{}(name));
  in.give_back();  // what came behind the first line
  const auto serve_there = [](net::stream moved, std::string of) {
    return serve_board(std::move(moved), std::move(of));
  };
  co_await std::move(client).move_to(owner, serve_there, std::move(name));
}

task<> run() {
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, [] { resources().emplace<boards>(); });
  const app_options& options = app::running_options();
  net::server_options how;
  how.accept = net::accept_policy::least_loaded;  // until the board is known, where there is least to do
  const auto handler = [](net::stream client) { return find_board(std::move(client)); };
  co_await net::listen_on_all_shards(net::address::parse(options.bind, *options.port).value(), handler, how);
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("19_rebalance", "serves clients where their data is", "1.0", 7039).run(argc, argv, run);
}
