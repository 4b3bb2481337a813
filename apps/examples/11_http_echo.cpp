// SPDX-License-Identifier: Apache-2.0
// An HTTP server on all shards that answers with the body it was sent.
// Run it with: build/release/apps/11_http_echo    and talk to it with: curl --data-binary @README.md localhost:8080
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/http/server.hpp>
#include <skerry/shards/app.hpp>

#include <optional>
#include <string>
#include <utility>

namespace {

using namespace skerry;
using namespace skerry::net;

task<http::response> echo(http::request& r) {
  std::string body = co_await r.read_all();
  if (body.empty()) throw http::http_error(400, "send a body, and it will come back");
  co_return http::response::text(std::move(body));
}

task<> serve() {
  const app_options& options = app::running_options();
  std::optional<address> at = address::parse(options.bind, *options.port);
  if (!at) throw startup_error("--bind takes an IP address");
  co_await http::serve(*at, [] { return http::handler(echo); });  // a handler of its own for each shard
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("11_http_echo", "answers with what it was sent", "1.0", 8080).run(argc, argv, serve);
}
