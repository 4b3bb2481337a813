// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/http/json.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/net/http/static_files.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <http_server/items.hpp>
#include <http_server/openapi.hpp>
#include <http_server/service.hpp>

namespace http_server {

/// What a client sends: the number is the server's to give.
struct new_item {
  std::string name;
  std::int64_t price = 0;
};
SKERRY_JSON_FIELDS(new_item, name, price)
SKERRY_JSON_FIELDS(item, id, name, price)

namespace {

using namespace skerry;
using namespace skerry::net::http;
using id_path = path<"id", std::uint64_t>;

constexpr std::size_t listed_max = 1000;

[[noreturn]] void no_such(std::uint64_t id) { throw http_error(404, "there is no item " + std::to_string(id)); }

response make(json<new_item> sent, resource_of<item_store> here) {
  const std::optional<item> made = here->add(item{0, sent->name, sent->price});
  if (!made) throw http_error(507, "this shard has no room for more items");
  return json_response(*made, 201).header("Location", "/items/" + std::to_string(made->id));
}

task<response> show(id_path id) {
  const std::optional<item> found = co_await find_item(*id);
  if (!found) no_such(*id);
  co_return json_response(*found);
}

task<response> change(id_path id, json<new_item> sent) {
  const item changed{*id, sent->name, sent->price};
  const bool done = co_await replace_item(changed);
  if (!done) no_such(*id);
  co_return json_response(changed);
}

task<response> remove(id_path id) {
  const bool done = co_await remove_item(*id);
  if (!done) no_such(*id);
  co_return response(204);
}

task<response> list(query<"from", std::optional<std::uint64_t>> from,
                    query<"limit", std::optional<std::size_t>> limit) {
  const std::size_t most = std::min(limit->value_or(100), listed_max);
  const std::vector<item> some = co_await list_items(from->value_or(0), most);
  co_return json_response(some);
}

/// Where the files are, as the command line says; on each shard.
struct static_root {
  std::string path;
};

}  // namespace

router make_router(const std::string& files) {
  router r;
  r.get("/", [] { return response::literal("text/plain", "Hello, World!"); });
  r.get("/json", [] { return response::literal("application/json", R"({"message":"Hello, World!"})"); });
  r.get("/openapi.json", [] { return response::literal("application/json", openapi); });
  r.get("/items", list).post("/items", make);
  r.get("/items/{id}", show).put("/items/{id}", change).delete_("/items/{id}", remove);
  if (!files.empty()) r.get("/static/{path...}", static_files(files));
  return r;
}

task<> serve_all(std::string files, server_options limits) {
  const app_options& options = app::running_options();
  std::optional<net::address> at = net::address::parse(options.bind, options.port.value_or(default_port));
  if (!at) throw startup_error("--bind takes an IP address");
  const auto keep = [](const std::string& path) {
    resources().emplace<static_root>(path);
    resources().emplace<item_store>();
  };
  // On all before the first serves: its clients may ask for an item of any other.
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, keep, files);
  co_await serve(*at, [] { return handler(make_router(resource<static_root>().path)); }, std::move(limits));
}

}  // namespace http_server
