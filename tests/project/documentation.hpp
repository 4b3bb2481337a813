// SPDX-License-Identifier: Apache-2.0
#pragma once

/// documentation: names that code in essays takes for granted, declared so that it compiles. Nothing is run.

#include <skerry/net/http/client.hpp>
#include <skerry/net/http/compression.hpp>
#include <skerry/net/http/conditional.hpp>
#include <skerry/net/http/events.hpp>
#include <skerry/net/http/json.hpp>
#include <skerry/net/http/middleware.hpp>
#include <skerry/net/http/static_files.hpp>
#include <skerry/net/resp/writer.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/skerry.hpp>
#include <skerry/toolkit/alien/embedded.hpp>
#include <skerry/toolkit/channel/oneshot.hpp>
#include <skerry/toolkit/flow/deadline.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>
#include <skerry/toolkit/flow/hops.hpp>
#include <skerry/toolkit/flow/post_to.hpp>
#include <skerry/toolkit/flow/service_group.hpp>
#include <skerry/toolkit/generator/generator.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/pool/parallel.hpp>
#include <skerry/toolkit/pool/timed_executor.hpp>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>

namespace documentation {

using namespace skerry;
using namespace skerry::net::resp;
// No `using namespace` for http: it has a request_parser and a verdict, too.
namespace http = net::http;
using net::http::body_writer;
using net::http::json;
using net::http::json_response;
using net::http::path;
using net::http::query;
using net::http::request;
using net::http::response;

extern int fd;
extern int argc;
extern char** argv;
extern std::uint64_t seed;
extern std::uint64_t task_number;
extern std::vector<int> slots;
extern std::vector<std::string> files;
extern std::vector<task<int>> tasks;
extern std::string file;
extern std::string key;
extern std::string fields;
extern shard_id owner;
extern shard_id i;
extern unsigned limit;
extern net::stream s;
extern net::stream connection;
extern net::listener l;
extern net::address at;
extern reply_buffer out;
extern host& running;

void fail();
bool connected();
void send_heartbeat();
void reload();
void look_at(int fd);
void look_at(std::span<const std::byte> block);
std::size_t make_bytes(std::span<std::byte> room);
void look_at(const std::string& line);
void use(int a, int b);
void leave(int status, const std::string& text);
task<int> count();
task<> count_into(oneshot_sender<int> to);
task<int> count_words(std::string file);
task<std::string> read_line(net::stream& from);
generator<std::string> lines(net::stream& from);
void note(const std::string& text);
void drop();
void set_limit(unsigned most);
inline constexpr service_group storage("storage", 1, 128);
void give_up();
std::string shrink(std::string big);
int add_up(std::span<const int> numbers);
std::size_t count_with_a_library(const std::string& file);
task<> serve(net::stream client);
task<> serve(net::stream client, std::string key);
task<> serve(net::message_socket client);
task<> serve(net::server_options limits);
http::handler make();
task<> save_state();
task<> pass_on(int hops);
task<> load_configuration();
task<> greet_everybody();
task<> serve_all();
task<> count_and_check();
task<> rebuild_index();
bool no_key_twice();
task<response> send_file(request& r);
task<bool> known_token(std::string_view token);

constexpr auto handler = [](net::stream client) { return serve(std::move(client)); };
constexpr auto fn = [](int n) { return n; };

struct item {
  std::uint64_t id;
  std::string name;
};
SKERRY_JSON_FIELDS(item, id, name)

struct session {
  void touch();
};
struct tenant {
  shard_id number;
};
struct counters {
  explicit counters(unsigned limit);
  void add(int n);
  int value() const;
};
struct store {
  std::size_t erase(const std::string& key);
};
store& local_store();

}  // namespace documentation
