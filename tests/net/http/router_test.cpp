// SPDX-License-Identifier: Apache-2.0
/// Routes against a list of patterns that is searched from front to back, and what a router says where it has none.
///
/// Replay a failing random test with the line it prints: SKERRY_TEST_SEED=<seed> router_test

#include <skerry/framework/random.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/shards/block_on.hpp>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/ask.hpp>
#include <support/heap_count.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using namespace net::http;
using test_support::answer;
using test_support::ask;
using test_support::ask_on_shard;
using test_support::question;
using test_support::test_seed;

/// Answers with what the router found: "<name> a=1 b=2".
auto tell(std::string name) {
  return [name](request& r) {
    std::string text = name;
    for (const path_parameter& each : r.parameters()) {
      text.append(" ").append(each.name).append("=").append(each.value);
    }
    return response::text(text);
  };
}

std::string found(router& r, std::string_view path, method m = method::get) {
  const answer got = ask(r, question(m, path));
  return got.status == 200 ? got.body : std::to_string(got.status);
}

/// What adding a route is refused with.
std::string refusal(router& r, std::string_view pattern, method m = method::get) {
  try {
    r.on(m, pattern, tell("refused"));
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

// ---- the model ----

std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> all;
  while (true) {
    path.remove_prefix(1);  // the slash
    const std::size_t end = std::min(path.find('/'), path.size());
    all.push_back(path.substr(0, end));
    if (end == path.size()) return all;
    path.remove_prefix(end);
  }
}

struct listed_route {
  method m;
  std::string pattern;
};

/// How well a pattern fits, "lp" for a literal and a parameter, the less the better; nothing when it does not.
std::optional<std::string> fit(const listed_route& route, std::string_view path, std::string& told) {
  std::string rank;
  const std::vector<std::string_view> wanted = segments_of(route.pattern);
  const std::vector<std::string_view> given = segments_of(path);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (i == given.size()) return std::nullopt;
    if (wanted[i].ends_with("...}")) {
      const auto at = static_cast<std::size_t>(given[i].data() - path.data());
      told.append(" ").append(wanted[i].substr(1, wanted[i].size() - 5)).append("=").append(path.substr(at));
      return rank + 'w';
    }
    if (wanted[i].starts_with('{')) {
      if (given[i].empty()) return std::nullopt;
      told.append(" ").append(wanted[i].substr(1, wanted[i].size() - 2)).append("=").append(given[i]);
      rank += 'p';
    } else {
      if (wanted[i] != given[i]) return std::nullopt;
      rank += 'l';
    }
  }
  if (given.size() != wanted.size()) return std::nullopt;
  return rank;
}

std::string model_answer(const std::vector<listed_route>& routes, method m, std::string_view path) {
  std::string best_rank = "x";
  std::string best;
  bool matched = false;
  std::set<method> allowed{method::options};
  for (const listed_route& each : routes) {
    std::string told = std::string(to_string(each.m)) + " " + each.pattern;
    const std::optional<std::string> rank = fit(each, path, told);
    if (!rank) continue;
    matched = true;
    allowed.insert(each.m);
    if (each.m == method::get) allowed.insert(method::head);
    const bool answers = each.m == m || (each.m == method::get && m == method::head);
    // Of two for one place, HEAD is better than GET.
    if (answers && *rank + (each.m == m ? "" : "+") < best_rank) {
      best_rank = *rank + (each.m == m ? "" : "+");
      best = told;
    }
  }
  if (!best.empty()) return best;
  if (!matched) return "404";
  std::string allow = m == method::options ? "204 Allow: " : "405 Allow: ";
  for (auto each = allowed.begin(); each != allowed.end(); ++each) {
    allow.append(each == allowed.begin() ? "" : ", ").append(to_string(*each));
  }
  return allow + "\r\n";
}

/// Of few letters, so that patterns overlap, share prefixes inside a segment and lead into dead ends.
std::string random_segments(random_source& random, bool pattern) {
  constexpr std::string_view literals[] = {"a", "b", "ab", "aba", "abb", "", "%61"};
  std::string text;
  const std::uint64_t count = 1 + random.uniform(4);
  for (std::uint64_t i = 0; i < count; ++i) {
    text += '/';
    const std::uint64_t kind = random.uniform(10);
    if (pattern && kind >= 6 && kind < 9) {
      text.append("{").append(std::string(1, static_cast<char>('p' + i))).append("}");
    } else if (pattern && kind == 9 && i + 1 == count) {
      text += "{rest...}";
    } else {
      text += literals[random.uniform(std::size(literals))];
    }
  }
  return text;
}

