// SPDX-License-Identifier: Apache-2.0
/// http_server and the HTTP example as processes, over TCP.

#include <skerry/framework/resources.hpp>
#include <skerry/shards/block_on.hpp>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <http_server/items.hpp>
#include <http_server/service.hpp>
#include <net/http/ask.hpp>
#include <nlohmann/json.hpp>
#include <support/scratch_directory.hpp>
#include <support/server_process.hpp>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

using nlohmann::json;
using skerry::test::blocking_client;
using skerry::test::run_program;
using skerry::test::server_process;

const std::vector<std::string> four_shards{"--shards", "4", "--overprovision", "--log-level", "info"};

struct answer {
  unsigned status;
  std::string head, body;
};

/// One request on a connection of its own.
answer ask(std::uint16_t port, std::string_view method, const std::string& path, const std::string& sent = "",
           const std::string& fields = "") {
  blocking_client client(port);
  std::string request = std::string(method) + ' ' + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  request += fields;
  if (!sent.empty()) {
    if (fields.empty()) request += "Content-Type: application/json\r\n";
    request += "Content-Length: " + std::to_string(sent.size()) + "\r\n";
  }
  client.send(request + "\r\n" + sent);
  const std::string all = client.receive_exactly(1 << 20);
  const std::size_t end = all.find("\r\n\r\n");
  EXPECT_NE(end, std::string::npos) << all;
  return {static_cast<unsigned>(std::stoul(all.substr(9, 3))), all.substr(0, end + 2), all.substr(end + 4)};
}

TEST(http_server, greets) {
  server_process server(HTTP_SERVER, four_shards);
  const answer greeting = ask(server.port(), "GET", "/");
  EXPECT_EQ(greeting.status, 200u);
  EXPECT_EQ(greeting.body, "Hello, World!");
  EXPECT_NE(greeting.head.find("Content-Type: text/plain"), std::string::npos);
  EXPECT_EQ(json::parse(ask(server.port(), "GET", "/json").body)["message"], "Hello, World!");
}

TEST(http_server, serves_the_files_of_a_directory_when_it_is_given_one) {
  const skerry::test_support::scratch_directory here;
  here.put("index.html", "<p>top");
  here.put("a.txt", "text");
  std::vector<std::string> with_files = four_shards;
  with_files.insert(with_files.end(), {"--static", here.path()});
  server_process server(HTTP_SERVER, with_files);
  EXPECT_EQ(ask(server.port(), "GET", "/static/").body, "<p>top");
  EXPECT_EQ(ask(server.port(), "GET", "/static/a.txt").body, "text");
  EXPECT_EQ(ask(server.port(), "GET", "/static/../etc/passwd").status, 404u);
  EXPECT_EQ(ask(server.port(), "GET", "/").body, "Hello, World!");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_EQ(ask(server_process(HTTP_SERVER, four_shards).port(), "GET", "/static/a.txt").status, 404u);
  const auto refused = run_program(HTTP_SERVER, {"--static", here.file("none")});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("cannot serve the files of " + here.file("none")), std::string::npos) << refused.output;
}

TEST(http_server, item_1_is_there_from_the_start_with_any_number_of_shards) {
  for (const int shards : {1, 2, 3, 4}) {
    server_process server(HTTP_SERVER, {"--shards", std::to_string(shards), "--overprovision", "--admin", "off"});
    EXPECT_EQ(ask(server.port(), "GET", "/items/1").body, R"({"id":1,"name":"example on shard 0","price":100})");
    const json listed = json::parse(ask(server.port(), "GET", "/items").body);
    ASSERT_EQ(listed.size(), static_cast<std::size_t>(shards));
    for (int s = 0; s < shards; ++s) {
      EXPECT_EQ(listed[static_cast<std::size_t>(s)]["id"], s + 1);
      EXPECT_EQ(listed[static_cast<std::size_t>(s)]["name"], "example on shard " + std::to_string(s));
    }
    EXPECT_EQ(ask(server.port(), "GET", "/items/0").status, 404u);
    EXPECT_EQ(ask(server.port(), "GET", "/items/" + std::to_string(shards + 1)).status, 404u);
    EXPECT_EQ(ask(server.port(), "GET", "/items/18446744073709551615").status, 404u);
  }
}

