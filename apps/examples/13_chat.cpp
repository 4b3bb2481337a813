// SPDX-License-Identifier: Apache-2.0
// A chat over a Unix socket: whoever connects, on whichever shard, sees what all say, and the kernel tells who it is.
// Run it with: build/release/apps/13_chat --at unix:/tmp/chat    and join, more than once, with: nc -U /tmp/chat
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>

#include <set>

namespace {

using namespace skerry;
using room = std::set<net::stream*>;  // a resource: the clients of one shard

constexpr auto tell_all_here = [](const std::string& line) {
  std::erase_if(resource<room>(), [&](net::stream* each) {
    try {
      if (each->try_write(std::as_bytes(std::span(line))) == line.size()) return false;
      each->shutdown_output();  // 64 KiB behind: whoever does not listen is shown the door
      return true;
    } catch (const std::system_error&) {
      return true;  // it has left
    }
  });
};

task<> serve_client(net::stream client) {
  const auto leave = [](net::stream* who) { resource<room>().erase(who); };
  const std::unique_ptr<net::stream, decltype(leave)> inside(*resource<room>().insert(&client).first, leave);
  const std::string name = "user " + std::to_string(net::peer_credentials(client.fd()).uid) + ": ";
  try {
    net::buffered_reader in(client);
    while (auto words = co_await in.read_line(1000)) {
      const std::string line = name + std::string(*words) + '\n';
      for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, tell_all_here, line);
    }
  } catch (const std::system_error& broken) {
    log::info("{}{}", name, broken.what());
  }
}

task<> serve(std::string text) {
  const auto at = net::address::parse(text);
  if (!at || !at->is_unix()) throw startup_error("--at takes unix:PATH or unix:@NAME");
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, [] { resources().emplace<room>(); });
  co_await net::listen_on_all_shards(*at, [](net::stream client) { return serve_client(std::move(client)); });
}

}  // namespace

int main(int argc, char** argv) {
  skerry::app app("13_chat", "passes lines on to everybody");
  std::string at = "unix:@chat";
  app.options().add_option("at", at, "the socket, as unix:PATH or unix:@NAME");
  return app.run(argc, argv, [&] { return serve(at); });
}