std::string shape_of(std::string_view pattern) {
  std::string shape;
  bool inside = false;
  for (const char c : pattern) {
    if (c == '}') inside = false;
    if (!inside || c == '.') shape += c;
    if (c == '{') inside = true;
  }
  return shape;
}

TEST(router, finds_what_a_search_of_the_whole_list_finds) {
  constexpr method methods[] = {method::get, method::get, method::post, method::head, method::options};
  random_source random(test_seed());
  block_on([&]() -> task<> {
    for (int round = 0; round < 300; ++round) {
      router root;
      router below;  // half of the routes come from a router that is mounted
      std::vector<listed_route> listed;
      std::set<std::string> taken;
      const std::uint64_t routes = 1 + random.uniform(30);
      for (std::uint64_t i = 0; i < routes; ++i) {
        const method m = methods[random.uniform(std::size(methods))];
        const std::string pattern = random_segments(random, true);
        const bool mounted = random.uniform(2) == 0;
        const std::string whole = mounted ? "/ab" + pattern : pattern;
        if (!taken.insert(std::string(to_string(m)) + shape_of(whole)).second) continue;
        (mounted ? below : root).on(m, pattern, tell(std::string(to_string(m)) + " " + whole));
        listed.push_back(listed_route(m, whole));
      }
      root.mount("/ab", std::move(below));
      for (int i = 0; i < 200; ++i) {
        const method m = methods[random.uniform(std::size(methods))];
        const std::string path = (random.uniform(2) == 0 ? "/ab" : "") + random_segments(random, false);
        const question q(m, path);
        const answer got = co_await ask_on_shard(root, q);
        std::string told = got.body;
        if (got.status == 404) told = "404";
        if (got.status == 405 || got.status == 204) told = std::to_string(got.status) + " " + got.fields;
        EXPECT_EQ(told, model_answer(listed, m, path)) << to_string(m) << " " << path << " in round " << round;
        if (testing::Test::HasFailure()) {
          for (const listed_route& each : listed) std::cout << to_string(each.m) << " " << each.pattern << '\n';
          co_return;
        }
      }
    }
  });
}

TEST(router, literal_beats_parameter_beats_wildcard_and_a_dead_end_is_left_again) {
  router r;
  r.get("/items/new", tell("new")).get("/items/{id}", tell("id")).get("/items/{id}/parts", tell("parts"));
  r.get("/items/new/x", tell("x")).get("/{rest...}", tell("rest"));
  EXPECT_EQ(found(r, "/items/new"), "new");
  EXPECT_EQ(found(r, "/items/ne"), "id id=ne");
  EXPECT_EQ(found(r, "/items/newer"), "id id=newer");
  EXPECT_EQ(found(r, "/items/new/parts"), "parts id=new");
  EXPECT_EQ(found(r, "/items/new/y"), "rest rest=items/new/y");
  EXPECT_EQ(found(r, "/items/"), "rest rest=items/");
  EXPECT_EQ(found(r, "/"), "rest rest=");
}

TEST(router, paths_are_compared_as_they_were_sent) {
  router r;
  r.get("/a/{id}", tell("id"));
  EXPECT_EQ(found(r, "/a/x%2Fy"), "id id=x%2Fy");
  EXPECT_EQ(found(r, "/%61/x"), "404");
  EXPECT_EQ(found(r, "/a/x/"), "404");
  EXPECT_EQ(found(r, "/a/../b"), "404");
  EXPECT_EQ(found(r, ""), "404");
}

TEST(router, the_next_best_path_answers_when_the_best_has_not_the_method) {
  router r;
  r.post("/items/new", tell("post")).get("/items/{id}", tell("get"));
  EXPECT_EQ(found(r, "/items/new"), "get id=new");
  EXPECT_EQ(found(r, "/items/new", method::post), "post");
  EXPECT_EQ(ask(r, question(method::put, "/items/new")).fields, "Allow: GET, HEAD, POST, OPTIONS\r\n");
}

TEST(router, head_is_answered_by_get_unless_it_has_a_route) {
  router r;
  r.get("/a", tell("get")).get("/b", tell("get")).head("/b", tell("head")).post("/c", tell("post"));
  EXPECT_EQ(found(r, "/a", method::head), "get");
  EXPECT_EQ(found(r, "/b", method::head), "head");
  EXPECT_EQ(found(r, "/c", method::head), "405");
}