TEST(http_server, a_number_is_never_given_twice) {
  server_process server(HTTP_SERVER, {"--shards", "2", "--overprovision", "--admin", "off"});
  std::set<std::uint64_t> given{1, 2};
  for (const std::uint64_t example : {1, 2}) {
    EXPECT_EQ(ask(server.port(), "DELETE", "/items/" + std::to_string(example)).status, 204u);
  }
  for (int n = 0; n < 20; ++n) {
    const json made = json::parse(ask(server.port(), "POST", "/items", R"({"name":"item","price":1})").body);
    EXPECT_TRUE(given.insert(made["id"].get<std::uint64_t>()).second) << made;
    EXPECT_EQ(ask(server.port(), "DELETE", "/items/" + made["id"].dump()).status, 204u);
  }
  EXPECT_EQ(ask(server.port(), "GET", "/items").body, "[]");
}

TEST(http_server, keeps_items_on_their_shards_whichever_is_asked) {
  server_process server(HTTP_SERVER, four_shards);
  // The kernel spreads connections, so most of these find their item on another shard.
  std::vector<std::uint64_t> ids;
  for (int n = 0; n < 40; ++n) {
    const answer made = ask(server.port(), "POST", "/items", json{{"name", "item"}, {"price", n}}.dump());
    ASSERT_EQ(made.status, 201u) << made.body;
    ids.push_back(json::parse(made.body)["id"]);
    EXPECT_NE(made.head.find("Location: /items/" + std::to_string(ids.back()) + "\r\n"), std::string::npos);
  }
  std::vector<std::uint64_t> sorted = ids;
  std::ranges::sort(sorted);
  EXPECT_EQ(std::ranges::unique(sorted).size(), 0u);
  sorted.insert(sorted.begin(), {1, 2, 3, 4});  // the examples
  for (int n = 0; n < 40; ++n) {
    const std::string path = "/items/" + std::to_string(ids[static_cast<std::size_t>(n)]);
    EXPECT_EQ(json::parse(ask(server.port(), "GET", path).body)["price"], n);
    const answer changed = ask(server.port(), "PUT", path, R"({"name":"other","price":-1})");
    EXPECT_EQ(changed.status, 200u);
    EXPECT_EQ(json::parse(ask(server.port(), "GET", path).body)["name"], "other");
  }
  const json listed = json::parse(ask(server.port(), "GET", "/items?limit=1000").body);
  ASSERT_EQ(listed.size(), 44u);
  for (std::size_t n = 0; n < 44; ++n) EXPECT_EQ(listed[n]["id"], sorted[n]);
  const json some = json::parse(ask(server.port(), "GET", "/items?limit=3&from=" + std::to_string(sorted[10])).body);
  ASSERT_EQ(some.size(), 3u);
  EXPECT_EQ(some[0]["id"], sorted[10]);
  const std::string path = "/items/" + std::to_string(ids[0]);
  EXPECT_EQ(ask(server.port(), "DELETE", path).status, 204u);
  EXPECT_EQ(ask(server.port(), "DELETE", path).status, 404u);
  EXPECT_EQ(ask(server.port(), "GET", path).status, 404u);
}

TEST(http_server, tells_what_is_wrong_with_a_request) {
  server_process server(HTTP_SERVER, four_shards);
  const answer word = ask(server.port(), "GET", "/items/anchor");
  EXPECT_EQ(word.status, 400u);
  EXPECT_NE(word.head.find("application/problem+json"), std::string::npos);
  EXPECT_NE(std::string(json::parse(word.body)["detail"]).find("id"), std::string::npos);
  EXPECT_EQ(ask(server.port(), "POST", "/items", R"({"name":"no price"})").status, 400u);
  EXPECT_EQ(ask(server.port(), "POST", "/items", "{").status, 400u);
  for (const std::string price : {"1.7", "18446744073709551615", "1e30"}) {
    const answer refused = ask(server.port(), "POST", "/items", R"({"name":"odd","price":)" + price + "}");
    EXPECT_EQ(refused.status, 400u) << price;
    EXPECT_TRUE(std::string(json::parse(refused.body)["detail"]).starts_with("body: price: is ")) << refused.body;
  }
  EXPECT_EQ(ask(server.port(), "PATCH", "/items/1").status, 405u);
  EXPECT_EQ(ask(server.port(), "GET", "/nowhere").status, 404u);
}

/// "GET /items/{id}": an operation as the description names it.
std::string operation(std::string_view method, std::string_view path) {
  std::string upper(method);
  std::ranges::transform(upper, upper.begin(), [](char c) { return static_cast<char>(std::toupper(c)); });
  return upper + ' ' + std::string(path);
}

