// SPDX-License-Identifier: Apache-2.0
/// What stands around handlers: which requests it lets through and what it makes of their responses.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/net/http/middleware.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/ask.hpp>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using namespace net::http;
using namespace std::chrono_literals;
using test_support::answer;
using test_support::ask;
using test_support::ask_on_shard;
using test_support::question;

/// Answers "/", and throws in two other places.
router routes(middleware first) {
  router r;
  r.use(std::move(first));
  r.get("/", [](request&) { return response::text("handled"); });
  r.get("/forbidden", [](request&) -> response { throw http_error(403, "not you"); });
  r.get("/broken", [](request&) -> response { throw std::runtime_error("a secret of the server"); });
  r.get("/odd", [](request&) -> response { throw 7; });
  return r;
}

answer get(router& r, std::string_view path, std::vector<field> fields = {}) {
  return ask(r, question(method::get, path, std::move(fields)));
}

bool has(const answer& got, std::string_view line) { return got.fields.find(line) != std::string::npos; }

TEST(request_id, is_the_requests_own_when_that_is_harmless) {
  router r = routes(request_id());
  EXPECT_EQ(get(r, "/", {field("x-request-id", "abc-1_2.3:4+/=")}).fields, "X-Request-Id: abc-1_2.3:4+/=\r\n");
  const std::string longest(128, 'a');
  EXPECT_TRUE(has(get(r, "/", {field("X-Request-Id", longest)}), longest));
}

TEST(request_id, is_a_new_one_otherwise) {
  router r = routes(request_id());
  std::set<std::string> seen;
  block_on([&]() -> task<> {
    for (const std::string_view sent : {"", "a b", "a\"b", "<a>"}) {
      const question q(method::get, "/", {field("X-Request-Id", sent)});
      const answer got = co_await ask_on_shard(r, q);
      EXPECT_EQ(got.fields.size(), std::string_view("X-Request-Id: \r\n").size() + 32);
      seen.insert(got.fields);
    }
  });
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_FALSE(
      has(get(r, "/", {field("X-Request-Id", std::string_view(std::string(129, 'a')))}), std::string(33, 'a')));
}

TEST(exceptions_to_problems, tell_what_is_for_the_peer_and_nothing_else) {
  if (test_support::simulation != nullptr) GTEST_SKIP() << "simulated hosts write no log here";
  router r = routes(exceptions_to_problems());
  r.use(request_id());
  EXPECT_EQ(get(r, "/").body, "handled");
  const answer forbidden = get(r, "/forbidden");
  EXPECT_EQ(forbidden.status, 403u);
  EXPECT_NE(forbidden.body.find("not you"), std::string::npos);
  for (const std::string_view path : {"/broken", "/odd"}) {
    testing::internal::CaptureStderr();
    const answer broken = get(r, path);
    const std::string logged = testing::internal::GetCapturedStderr();
    EXPECT_EQ(broken.status, 500u);
    EXPECT_EQ(broken.body, problem(500, "the handler failed").bytes());
    EXPECT_NE(logged.find(path), std::string::npos) << logged;
    EXPECT_EQ(logged.find("a secret of the server") != std::string::npos, path == "/broken") << logged;
  }
}

TEST(access_log, has_a_line_for_each_answer_also_for_what_is_thrown) {
  if (test_support::simulation != nullptr) GTEST_SKIP() << "simulated hosts write no log here";
  test_support::manual_clock time;
  router r = routes(access_log());
  r.get("/slow", [&time](request&) -> task<response> {
    time.pass(1500us);
    co_return response(204);
  });
  const auto line_for = [&](std::string_view path) {
    app_options options = test_support::quiet_options(1);
    options.log_level = "info";
    const question q(method::get, path);
    testing::internal::CaptureStderr();
    const auto get_it = [&]() -> task<> {
      try {
        co_await ask_on_shard(r, q);
      } catch (const std::runtime_error&) {  // the server's to answer
      }
    };
    test_support::run_shards(options, get_it, time);
    return testing::internal::GetCapturedStderr();
  };
  for (const std::string_view line : {"GET / 200 0 us", "GET /slow 204 1500 us", "GET /missing 404 0 us",
                                      "GET /forbidden 403 0 us", "GET /broken 500 0 us"}) {
    const std::string logged = line_for(line.substr(4, line.find(' ', 4) - 4));
    EXPECT_NE(logged.find(line), std::string::npos) << logged;
  }
}