TEST(router, what_has_no_route_is_answered_with_a_problem_and_allow) {
  router r;
  r.get("/a", tell("a")).delete_("/a", tell("a")).patch("/b", tell("b"));
  const answer missing = ask(r, question(method::get, "/c"));
  EXPECT_EQ(missing.status, 404u);
  EXPECT_NE(missing.body.find(R"("title":"Not Found","status":404)"), std::string::npos);
  const answer refused = ask(r, question(method::post, "/a"));
  EXPECT_EQ(refused.status, 405u);
  EXPECT_EQ(refused.fields, "Allow: GET, HEAD, DELETE, OPTIONS\r\n");
  const answer options = ask(r, question(method::options, "/b"));
  EXPECT_EQ(options.status, 204u);
  EXPECT_EQ(options.fields, "Allow: OPTIONS, PATCH\r\n");
  const answer all = ask(r, question(method::options, "*"));
  EXPECT_EQ(all.status, 204u);
  EXPECT_EQ(all.fields, "Allow: GET, HEAD, DELETE, OPTIONS, PATCH\r\n");
  EXPECT_EQ(found(r, "/a", method::other), "501");
  EXPECT_EQ(found(r, "/c", method::other), "404");
  EXPECT_EQ(found(r, "*", method::get), "404");
}

TEST(router, an_options_route_replaces_the_answer_of_the_router) {
  router r;
  r.get("/a", tell("a")).options("/a", tell("options"));
  EXPECT_EQ(found(r, "/a", method::options), "options");
}

TEST(router, two_routes_for_the_same_paths_are_refused_by_both_names) {
  router r;
  r.get("/items/{id}/x", tell("a")).get("/files/{path...}", tell("b"));
  EXPECT_EQ(refusal(r, "/items/{id}/x"), "the route GET /items/{id}/x matches the same paths as GET /items/{id}/x");
  EXPECT_EQ(refusal(r, "/items/{item}/x"), "the route GET /items/{item}/x matches the same paths as GET /items/{id}/x");
  EXPECT_EQ(refusal(r, "/files/{all...}"),
            "the route GET /files/{all...} matches the same paths as GET /files/{path...}");
  EXPECT_EQ(refusal(r, "/items/{item}/x", method::put), "") << "names are of the route";
  EXPECT_EQ(refusal(r, "/files/{name}"), "");
  router other;
  other.get("/{number}/x", tell("c"));
  try {
    r.mount("/items", std::move(other));
    ADD_FAILURE() << "mounted over a route";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "the route GET /items/{number}/x matches the same paths as GET /items/{id}/x");
  }
}

TEST(router, malformed_patterns_are_refused) {
  router r;
  for (const std::string_view pattern :
       {"a",           "{id}",   "/{}",    "/{id",   "/id}",      "/a{id}",   "/{id}a",     "/{a}{b}",
        "/{a b}",      "/{a.b}", "/{...}", "/{a..}", "/{a...}/b", "/{a...}/", "/{a...}{b}", "/{a}/{a}",
        "/{a}/{a...}", "/a b",   "/a?b",   "/a#b",   "/\xc3\xa4", "/\n",      "/{{a}}"}) {
    EXPECT_NE(refusal(r, pattern), "") << pattern;
  }
  std::string many;
  for (std::size_t i = 0; i < request::parameters_max; ++i) many += "/{p" + std::to_string(i) + "}";
  EXPECT_EQ(refusal(r, many), "");
  EXPECT_NE(refusal(r, many + "/{more}"), "");
  EXPECT_NE(refusal(r, "/a", method::other), "");
  EXPECT_NE(refusal(r, "/a", method::connect), "");
  EXPECT_THROW(r.mount("/a/", router()), std::invalid_argument);
  router other;
  other.get("/b", tell("b"));
  EXPECT_THROW(r.mount("/{rest...}", std::move(other)), std::invalid_argument);
}