/// The operations of a description, each with the statuses that it has words of its own for.
std::map<std::string, std::set<unsigned>> described(const json& description) {
  std::map<std::string, std::set<unsigned>> all;
  for (const auto& [path, item] : description["paths"].items()) {
    for (const auto& [method, what] : item.items()) {
      if (method == "parameters") continue;
      EXPECT_TRUE(what["responses"].contains("default")) << method << ' ' << path;
      std::set<unsigned>& statuses = all[operation(method, path)];
      for (const auto& [status, _] : what["responses"].items()) {
        if (status != "default") statuses.insert(static_cast<unsigned>(std::stoul(status)));
      }
    }
  }
  return all;
}

/// Every reference leads to something.
void expect_whole(const json& part, const json& description) {
  if (part.is_object() && part.contains("$ref")) {
    const std::string to = part["$ref"];
    EXPECT_TRUE(to.starts_with("#/") && description.contains(json::json_pointer(to.substr(1)))) << to;
  }
  for (const json& each : part) {
    if (each.is_structured()) expect_whole(each, description);
  }
}

TEST(http_server, describes_each_of_its_routes_and_what_they_answer) {
  const skerry::test_support::scratch_directory here;
  here.put("index.html", "<p>top");
  here.put("a.txt", "text");
  here.put("locked.txt", "text");
  here.put("folder/index.html", "<p>below");
  ASSERT_EQ(::chmod(here.file("locked.txt").c_str(), 0), 0);
  const bool may_all = ::access(here.file("locked.txt").c_str(), R_OK) == 0;  // who runs this is root
  std::vector<std::string> with_files = four_shards;
  with_files.insert(with_files.end(), {"--static", here.path()});
  server_process server(HTTP_SERVER, with_files);
  const json description = json::parse(ask(server.port(), "GET", "/openapi.json").body);
  EXPECT_EQ(description["openapi"], "3.1.0");
  expect_whole(description, description);
  const std::map<std::string, std::set<unsigned>> promised = described(description);

  std::set<std::string> routes, operations;
  unsigned full = 0;
  skerry::block_on([&]() -> skerry::task<> {
    auto& store = skerry::resources().emplace<http_server::item_store>();
    skerry::net::http::router r = http_server::make_router(here.path());
    for (const auto& [method, pattern] : r.routes()) {
      std::string path(pattern);
      if (const auto dots = path.find("...}"); dots != path.npos) path.erase(dots, 3);
      routes.insert(operation(skerry::net::http::to_string(method), path));
    }
    while (store.add({0, "item", 1})) continue;
    const skerry::test_support::question one_more(skerry::net::http::method::post, "/items",
                                                  {{"Content-Type", "application/json"}}, R"({"name":"n","price":1})");
    const skerry::test_support::answer refused = co_await skerry::test_support::ask_on_shard(r, one_more);
    full = refused.status;
  });
  for (const auto& [name, _] : promised) operations.insert(name);
  EXPECT_EQ(operations, routes);

  std::map<std::string, std::set<unsigned>> seen;
  seen["POST /items"].insert(full);
  if (may_all) seen["GET /static/{path}"].insert(403);
  const auto asks = [&](std::string_view method, const std::string& path, const std::string& route,
                        const std::string& sent = "", const std::string& fields = "") {
    const answer got = ask(server.port(), method, path, sent, fields);
    seen[operation(method, route)].insert(got.status);
    if (got.status >= 400) {
      EXPECT_NE(got.head.find("application/problem+json"), got.head.npos) << method << ' ' << path;
    }
    return got;
  };
  const std::string item = R"({"name":"n","price":1})", long_item = std::string((1 << 20) + 1, ' ') + item;
  const std::string other_type = "Content-Type: text/plain\r\n";
  for (const std::string path : {"/", "/json", "/openapi.json", "/items"}) asks("GET", path, path);
  asks("GET", "/items?limit=many", "/items");
  const std::string made =
      "/items/" + std::to_string(json::parse(asks("POST", "/items", "/items", item).body)["id"].get<std::uint64_t>());
  asks("POST", "/items", "/items", "{");
  asks("POST", "/items", "/items", long_item);
  asks("POST", "/items", "/items", item, other_type);
  for (const std::string method : {"GET", "PUT", "DELETE"}) {
    const bool sends = method == "PUT";
    for (const std::string& path : {made, std::string("/items/anchor"), std::string("/items/987654321")}) {
      asks(method, path, "/items/{id}", sends ? item : "");
    }
  }
  asks("PUT", made, "/items/{id}", long_item);
  asks("PUT", made, "/items/{id}", item, other_type);
  const std::string files = "/static/{path}";
  for (const char* name : {"", "a.txt", "folder", "folder/", "none", "%zz", "locked.txt"}) {
    asks("GET", std::string("/static/") + name, files);
  }
  for (const char* field : {"Range: bytes=1-2", "Range: bytes=9-", "If-None-Match: *", "If-Match: \"another\""}) {
    asks("GET", "/static/a.txt", files, "", std::string(field) + "\r\n");
  }
  EXPECT_EQ(seen, promised);
}