TEST(time_limit, ends_a_handler_that_takes_longer_and_leaves_others_alone) {
  router r = routes(time_limit(5ms));
  bool destroyed = false;
  struct on_end {
    bool& flag;
    ~on_end() { flag = true; }
  };
  r.get("/slow", [&destroyed](request&) -> task<response> {
    on_end watch(destroyed);
    co_await sleep_for(1h);
    co_return response();
  });
  EXPECT_EQ(get(r, "/").body, "handled");
  EXPECT_EQ(get(r, "/slow").status, 503u);
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(get(r, "/forbidden").status, 403u);
}

// ---- CORS ----

answer preflight(router& r, std::string_view origin) {
  return ask(r,
             question(method::options, "/", {field("Origin", origin), field("Access-Control-Request-Method", "GET")}));
}

TEST(cors, answers_preflights_of_known_origins) {
  cors_options options;
  options.origins = {"https://a.example", "https://b.example"};
  options.methods = {method::get, method::put};
  options.headers = {"Content-Type", "X-Key"};
  options.exposed = {"X-Request-Id"};
  options.credentials = true;
  options.preflight_age = 60s;
  router r = routes(cors(options));
  const answer known = preflight(r, "https://b.example");
  EXPECT_EQ(known.status, 204u);
  EXPECT_EQ(known.fields,
            "Vary: Origin\r\nAccess-Control-Allow-Origin: https://b.example\r\n"
            "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET, PUT\r\n"
            "Access-Control-Allow-Headers: Content-Type, X-Key\r\nAccess-Control-Max-Age: 60\r\n");
  for (const std::string_view origin : {"https://c.example", "https://a.example.evil", "null", "", "*"}) {
    EXPECT_EQ(preflight(r, origin).fields, "Vary: Origin\r\n") << origin;
  }
  EXPECT_EQ(get(r, "/", {field("Origin", "https://a.example")}).fields,
            "Vary: Origin\r\nAccess-Control-Allow-Origin: https://a.example\r\n"
            "Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-Request-Id\r\n");
  EXPECT_EQ(get(r, "/", {field("Origin", "https://c.example")}).fields, "Vary: Origin\r\n");
  EXPECT_EQ(get(r, "/").fields, "Vary: Origin\r\n");
  EXPECT_EQ(ask(r, question(method::options, "/")).fields, "Allow: GET, HEAD, OPTIONS\r\nVary: Origin\r\n")
      << "OPTIONS that is no preflight is the router's";
}

TEST(cors, of_a_group_answers_preflights_for_its_routes_only) {
  cors_options options;
  options.origins = {"*"};
  router inner = routes(cors(options));
  router r;
  r.get("/", [](request&) { return response(); });
  r.mount("/api", std::move(inner));
  const std::vector<field> asked = {field("Origin", "https://x"), field("Access-Control-Request-Method", "GET")};
  EXPECT_TRUE(has(ask(r, question(method::options, "/api/", asked)), "Access-Control-Allow-Origin: *\r\n"));
  EXPECT_FALSE(has(ask(r, question(method::options, "/", asked)), "Access-Control"));
}

TEST(cors, every_origin_with_credentials_is_refused) {
  cors_options options;
  options.origins = {"*"};
  options.credentials = true;
  EXPECT_THROW(cors(options), std::invalid_argument);
  options.credentials = false;
  options.headers = {"X\r\nY"};
  EXPECT_THROW(cors(options), std::invalid_argument);
}

// ---- authentication ----

TEST(same_secret, is_equality) {
  const std::vector<std::string_view> texts = {
      "",       "a",      "b",     "aa", "ab", "aaaa", std::string_view("\0", 1), std::string_view("a\0", 2),
      "secret", "secreu", "Secret"};
  for (const std::string_view one : texts) {
    for (const std::string_view other : texts) EXPECT_EQ(same_secret(one, other), one == other) << one << " " << other;
  }
}