TEST(router, a_mounted_router_may_be_mounted_again_and_answers_for_its_own_place) {
  router inner;
  inner.get("", tell("itself")).get("/", tell("slash")).get("/{id}", tell("one"));
  router middle;
  middle.mount("/items", std::move(inner)).get("/{id}", tell("middle"));
  router outer;
  outer.mount("/tenants/{tenant}", std::move(middle));
  router beside;
  beside.get("/beside", tell("beside"));
  outer.mount("", std::move(beside));
  EXPECT_EQ(found(outer, "/tenants/7/items"), "itself tenant=7");
  EXPECT_EQ(found(outer, "/tenants/7/items/"), "slash tenant=7");
  EXPECT_EQ(found(outer, "/tenants/7/items/9"), "one tenant=7 id=9");
  EXPECT_EQ(found(outer, "/tenants/7/x"), "middle tenant=7 id=x");
  EXPECT_EQ(found(outer, "/beside"), "beside");
  EXPECT_EQ(found(outer, "/items/9"), "404");
  std::string all;
  for (const auto& [m, pattern] : outer.routes()) all.append(to_string(m)).append(" ").append(pattern) += '\n';
  EXPECT_EQ(all,
            "GET /tenants/{tenant}/items\nGET /tenants/{tenant}/items/\nGET /tenants/{tenant}/items/{id}\n"
            "GET /tenants/{tenant}/{id}\nGET /beside\n");
}

/// Writes its name into the text of the response, from the inside out.
middleware mark(std::string name) {
  return [name](request& r, next go_on) -> task<response> {
    response made = co_await go_on(r);
    made.header("Mark", name);
    co_return made;
  };
}

TEST(router, middleware_wraps_the_routes_of_its_router_outermost_first) {
  router inner;
  inner.use(mark("3")).get("/a", tell("a"));
  router root;
  root.use(mark("1")).get("/", tell("root"));
  root.mount("/inner", std::move(inner));
  root.use(mark("2")).get("/later", tell("later"));
  const auto marks = [&](method m, std::string_view path) {
    std::string all;
    for (const char c : ask(root, question(m, path)).fields) {
      if (c >= '1' && c <= '9') all += c;
    }
    return all;
  };
  EXPECT_EQ(marks(method::get, "/"), "21");
  EXPECT_EQ(marks(method::get, "/later"), "21");
  EXPECT_EQ(marks(method::get, "/inner/a"), "321");
  EXPECT_EQ(marks(method::post, "/inner/a"), "321") << "an answer without a route is the group's where the path is";
  EXPECT_EQ(marks(method::get, "/inner/b"), "21");
  EXPECT_EQ(marks(method::options, "*"), "21");
}

TEST(router, an_answer_without_a_route_passes_the_middleware_of_the_best_path) {
  router general;
  general.use(mark("general")).post("/{rest...}", tell("general"));
  router special;
  special.use(mark("special")).post("/a/{id}", tell("special"));
  router root;
  root.mount("", std::move(general)).mount("", std::move(special));
  const answer got = ask(root, question(method::get, "/a/1"));
  EXPECT_EQ(got.status, 405u);
  EXPECT_EQ(got.fields, "Allow: POST, OPTIONS\r\nMark: special\r\n");
}

TEST(router, is_a_handler_itself) {
  router inside;
  inside.get("/all/{id}", tell("inside"));
  router outside;
  outside.get("/{rest...}", handler(std::move(inside)));
  EXPECT_EQ(found(outside, "/all/7"), "inside id=7");
  EXPECT_EQ(found(outside, "/none"), "404");
}

TEST(router, handlers_and_middleware_keep_what_they_capture) {
  router moved = [] {
    router r;
    const std::string text(1000, 'x');
    r.use([text](request& q, next go_on) -> task<response> {
      response made = co_await go_on(q);
      co_return response::text(std::string(made.bytes()) + text);
    });
    r.get("/", [text](request&) -> task<response> { co_return response::text(text); });
    router other = std::move(r);
    return other;
  }();
  EXPECT_EQ(found(moved, "/"), std::string(2000, 'x'));
}

TEST(router, a_look_up_allocates_nothing) {
  router r;
  r.use([](request& q, next go_on) -> task<response> { return go_on(q); });
  r.get("/items/{id}/parts/{part}", [](request&) { return response::literal("text/plain", "x"); });
  r.get("/items/new/parts/all/of/it", tell("x"));
  r.get("/plain", [](request&) -> task<response> { co_return response::literal("text/plain", "x"); });
  block_on([&]() -> task<> {
    test_support::no_body none;
    for (const std::string_view path : {"/items/new/parts/all", "/plain"}) {
      const question q(method::get, path);
      request asked(q.head, none);
      const response warm = co_await r(asked);
      const std::uint64_t before = test_support::heap_allocations();
      const response made = co_await r(asked);
      EXPECT_EQ(test_support::heap_allocations(), before) << path;
      EXPECT_EQ(made.status(), 200u);
    }
  });
}

}  // namespace
}  // namespace skerry