TEST(http_server, two_on_a_machine_do_not_quarrel_over_the_admin_port) {
  server_process first(HTTP_SERVER, four_shards), second(HTTP_SERVER, four_shards);
  int holders = 0;
  for (server_process* each : {&first, &second}) {
    EXPECT_EQ(ask(each->port(), "GET", "/").status, 200u);
    EXPECT_TRUE(each->wait_for_log("127.0.0.1:9180")) << each->log();  // it speaks of it after its own port
    each->signal(SIGTERM);
  }
  for (server_process* each : {&first, &second}) {
    EXPECT_EQ(each->wait(), 0);
    const bool holds = each->log().find("endpoint is at 127.0.0.1:9180") != std::string::npos;
    const bool tells = each->log().find("127.0.0.1:9180 is taken") != std::string::npos;
    EXPECT_NE(holds, tells) << each->log();
    holders += holds;
  }
  EXPECT_LE(holders, 1);
}

TEST(http_server, ends_on_sigterm_with_an_idle_connection_open) {
  server_process server(HTTP_SERVER, four_shards);
  blocking_client idle(server.port());
  idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_NE(idle.receive(), "");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(http_server, past_max_connections_a_client_gets_503_and_the_others_are_served) {
  std::vector<std::string> limited = four_shards;
  limited.insert(limited.end(), {"--max-connections", "5", "--admin", "off"});
  server_process server(HTTP_SERVER, limited);
  std::vector<std::unique_ptr<blocking_client>> served;
  const auto greets = [](blocking_client& client) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    std::string answer;
    while (!answer.ends_with("Hello, World!")) {
      const std::string more = client.receive();
      if (more.empty()) break;
      answer += more;
    }
    return answer.starts_with("HTTP/1.1 200 OK\r\n");
  };
  for (int i = 0; i < 5; ++i) {
    served.push_back(std::make_unique<blocking_client>(server.port()));
    EXPECT_TRUE(greets(*served.back()));
  }
  const std::string refusals[] = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n" + std::string(400'000, 'x'),
      "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", ""};
  for (const std::string& request : refusals) {
    blocking_client more(server.port());
    const timeval most{10, 0};
    ::setsockopt(more.fd(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    more.send(request);
    errno = 0;
    const std::string answer = more.receive_exactly(1 << 20);
    EXPECT_EQ(errno, 0) << "a reset, or no end within " << most.tv_sec << " s";
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n")) << answer;
    EXPECT_NE(answer.find("\r\nConnection: close\r\n"), answer.npos) << answer;
    EXPECT_NE(answer.find("\r\nRetry-After: 1\r\n"), answer.npos) << answer;
    EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << "no body, whatever was asked: " << answer;
  }
  for (auto& client : served) EXPECT_TRUE(greets(*client));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.log();
}

TEST(http_server, sigterm_under_load_ends_with_0_with_limits_on) {
  std::vector<std::string> limited = four_shards;
  limited.insert(limited.end(), {"--max-connections", "6", "--max-connections-per-address", "5", "--admin", "off"});
  server_process server(HTTP_SERVER, limited);
  std::atomic<int> refused = 0, greeted = 0;
  std::vector<std::thread> load;
  for (int i = 0; i < 16; ++i) {
    load.emplace_back([&, keeps = i < 5] {
      try {
        while (true) {
          blocking_client client(server.port());  // throws when nobody listens any more
          for (std::string answer = "200"; answer.find("200") != answer.npos;) {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            answer = client.receive();
            if (answer.find(" 503 ") != answer.npos) ++refused;
            if (answer.find(" 200 ") != answer.npos) ++greeted;
            if (!keeps) break;
          }
        }
      } catch (const std::runtime_error&) {
        // The server has ended.
      }
    });
  }
  while (refused < 100 || greeted < 100) std::this_thread::yield();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.log();
  for (std::thread& thread : load) thread.join();
}

TEST(http_echo, gives_back_the_body_it_was_sent) {
  server_process server(HTTP_ECHO, four_shards);
  const answer echoed = ask(server.port(), "POST", "/", std::string(100'000, 'e'));
  EXPECT_EQ(echoed.status, 200u);
  EXPECT_TRUE(echoed.body == std::string(100'000, 'e'));
  EXPECT_EQ(ask(server.port(), "GET", "/").status, 400u);
}

}  // namespace
