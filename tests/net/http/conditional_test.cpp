// SPDX-License-Identifier: Apache-2.0
/// What a client gets that has something already: tags, preconditions, ranges, and all of it under compression.

#include <skerry/net/http/compression.hpp>
#include <skerry/net/http/conditional.hpp>
#include <skerry/shards/block_on.hpp>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/ask.hpp>

namespace skerry {
namespace {

using namespace net::http;
using test_support::answer;
using test_support::ask;
using test_support::question;

constexpr std::string_view hello = "Hello, World!";
// printf 'Hello, World!' | sha256sum | cut -c -32
constexpr std::string_view hello_tag = "\"dffd6021bb2bd5b0af676290809ec3a5\"";

std::string header_line(std::string_view name, std::string_view value) {
  return std::string(name) + ": " + std::string(value) + "\r\n";
}
bool has(const answer& got, std::string_view line) { return got.fields.find(line) != std::string::npos; }

router tagged() {
  router r;
  r.use(etag());
  r.get("/", [](request&) { return response::literal("text/plain", hello); });
  r.get("/own",
        [](request&) { return response::text("a").header("ETag", "W/\"mine\"").header("Content-Encoding", "x"); });
  r.get("/missing", [](request&) { return problem(404, "not here"); });
  r.get("/stream", [](request&) { return response::stream("text/plain", [](body_writer&) -> task<> { co_return; }); });
  r.get("/spared", [](request&) { return response::text("spared"); });
  r.head("/spared", [](request&) { return response::text(""); });
  r.post("/", [](request&) { return response::text("posted"); });
  return r;
}

unsigned status(router& r, method m, std::vector<field> fields, std::string_view path = "/") {
  return ask(r, question(m, path, std::move(fields))).status;
}

TEST(etag, is_of_the_bytes_and_only_where_they_are_known) {
  router r = tagged();
  EXPECT_EQ(ask(r, question(method::get, "/")).fields, header_line("ETag", hello_tag));
  EXPECT_EQ(ask(r, question(method::get, "/")).body, hello);
  EXPECT_EQ(ask(r, question(method::head, "/")).fields, header_line("ETag", hello_tag));
  EXPECT_TRUE(has(ask(r, question(method::get, "/own")), "ETag: W/\"mine\"\r\n"));
  EXPECT_EQ(ask(r, question(method::get, "/missing")).fields, "");
  EXPECT_EQ(ask(r, question(method::get, "/stream")).fields, "");
  EXPECT_EQ(ask(r, question(method::post, "/")).fields, "");
  EXPECT_TRUE(has(ask(r, question(method::get, "/spared")), "ETag"));
  EXPECT_EQ(ask(r, question(method::head, "/spared")).fields, "");
  block_on([]() -> task<> {
    EXPECT_EQ(entity_tag(""), "\"e3b0c44298fc1c149afbf4c8996fb924\"");
    EXPECT_EQ(entity_tag(hello), hello_tag);
    co_return;
  });
}

TEST(etag, if_none_match_is_a_list_and_compared_weakly) {
  router r = tagged();
  const std::string t(hello_tag);
  for (const std::string& sent : {t, "W/" + t, "\"a\", " + t, ",, \"a\" ,W/\"b,c\",\t" + t + " ,", std::string("*")}) {
    EXPECT_EQ(status(r, method::get, {{"If-None-Match", sent}}), 304u) << sent;
    EXPECT_EQ(status(r, method::head, {{"If-None-Match", sent}}), 304u) << sent;
  }
  for (const std::string& sent :
       {std::string("\"a\""), std::string(""), std::string("\"\""), std::string("w/") + t, t + t, t + " \"a\"", "a" + t,
        t.substr(1), t.substr(0, t.size() - 1), "*, " + t, t + ", *", "\"a b\", " + t, "\"A\"" + t}) {
    EXPECT_EQ(status(r, method::get, {{"If-None-Match", sent}}), 200u) << sent;
  }
  EXPECT_EQ(status(r, method::get, {{"If-None-Match", "\"a\""}, {"if-none-match", t}}), 304u) << "two lines, one list";
  EXPECT_EQ(status(r, method::get, {{"If-None-Match", "\"mine\""}}, "/own"), 304u);
  EXPECT_EQ(status(r, method::get, {{"If-None-Match", "*"}}, "/missing"), 404u);
  EXPECT_EQ(status(r, method::post, {{"If-None-Match", "*"}}), 200u) << "it is too late to refuse";
}

TEST(etag, not_modified_has_the_tag_and_nothing_of_the_body) {
  router r = tagged();
  const answer same = ask(r, question(method::get, "/", {{"If-None-Match", hello_tag}}));
  EXPECT_EQ(same.fields, header_line("ETag", hello_tag));
  EXPECT_EQ(same.body, "");
  EXPECT_EQ(ask(r, question(method::get, "/own", {{"If-None-Match", "*"}})).fields, "ETag: W/\"mine\"\r\n");
}

TEST(etag, if_match_is_compared_strongly_and_asked_first) {
  router r = tagged();
  const std::string t(hello_tag);
  EXPECT_EQ(status(r, method::get, {{"If-Match", t}}), 200u);
  EXPECT_EQ(status(r, method::get, {{"If-Match", "\"a\", " + t}}), 200u);
  EXPECT_EQ(status(r, method::get, {{"If-Match", "*"}}), 200u);
  EXPECT_EQ(status(r, method::get, {{"If-Match", t}, {"If-None-Match", t}}), 304u);
  for (const std::string& sent : {std::string("\"a\""), "W/" + t, t.substr(1), std::string(), t + " x"}) {
    EXPECT_EQ(status(r, method::get, {{"If-Match", sent}, {"If-None-Match", t}}), 412u) << sent;
  }
  EXPECT_EQ(status(r, method::get, {{"If-Match", "W/\"mine\""}}, "/own"), 412u) << "a weak tag is never the same";
}

TEST(failed_precondition, guards_what_changes_something) {
  const auto put = [](std::vector<field> fields, std::string_view tag) {
    question q(method::put, "/", std::move(fields));
    q.head.fields = q.fields;
    test_support::no_body none;
    return failed_precondition(request(q.head, none), tag).value_or(0);
  };
  EXPECT_EQ(put({}, "\"1\""), 0u);
  EXPECT_EQ(put({{"If-Match", "\"1\""}}, "\"1\""), 0u);
  EXPECT_EQ(put({{"If-Match", "\"2\""}}, "\"1\""), 412u);
  EXPECT_EQ(put({{"If-Match", "*"}}, ""), 412u) << "only if there is something";
  EXPECT_EQ(put({{"If-None-Match", "*"}}, ""), 0u) << "only if there is nothing";
  EXPECT_EQ(put({{"If-None-Match", "*"}}, "\"1\""), 412u);
  EXPECT_EQ(put({{"If-None-Match", "W/\"1\""}}, "\"1\""), 412u);
}

// ---- ranges ----

constexpr std::string_view digits = "0123456789";

router ranged() {
  router r;
  r.use(byte_ranges());
  r.use(etag());
  r.get("/", [](request&) { return response::literal("text/plain", digits).header("X-A", "b"); });
  r.get("/weak", [](request&) { return response::literal("text/plain", digits).header("ETag", "W/\"1\""); });
  r.get("/empty", [](request&) { return response::text(""); });
  r.get("/missing", [](request&) { return problem(404, "not here"); });
  return r;
}

answer part(router& r, std::string_view range, std::vector<field> more = {}, std::string_view path = "/") {
  more.emplace_back("Range", range);
  return ask(r, question(method::get, path, std::move(more)));
}

TEST(byte_ranges, one_range_is_answered_with_its_bytes) {
  struct row {
    std::string_view asked;
    std::string_view bytes;
    std::string_view told;
  };
  router r = ranged();
  for (const row& each : {row{"bytes=0-9", "0123456789", "0-9/10"},
                          {"bytes=0-0", "0", "0-0/10"},
                          {"bytes=3-5", "345", "3-5/10"},
                          {"bytes=9-9", "9", "9-9/10"},
                          {"bytes=9-", "9", "9-9/10"},
                          {"bytes=2-", "23456789", "2-9/10"},
                          {"bytes=2-100", "23456789", "2-9/10"},
                          {"bytes=2-99999999999999999999999", "23456789", "2-9/10"},
                          {"bytes=-1", "9", "9-9/10"},
                          {"bytes=-10", "0123456789", "0-9/10"},
                          {"bytes=-11", "0123456789", "0-9/10"},
                          {"bytes=-99999999999999999999999", "0123456789", "0-9/10"},
                          {"Bytes= , 1-2 ,", "12", "1-2/10"}}) {
    const answer got = part(r, each.asked);
    EXPECT_EQ(got.status, 206u) << each.asked;
    EXPECT_EQ(got.body, each.bytes) << each.asked;
    EXPECT_TRUE(has(got, header_line("Content-Range", "bytes " + std::string(each.told)))) << got.fields;
    EXPECT_TRUE(has(got, "ETag: \"") && has(got, "X-A: b\r\n"));
  }
}

TEST(byte_ranges, what_the_body_has_not_is_416_with_its_size) {
  router r = ranged();
  for (const std::string_view asked : {"bytes=10-", "bytes=10-10", "bytes=-0", "bytes=18446744073709551616-",
                                       "bytes=99999999999999999999999-99999999999999999999999"}) {
    const answer got = part(r, asked);
    EXPECT_EQ(got.status, 416u) << asked;
    EXPECT_TRUE(has(got, "Content-Range: bytes */10\r\n")) << asked;
  }
}

TEST(byte_ranges, what_is_malformed_several_or_of_another_unit_gets_the_whole) {
  router r = ranged();
  std::string many = "bytes=0-";
  for (int i = 0; i < 500; ++i) many += ",0-";
  for (const std::string_view asked :
       std::initializer_list<std::string_view>{"", "bytes", "bytes=", "bytes=-", "bytes=5-3", "bytes=a-b", "bytes=1",
                                               "bytes=1-2-3", "bytes=--1", "bytes=+1-2", "bytes=1 -2", "bytes=0x1-2",
                                               "bytes =1-2", "items=1-2", "bytes=0-0,9-9", "bytes=-1,20-", many}) {
    const answer got = part(r, asked);
    EXPECT_EQ(got.status, 200u) << asked;
    EXPECT_EQ(got.body, digits) << asked;
    EXPECT_TRUE(has(got, "Accept-Ranges: bytes\r\n") && !has(got, "Content-Range"));
  }
}

TEST(byte_ranges, are_for_get_of_a_whole_body) {
  router r = ranged();
  const answer head = ask(r, question(method::head, "/", {{"Range", "bytes=1-2"}}));
  EXPECT_EQ(head.status, 200u);
  EXPECT_TRUE(has(head, "Accept-Ranges: bytes\r\n"));
  EXPECT_EQ(part(r, "bytes=0-", {}, "/empty").status, 200u);
  EXPECT_EQ(part(r, "bytes=0-1", {}, "/missing").status, 404u);
  EXPECT_FALSE(has(part(r, "bytes=0-1", {}, "/missing"), "Accept-Ranges"));
}

TEST(byte_ranges, if_range_gets_the_whole_unless_the_tag_is_the_same_and_strong) {
  router r = ranged();
  std::string tag;
  block_on([&]() -> task<> {
    tag = entity_tag(digits);
    co_return;
  });
  EXPECT_EQ(part(r, "bytes=1-2", {{"If-Range", tag}}).body, "12");
  EXPECT_EQ(part(r, "bytes=20-", {{"If-Range", tag}}).status, 416u);
  EXPECT_EQ(part(r, "bytes=20-", {{"If-Range", "\"old\""}}).status, 200u);
  for (const std::string& sent : {std::string("\"old\""), "W/" + tag, tag + ", \"old\"", tag.substr(1), std::string(),
                                  std::string("*"), std::string("Thu, 01 Jan 1970 00:00:00 GMT")}) {
    EXPECT_EQ(part(r, "bytes=1-2", {{"If-Range", sent}}).body, digits) << sent;
  }
  EXPECT_EQ(part(r, "bytes=1-2", {{"If-Range", "W/\"1\""}}, "/weak").status, 200u);
}

TEST(byte_ranges, preconditions_come_first) {
  router r = ranged();
  EXPECT_EQ(part(r, "bytes=1-2", {{"If-None-Match", "*"}}).status, 304u);
  EXPECT_EQ(part(r, "bytes=1-2", {{"If-Match", "\"old\""}}).status, 412u);
}

// ---- with compression ----

router both(bool compress_outermost) {
  router r;
  if (compress_outermost) r.use(compress());
  r.use(byte_ranges());
  r.use(etag());
  if (!compress_outermost) r.use(compress());
  r.get("/", [](request&) { return response::text(std::string(5000, 'a')); });
  return r;
}

std::string tag_of(const answer& got) {
  const std::size_t begin = got.fields.find("ETag: ") + 6;
  return got.fields.substr(begin, got.fields.find('\r', begin) - begin);
}

TEST(conditional, under_compression_tags_are_weak_and_ranges_are_of_the_plain_bytes) {
  router r = both(true);
  const field gzip("Accept-Encoding", "gzip");
  const answer plain = ask(r, question(method::get, "/"));
  const answer packed = ask(r, question(method::get, "/", {gzip}));
  EXPECT_TRUE(has(packed, "Content-Encoding: gzip\r\n") && !has(packed, "Accept-Ranges"));
  EXPECT_TRUE(has(plain, "Accept-Ranges: bytes\r\n"));
  EXPECT_EQ(tag_of(packed), "W/" + tag_of(plain));
  const std::string weak = tag_of(packed), strong = tag_of(plain);

  const answer same = ask(r, question(method::get, "/", {gzip, {"If-None-Match", weak}}));
  EXPECT_EQ(same.status, 304u);
  EXPECT_EQ(same.fields, "Vary: Accept-Encoding\r\nETag: " + weak + "\r\n") << "the tag of what the client has";
  EXPECT_EQ(tag_of(ask(r, question(method::get, "/", {{"If-None-Match", strong}}))), strong);

  const answer piece = part(r, "bytes=0-9", {gzip});
  EXPECT_EQ(piece.status, 206u);
  EXPECT_EQ(piece.body, "aaaaaaaaaa");
  EXPECT_TRUE(!has(piece, "Content-Encoding") && has(piece, "Vary: Accept-Encoding\r\n"));
  const answer whole = part(r, "bytes=10-", {gzip, {"If-Range", weak}});
  EXPECT_EQ(whole.status, 200u) << "never plain bytes behind packed ones";
  EXPECT_TRUE(has(whole, "Content-Encoding: gzip\r\n"));
}

TEST(conditional, around_compression_tags_and_ranges_are_of_the_packed_bytes) {
  router r = both(false);
  const field gzip("Accept-Encoding", "gzip");
  const answer plain = ask(r, question(method::get, "/"));
  const answer packed = ask(r, question(method::get, "/", {gzip}));
  const std::string tag = tag_of(packed);
  EXPECT_NE(tag, tag_of(plain));
  EXPECT_TRUE(tag.starts_with('"'));
  const answer piece = part(r, "bytes=0-9", {gzip, {"If-Range", tag}});
  EXPECT_EQ(piece.status, 206u);
  EXPECT_EQ(piece.body, packed.body.substr(0, 10));
  EXPECT_TRUE(has(piece, "Content-Encoding: gzip\r\n"));
  EXPECT_EQ(part(r, "bytes=0-9", {{"If-Range", tag}}).status, 200u) << "the plain bytes have another tag";
  const answer same = ask(r, question(method::get, "/", {gzip, {"If-None-Match", tag}}));
  EXPECT_EQ(same.fields, "Vary: Accept-Encoding\r\nETag: " + tag + "\r\n");
}

}  // namespace
}  // namespace skerry