TEST(basic_auth, lets_through_whom_the_check_knows) {
  router r = routes(basic_auth("items", [](std::string_view user, std::string_view password) -> task<bool> {
    co_await sleep_for(1ms);
    co_return same_secret(user, "Aladdin") && same_secret(password, "open:sesame");
  }));
  const auto status = [&](std::string_view sent) { return get(r, "/", {field("Authorization", sent)}).status; };
  EXPECT_EQ(status("Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ=="), 200u);
  EXPECT_EQ(status("bASIC  QWxhZGRpbjpvcGVuOnNlc2FtZQ=="), 200u);
  for (const std::string_view wrong :
       {"", "Basic", "Basic ", "Basic  ", "BasicQWxhZGRpbjpvcGVuOnNlc2FtZQ==", "Bearer QWxhZGRpbjpvcGVuOnNlc2FtZQ==",
        "Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ", "Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ=", "Basic QWxhZGRpbjpvcGVuOnNlc2FtZR==",
        "Basic QWxhZGRpbjpvcGVuOnNlc2FtZS==", "Basic QWxhZGRpbg==", "Basic Og==", "Basic ====", "Basic !!!!",
        "Basic QWxhZGRpbjpvcGVuOnNlc2Ft\nQ==", "Basic QWxhZGRpbjpvcGVu"}) {
    EXPECT_EQ(status(wrong), 401u) << wrong;
  }
  EXPECT_EQ(get(r, "/").fields, "WWW-Authenticate: Basic realm=\"items\", charset=\"UTF-8\"\r\n");
  EXPECT_EQ(get(r, "/unknown").status, 401u) << "who is not known does not learn what is there";
  const auto nobody = [](std::string_view, std::string_view) -> task<bool> { co_return false; };
  EXPECT_THROW(basic_auth("a\"b", nobody), std::invalid_argument);
  EXPECT_THROW(basic_auth("a\nb", nobody), std::invalid_argument);
}

TEST(basic_auth, reads_base64_of_every_length_and_byte) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto encode = [&](std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 3) {
      const std::string_view part = text.substr(i, 3);
      std::uint32_t bits = 0;
      for (std::size_t k = 0; k < 3; ++k) {
        bits = bits << 8 | (k < part.size() ? static_cast<unsigned char>(part[k]) : 0U);
      }
      for (std::size_t k = 0; k < 4; ++k) out += k <= part.size() ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    return out;
  };
  std::string expected;
  router r = routes(basic_auth("x", [&](std::string_view user, std::string_view password) -> task<bool> {
    co_return user == "u" && password == expected;
  }));
  block_on([&]() -> task<> {
    for (int size = 0; size < 300; ++size) {
      const std::string sent = "Basic " + encode("u:" + expected);
      const question q(method::get, "/", {field("Authorization", sent)});
      const answer got = co_await ask_on_shard(r, q);
      EXPECT_EQ(got.status, 200u) << sent;
      expected += static_cast<char>(size);
    }
  });
}

TEST(bearer_auth, tells_a_missing_token_from_a_wrong_one) {
  router r =
      routes(bearer_auth("items", [](std::string_view token) -> task<bool> { co_return same_secret(token, "t0ken"); }));
  EXPECT_EQ(get(r, "/", {field("Authorization", "bearer t0ken")}).body, "handled");
  const answer missing = get(r, "/");
  EXPECT_EQ(missing.status, 401u);
  EXPECT_EQ(missing.fields, "WWW-Authenticate: Bearer realm=\"items\"\r\n");
  const answer wrong = get(r, "/", {field("Authorization", "Bearer t0ke")});
  EXPECT_EQ(wrong.status, 401u);
  EXPECT_EQ(wrong.fields, "WWW-Authenticate: Bearer realm=\"items\", error=\"invalid_token\"\r\n");
}

// ---- rates ----

