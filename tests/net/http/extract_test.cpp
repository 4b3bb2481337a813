// SPDX-License-Identifier: Apache-2.0
/// Arguments of handlers: what is read, what is refused and in which words.

#include <skerry/framework/resources.hpp>
#include <skerry/net/http/json.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/sleep.hpp>

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/ask.hpp>

namespace documented {

struct item {
  std::uint64_t id = 0;
  std::string name;
  std::vector<int> sizes;
};
SKERRY_JSON_FIELDS(item, id, name, sizes)

/// Reads itself, by a from_json as nlohmann's manual has them.
struct color {
  std::string name;
};
void to_json(nlohmann::json& to, const color& from) { to = from.name; }
void from_json(const nlohmann::json& from, color& to) {
  to.name = from.get<std::string>();
  if (to.name != "red") throw skerry::net::http::json_mismatch("", "there is no such color");
}

}  // namespace documented

template <>
inline constexpr bool skerry::net::http::reads_json<documented::color> = true;

namespace documented {

struct order {
  documented::color color;
  std::vector<item> items;
  std::pair<int, std::uint8_t> place;
  std::map<std::string, std::vector<int>> stock;
};
SKERRY_JSON_FIELDS(order, color, items, place, stock)

}  // namespace documented

namespace skerry {
namespace {

using namespace net::http;
using test_support::answer;
using test_support::ask;
using test_support::question;

/// "200 text" or "400 what is wrong".
std::string line_of(const answer& got) { return std::to_string(got.status) + " " + got.body; }
std::string get(router& r, std::string_view target, std::vector<field> fields = {}) {
  return line_of(ask(r, question(method::get, target, std::move(fields))));
}
std::string post(router& r, std::string_view target, std::string body, std::string_view type = "application/json") {
  return line_of(ask(r, question(method::post, target, {field("Content-Type", type)}, std::move(body))));
}

/// What a path parameter of type T is read as.
template <class T>
std::string read_as(std::string_view text) {
  router r;
  r.get("/{x}", [](path<"x", T> x) {
    if constexpr (std::is_arithmetic_v<T>)
      return response::text(std::to_string(*x));
    else
      return response::text(std::string(*x));
  });
  return get(r, "/" + std::string(text));
}

TEST(extract, whole_numbers_are_read_whole_and_in_their_range) {
  EXPECT_EQ(read_as<std::uint64_t>("18446744073709551615"), "200 18446744073709551615");
  EXPECT_EQ(read_as<std::uint64_t>("18446744073709551616"), "400 path parameter x: is out of range");
  EXPECT_EQ(read_as<std::uint8_t>("255"), "200 255");
  EXPECT_EQ(read_as<std::uint8_t>("256"), "400 path parameter x: is out of range");
  EXPECT_EQ(read_as<std::int8_t>("-128"), "200 -128");
  EXPECT_EQ(read_as<std::int8_t>("-129"), "400 path parameter x: is out of range");
  EXPECT_EQ(read_as<std::int64_t>("007"), "200 7");
  EXPECT_EQ(read_as<std::uint64_t>("%34%32"), "200 42");
  for (const std::string_view text :
       {"x", "1x", "+1", "%201", "1%20", "1.0", "0x1", "--1", "-", "99999999999999999999x"}) {
    EXPECT_EQ(read_as<std::int64_t>(text), "400 path parameter x: is no whole number") << text;
  }
  EXPECT_EQ(read_as<std::uint64_t>("-1"), "400 path parameter x: is no whole number from 0 on");
}

TEST(extract, other_values_are_read_from_the_whole_text) {
  EXPECT_EQ(read_as<bool>("true"), "200 1");
  EXPECT_EQ(read_as<bool>("1"), "200 1");
  EXPECT_EQ(read_as<bool>("false"), "200 0");
  EXPECT_EQ(read_as<bool>("0"), "200 0");
  EXPECT_EQ(read_as<bool>("TRUE"), "400 path parameter x: is none of true, false, 1 and 0");
  EXPECT_EQ(read_as<double>("-2.5e3"), "200 -2500.000000");
  EXPECT_EQ(read_as<double>("1e999"), "400 path parameter x: is out of range");
  for (const std::string_view text : {"nan", "inf", "-inf", "1,5", "1e", "e1", "."}) {
    EXPECT_EQ(read_as<double>(text), "400 path parameter x: is no number") << text;
  }
  EXPECT_EQ(read_as<std::string>("a%2Fb+c"), "200 a/b+c");
  EXPECT_EQ(read_as<std::string_view>("a%2Fb+c"), "200 a/b+c");
}

TEST(extract, a_broken_escape_is_refused) {
  for (const std::string_view text : {"%", "%4", "%zz", "%00"}) {
    EXPECT_EQ(read_as<std::string>(text), "400 path parameter x: has an escape that is broken or stands for NUL");
  }
}

TEST(extract, text_without_escapes_is_a_view_into_the_request) {
  router r;
  r.get("/{x}", [](request& q, path<"x", std::string_view> x) {
    return response::text(x->data() == q.path().data() + 1 ? "view" : "copy");
  });
  EXPECT_EQ(get(r, "/abc"), "200 view");
  EXPECT_EQ(get(r, "/%61bc"), "200 copy");
}

TEST(extract, a_view_of_decoded_text_lives_as_long_as_the_handler) {
  router r;
  r.get("/{x}", [](path<"x", std::string_view> x, query<"y", std::string_view> y) -> task<response> {
    co_await sleep_for(std::chrono::milliseconds(1));
    co_return response::text(std::string(*x) + std::string(*y));
  });
  EXPECT_EQ(get(r, "/" + std::string(100, 'a') + "%2f?y=" + std::string(100, 'b') + "+"),
            "200 " + std::string(100, 'a') + "/" + std::string(100, 'b') + " ");
}

TEST(extract, query_pairs_are_found_by_their_decoded_name) {
  router r;
  r.get("/", [](query<"page size", int> size) { return response::text(std::to_string(size)); });
  EXPECT_EQ(get(r, "/?page+size=5"), "200 5");
  EXPECT_EQ(get(r, "/?x=1&%70age%20size=5&%zz=3"), "200 5");
  EXPECT_EQ(get(r, "/?page+size=%35"), "200 5");
  EXPECT_EQ(get(r, "/?page+size="), "400 query parameter page size: is no whole number");
  EXPECT_EQ(get(r, "/?page+size"), "400 query parameter page size: is no whole number");
  EXPECT_EQ(get(r, "/?pagesize=5"), "400 query parameter page size: is missing");
  EXPECT_EQ(get(r, "/"), "400 query parameter page size: is missing");
  EXPECT_EQ(get(r, "/?page+size=5&page%20size=6"), "400 query parameter page size: is given twice");
  EXPECT_EQ(get(r, "/?page+size=%3"), "400 query parameter page size: has an escape that is broken or stands for NUL");
}

TEST(extract, what_may_be_missing_is_still_refused_when_it_is_wrong) {
  router r;
  r.get("/", [](query<"n", std::optional<int>> n, header<"X-Flag", std::optional<bool>> flag) {
    return response::text((n->has_value() ? std::to_string(**n) : "none") + (flag->value_or(false) ? " flag" : ""));
  });
  EXPECT_EQ(get(r, "/"), "200 none");
  EXPECT_EQ(get(r, "/?n=3", {field("x-flag", "1")}), "200 3 flag");
  EXPECT_EQ(get(r, "/?n=x"), "400 query parameter n: is no whole number");
  EXPECT_EQ(get(r, "/", {field("X-Flag", "yes")}), "400 header field X-Flag: is none of true, false, 1 and 0");
}

TEST(extract, a_header_is_taken_as_it_is) {
  router r;
  r.get("/", [](header<"X-Name", std::string_view> name) { return response::text(std::string(*name)); });
  EXPECT_EQ(get(r, "/", {field("x-name", "a%20b+c")}), "200 a%20b+c");
  EXPECT_EQ(get(r, "/"), "400 header field X-Name: is missing");
}

TEST(extract, the_first_wrong_argument_is_told_and_the_handler_is_not_called) {
  router r;
  int calls = 0;
  r.get("/{a}/{b}", [&calls](path<"b", int>, path<"a", int>, query<"c", int>) {
    ++calls;
    return response();
  });
  EXPECT_EQ(get(r, "/x/y"), "400 path parameter b: is no whole number");
  EXPECT_EQ(get(r, "/x/1"), "400 path parameter a: is no whole number");
  EXPECT_EQ(get(r, "/1/1"), "400 query parameter c: is missing");
  EXPECT_EQ(calls, 0);
}

response plain(path<"id", int> id) { return response::text(std::to_string(id)); }
task<response> waits(request& r, path<"id", int> id) {
  co_await sleep_for(std::chrono::milliseconds(1));
  co_return response::text(std::string(r.path()) + std::to_string(id));
}

TEST(extract, functions_generic_lambdas_and_move_only_callables_are_handlers) {
  router r;
  r.get("/plain/{id}", plain).get("/waits/{id}", &waits);
  r.get("/generic", [](auto& q) -> task<response> { co_return response::text(std::string(q.path())); });
  r.get("/owns/{id}", [text = std::make_unique<std::string>("owned")](path<"id", int>) mutable -> task<response> {
    co_return response::text(text->append("!"));
  });
  handler ready = [](request&) -> task<response> { co_return response::text("ready"); };
  r.get("/ready", std::move(ready));
  EXPECT_EQ(get(r, "/plain/7"), "200 7");
  EXPECT_EQ(get(r, "/waits/7"), "200 /waits/77");
  EXPECT_EQ(get(r, "/generic"), "200 /generic");
  EXPECT_EQ(get(r, "/owns/7"), "200 owned!");
  EXPECT_EQ(get(r, "/owns/7"), "200 owned!!");
  EXPECT_EQ(get(r, "/ready"), "200 ready");
}

TEST(extract, a_parameter_that_the_pattern_has_not_is_refused_when_the_route_is_added) {
  router r;
  try {
    r.get("/items/{idd}", plain);
    ADD_FAILURE() << "added";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "the handler of /items/{idd} takes the path parameter id, which the pattern has not");
  }
  EXPECT_THROW(r.get("/items/id", plain), std::invalid_argument);
  EXPECT_EQ(get(r, "/items/id"), "404 " + std::string(problem(404, "nothing is here").bytes()));
  r.get("/items/{id...}", plain);
  EXPECT_EQ(get(r, "/items/5"), "200 5");
}

TEST(extract, a_body_is_read_whole_and_after_everything_else_was_found_right) {
  router r;
  r.post("/{id}",
         [](body text, path<"id", int> id) -> task<response> { co_return response::text(*text + std::to_string(id)); });
  r.put("/", [](body text) { return response::text(std::to_string(text->size())); });
  EXPECT_EQ(post(r, "/7", "hello "), "200 hello 7");
  EXPECT_EQ(post(r, "/7", ""), "200 7");
  EXPECT_EQ(line_of(ask(r, question(method::put, "/", {}, std::string(100'000, 'x')))), "200 100000");
  block_on([&]() -> task<> {
    test_support::connected pair = co_await test_support::connect_pair();
    test_support::stream_body unread(pair.ours);
    const question q(method::post, "/x", {}, "never sent");
    const answer got = co_await test_support::answer_to(r, q, unread);
    EXPECT_EQ(got.body, "path parameter id: is no whole number");
    EXPECT_EQ(unread.reads, 0);
  });
}

TEST(extract, this_shards_resources_are_arguments) {
  struct counter {
    int calls = 0;
  };
  router r;
  r.get("/", [](resource_of<counter> here) { return response::text(std::to_string(++here->calls)); });
  block_on([&]() -> task<> {
    resources().emplace<counter>();
    const question q(method::get, "/");
    co_await test_support::ask_on_shard(r, q);
    co_await test_support::ask_on_shard(r, q);
    EXPECT_EQ(resource<counter>().calls, 2);
  });
}

router items() {
  router r;
  r.post("/", [](json<documented::item> sent) -> task<response> {
    ++sent->id;
    sent->sizes.push_back(3);
    co_return json_response(*sent, 201);
  });
  return r;
}

TEST(json, a_body_becomes_a_value_and_a_value_a_body) {
  router r = items();
  EXPECT_EQ(post(r, "/", R"( {"sizes":[1,2], "name":"a\"\u00e4", "id":41, "more":null} )"),
            R"(201 {"id":42,"name":"a\"ä","sizes":[1,2,3]})");
  EXPECT_EQ(json_response(std::string("\xff")).bytes(), "\"\xef\xbf\xbd\"") << "what is no UTF-8 is replaced";
}

TEST(json, what_is_none_is_refused_with_the_position) {
  router r = items();
  EXPECT_EQ(post(r, "/", "{\"id\":1,\n \"name\" \"x\"}"), "400 body: is no JSON from line 2, column 11 on");
  EXPECT_EQ(post(r, "/", "{} x"), "400 body: is no JSON from line 1, column 4 on");
  EXPECT_EQ(post(r, "/", "{"), "400 body: is no JSON from line 1, column 2 on");
  EXPECT_EQ(post(r, "/", ""), "400 body: is no JSON from line 1, column 1 on");
  EXPECT_EQ(post(r, "/", "\"\xff\""), "400 body: is no JSON from line 1, column 2 on");
  EXPECT_EQ(post(r, "/", std::string(1'000'000, '[')), "400 body: is no JSON from line 1, column 1000001 on");
}

TEST(json, what_is_another_type_is_refused_with_the_field) {
  router r = items();
  EXPECT_EQ(post(r, "/", R"({"id":1})"), "400 body: name: is missing");
  EXPECT_EQ(post(r, "/", R"({"id":"1","name":"","sizes":[]})"), "400 body: id: is no whole number");
  EXPECT_EQ(post(r, "/", R"({"id":1,"name":2,"sizes":[]})"), "400 body: name: is no text");
  EXPECT_EQ(post(r, "/", R"({"id":1,"name":"","sizes":{}})"), "400 body: sizes: is no list");
  EXPECT_EQ(post(r, "/", R"({"id":1,"name":"","sizes":[1,null]})"), "400 body: sizes[1]: is no whole number");
  EXPECT_EQ(post(r, "/", "[]"), "400 body: is no object");
}

/// What a JSON number is read as by a field of type T.
template <class T>
std::string json_as(std::string_view text) {
  router r;
  r.post("/", [](json<std::map<std::string, T>> sent) {
    nlohmann::json kept = sent->at("x");
    return response::text(kept.dump());
  });
  return post(r, "/", "{\"x\":" + std::string(text) + "}");
}

TEST(json, a_whole_number_is_one_and_in_the_range_of_its_field_or_refused) {
  EXPECT_EQ(json_as<std::int64_t>("9223372036854775807"), "200 9223372036854775807");
  EXPECT_EQ(json_as<std::int64_t>("-9223372036854775808"), "200 -9223372036854775808");
  EXPECT_EQ(json_as<std::uint64_t>("18446744073709551615"), "200 18446744073709551615");
  EXPECT_EQ(json_as<std::uint8_t>("255"), "200 255");
  EXPECT_EQ(json_as<std::int8_t>("-128"), "200 -128");
  EXPECT_EQ(json_as<std::int64_t>("-0"), "200 0");
  const std::string out_of_range = "400 body: x: is out of range";
  EXPECT_EQ(json_as<std::int64_t>("9223372036854775808"), out_of_range);
  EXPECT_EQ(json_as<std::int64_t>("18446744073709551615"), out_of_range);
  EXPECT_EQ(json_as<std::int64_t>("-9223372036854775809"), out_of_range);
  EXPECT_EQ(json_as<std::uint64_t>("18446744073709551616"), out_of_range);
  EXPECT_EQ(json_as<std::uint64_t>("1e30"), out_of_range);
  EXPECT_EQ(json_as<std::int64_t>("-1e300"), out_of_range);
  EXPECT_EQ(json_as<std::uint8_t>("256"), out_of_range);
  EXPECT_EQ(json_as<std::int8_t>("-129"), out_of_range);
  EXPECT_EQ(json_as<std::int8_t>("128"), out_of_range);
  EXPECT_EQ(json_as<std::uint64_t>("-1"), "400 body: x: is no whole number from 0 on");
  for (const std::string_view text : {"1.7", "1.0", "1e2", "-0.5", "true", "null", "\"1\"", "[1]", "{}"}) {
    EXPECT_EQ(json_as<int>(text), "400 body: x: is no whole number") << text;
  }
}

TEST(json, other_numbers_are_in_the_range_of_their_field_too) {
  EXPECT_EQ(json_as<double>("1.5"), "200 1.5");
  EXPECT_EQ(json_as<double>("3"), "200 3.0");
  EXPECT_EQ(json_as<float>("0.5"), "200 0.5");
  EXPECT_EQ(json_as<float>("1e39"), "400 body: x: is out of range");
  EXPECT_EQ(json_as<double>("1e999").substr(0, 10), "400 body: ");
  EXPECT_EQ(json_as<double>("\"1\""), "400 body: x: is no number");
  EXPECT_EQ(json_as<bool>("1"), "400 body: x: is neither true nor false");
}

TEST(json, what_is_wrong_is_named_however_deep_it_is) {
  router r;
  r.post("/", [](json<documented::order> sent) { return json_response(*sent); });
  const std::string right =
      R"({"color":"red","items":[{"id":1,"name":"","sizes":[]}],"place":[1,2],"stock":{"a":[3]}})";
  EXPECT_EQ(post(r, "/", right), "200 " + right);
  const auto refused = [&](std::string_view part, std::string_view by) {
    std::string wrong = right;
    wrong.replace(wrong.find(part), part.size(), by);
    return post(r, "/", wrong);
  };
  EXPECT_EQ(refused(R"("sizes":[])", R"("sizes":[0,1,2.5])"), "400 body: items[0].sizes[2]: is no whole number");
  EXPECT_EQ(refused(R"("id":1)", R"("id":-1)"), "400 body: items[0].id: is no whole number from 0 on");
  EXPECT_EQ(refused(R"("id":1,)", ""), "400 body: items[0].id: is missing");
  EXPECT_EQ(refused("[1,2]", "[1,300]"), "400 body: place[1]: is out of range");
  EXPECT_EQ(refused("[1,2]", "[1,2,3]"), "400 body: place: is no list of the right length");
  EXPECT_EQ(refused("[3]", "[99999999999]"), "400 body: stock.a[0]: is out of range");
  EXPECT_EQ(refused(R"("a":[3])", "\"" + std::string(61, 'k') + "\":3"), "400 body: stock.(a long key): is no list");
  EXPECT_EQ(refused("\"red\"", "\"pink\""), "400 body: color: there is no such color");
  EXPECT_EQ(refused("\"red\"", "1"), "400 body: color: type must be string, but is number");
}

TEST(json, a_deep_document_does_not_exhaust_the_stack) {
  router r = items();
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  EXPECT_EQ(post(r, "/", deep).substr(0, 10), "400 body: ");
}

TEST(json, another_content_type_is_refused) {
  router r = items();
  const std::string sent = R"({"id":1,"name":"","sizes":[]})";
  for (const std::string_view type :
       {"application/json", "Application/JSON ; charset=utf-8", "application/merge-patch+json"}) {
    EXPECT_EQ(post(r, "/", sent, type).substr(0, 3), "201") << type;
  }
  for (const std::string_view type : {"", "text/plain", "application/jsonx", "+json", "application/json/x"}) {
    EXPECT_EQ(post(r, "/", sent, type), "415 body: Content-Type is application/json") << type;
  }
}

}  // namespace
}  // namespace skerry
