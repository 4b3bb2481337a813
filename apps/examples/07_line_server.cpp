// SPDX-License-Identifier: Apache-2.0
// A TCP server on all shards: answers each line in upper case. Ctrl-C ends it, after what is in flight.
// Run it with: build/release/apps/07_line_server    and talk to it with: build/release/apps/08_client 7777 hello
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using namespace skerry;

constexpr std::size_t line_max = 4096;  // nothing that a client sends may make us hold more

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

/// One task per connection, on the shard that accepted it.
task<> serve_client(net::stream client) {
  try {
    net::buffered_reader in(client);
    while (std::optional<std::string_view> line = co_await in.read_line(line_max)) {
      // Suspends while much is unsent. So who does not read its answers is not read from either.
      co_await client.write(upper(std::string(*line)) + '\n');
    }
  } catch (const std::system_error& broken) {
    log::info("connection: {}", broken.what());
  }
}  // dropping the stream sends the rest and closes

task<> serve() {
  const app_options& options = app::running_options();
  std::optional<net::address> at = net::address::parse(options.bind, *options.port);
  if (!at) throw startup_error("--bind takes an IP address");
  co_await net::listen_on_all_shards(*at, [](net::stream client) { return serve_client(std::move(client)); });
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("07_line_server", "answers lines in upper case", "1.0", 7777).run(argc, argv, serve);
}