/// Requests of `who` to `r` until one is refused; how many were let through.
task<int> let_through(router& r, std::string who) {
  int passed = 0;
  while (true) {
    const question q(method::get, "/", {field("X-Key", who)});
    const answer got = co_await ask_on_shard(r, q);
    if (got.status == 429) co_return passed;
    EXPECT_EQ(got.status, 200u);
    if (++passed == 1000) co_return passed;
  }
}

router limited(const rate_options& options) {
  return routes(rate_limit(options, [](request& r) { return r.header("X-Key").value_or(""); }));
}

void with_manual_clock(const std::function<task<>(test_support::manual_clock&)>& body) {
  test_support::manual_clock time;
  test_support::run_shards(test_support::quiet_options(1), [&] { return body(time); }, time);
}

TEST(rate_limit, gives_a_burst_and_then_the_rate_to_each_key) {
  rate_options options;
  options.per_second = 4;
  options.burst = 3;
  router r = limited(options);
  with_manual_clock([&](test_support::manual_clock& time) -> task<> {
    EXPECT_EQ(co_await let_through(r, "a"), 3);
    EXPECT_EQ(co_await let_through(r, "a"), 0);
    EXPECT_EQ(co_await let_through(r, "b"), 3) << "keys do not share";
    time.pass(249ms);
    EXPECT_EQ(co_await let_through(r, "a"), 0);
    time.pass(1ms);
    EXPECT_EQ(co_await let_through(r, "a"), 1);
    time.pass(500ms);
    EXPECT_EQ(co_await let_through(r, "a"), 2);
    time.pass(1h);
    EXPECT_EQ(co_await let_through(r, "a"), 3) << "what is not used up does not add up";
  });
}

TEST(rate_limit, says_in_whole_seconds_when_to_come_again) {
  rate_options options;
  options.per_second = 0.1;
  options.burst = 1;
  router r = limited(options);
  with_manual_clock([&](test_support::manual_clock& time) -> task<> {
    EXPECT_EQ(co_await let_through(r, "a"), 1);
    const question q(method::get, "/", {field("X-Key", "a")});
    answer got = co_await ask_on_shard(r, q);
    EXPECT_EQ(got.fields, "Retry-After: 10\r\n");
    time.pass(8500ms);
    got = co_await ask_on_shard(r, q);
    EXPECT_EQ(got.fields, "Retry-After: 2\r\n");
    time.pass(1500ms);
    EXPECT_EQ(co_await let_through(r, "a"), 1);
  });
}

TEST(rate_limit, forgets_the_key_used_longest_ago_when_there_are_too_many) {
  rate_options options;
  options.per_second = 1;
  options.burst = 2;
  options.keys_max = 3;
  router r = limited(options);
  with_manual_clock([&](test_support::manual_clock&) -> task<> {
    for (const char* who : {"a", "b", "c"}) EXPECT_EQ(co_await let_through(r, who), 2);
    EXPECT_EQ(co_await let_through(r, "a"), 0) << "and a refusal is a use";
    EXPECT_EQ(co_await let_through(r, "d"), 2);
    EXPECT_EQ(co_await let_through(r, "a"), 0);
    EXPECT_EQ(co_await let_through(r, "c"), 0);
    EXPECT_EQ(co_await let_through(r, "b"), 2) << "was forgotten for d";
    const std::string start(128, 'k');
    EXPECT_EQ(co_await let_through(r, start + "1"), 2);
    EXPECT_EQ(co_await let_through(r, start + "2"), 0) << "128 bytes of a key count";
  });
}

TEST(rate_limit, options_without_sense_are_refused) {
  const auto refused = [](double per_second, std::uint32_t burst, std::size_t keys_max) {
    rate_options options;
    options.per_second = per_second;
    options.burst = burst;
    options.keys_max = keys_max;
    EXPECT_THROW(limited(options), std::invalid_argument);
  };
  refused(0, 1, 1);
  refused(-1, 1, 1);
  refused(std::numeric_limits<double>::quiet_NaN(), 1, 1);
  refused(std::numeric_limits<double>::infinity(), 1, 1);
  refused(1, 0, 1);
  refused(1, 1, 0);
  refused(0.001, 1'000'000'000, 1);
}

}  // namespace
}  // namespace skerry
