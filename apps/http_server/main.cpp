// SPDX-License-Identifier: Apache-2.0
// A small HTTP service: a greeting, items that live on their shards, and with --static DIRECTORY its files. Talk to it
// with curl localhost:8080/items/1.
#include <skerry/net/server_flags.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/toolkit/observe/stall_detector.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

#include <string>
#include <utility>

#include <http_server/service.hpp>

int main(int argc, char** argv) {
  skerry::app app("http_server",
                  "a small HTTP service whose items live on their shards; /items/1 is the first shard's example, "
                  "and /openapi.json lists what can be asked",
                  "0.1.0", http_server::default_port);
  std::string files;
  app.options().add_option("static", files, "directory whose files are served at /static/; none unless it is given");
  const skerry::net::server_flags flags(app.options());
  const skerry::stall_flag stalls(app.options());
  return app.run(argc, argv, [&]() -> skerry::task<> {
    co_await stalls.watch();
    co_await skerry::dump_tasks_on_sigquit();
    skerry::net::http::server_options limits;
    limits.connections = flags.options(limits.connections);
    co_await http_server::serve_all(files, std::move(limits));
  });
}
