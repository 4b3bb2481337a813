// SPDX-License-Identifier: Apache-2.0
// Serves the directory that it is started in, beneath /files/, to browsers: index.html, ranges, "not modified".
// Run it with: build/release/apps/14_static_files    and talk to it with: curl localhost:8080/files/README.md
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/http/middleware.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/net/http/server.hpp>
#include <skerry/net/http/static_files.hpp>
#include <skerry/shards/app.hpp>

#include <optional>
#include <utility>

namespace {

using namespace skerry;
using namespace skerry::net;

http::handler make() {
  http::static_options options;
  options.cache_control = "no-cache";  // keep it, and ask each time whether it is still the same
  options.types.emplace_back("hpp", "text/plain; charset=utf-8");
  options.types.emplace_back("cpp", "text/plain; charset=utf-8");
  http::router site;
  site.use(http::access_log());
  site.get("/files/{path...}", http::static_files(".", options));
  return http::handler(std::move(site));
}

task<> serve() {
  const app_options& options = app::running_options();
  std::optional<address> at = address::parse(options.bind, *options.port);
  if (!at) throw startup_error("--bind takes an IP address");
  co_await http::serve(*at, [] { return make(); });  // on each shard: a router and a descriptor of the directory
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("14_static_files", "serves a directory", "1.0", 8080).run(argc, argv, serve);
}
