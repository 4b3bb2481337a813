// SPDX-License-Identifier: Apache-2.0
/// A client and a server on a shard whose kernel fails any operation with any errno: each request ends with its whole
/// right answer or an error, those behind it are answered, and nothing is left behind.

#include <skerry/net/endpoint.hpp>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/scripted_server.hpp>
#include <net/http/serving.hpp>
#include <support/fault_run.hpp>

namespace skerry::http_tests {
namespace {

using test_support::fault_plan;

/// How many requests failed.
task<int> converse() {
  const address at = co_await net::http::serve(loopback(), [] { return net::http::handler(by_path); });
  int failed = 0;
  const auto ask = [&failed](task<client_response> asked, std::string expected) -> task<> {
    std::string got;
    try {
      got = co_await answer_of(std::move(asked));
    } catch (const std::system_error&) {
      ++failed;
      co_return;
    }
    EXPECT_TRUE(got == expected) << got.substr(0, 100);
  };
  const std::string upload = numbered_bytes(100'000);
  client c;
  for (int round = 0; round < 2; ++round) {
    co_await ask(c.get(url_of(at, "/")), "200 Hello, World!");
    co_await ask(c.send(outgoing(method::post, url_of(at, "/echo")).body("a/b", upload)), "200 " + upload);
    co_await ask(c.get(url_of(at, "/large")), "200 " + numbered_bytes(1'000'000));
    co_await ask(c.get(url_of(at, "/stream")), "200 one two");
  }
  co_return failed;
}

/// Runs it on a kernel that follows `plan`; tells whether that made anything fail, and the number of failed requests.
std::pair<bool, int> converse_under(const fault_plan& plan) {
  int failed = 0;
  const auto body = [&]() -> task<> {
    resources().emplace<world>();
    failed = co_await converse();
    while (net::this_endpoints().size() != 0) co_await turn();
  };
  const bool struck = test_support::run_with(plan, body, "off");
  return {struck, failed};
}

struct faulty_kind {
  const char* name;
  io_uring_op opcode;
  std::vector<int> told, unnoticed;
};

const faulty_kind kinds[] = {
    {"accept", IORING_OP_ACCEPT, {}, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EINTR, EAGAIN, ECONNABORTED, EPERM}},
    {"receive", IORING_OP_RECV, {ENOMEM, ECONNRESET, ETIMEDOUT}, {ENOBUFS, EINTR, EAGAIN}},
    {"send", IORING_OP_SEND, {EPIPE, ECONNRESET, ENOBUFS, ENOMEM, ETIMEDOUT}, {EINTR, EAGAIN}},
    {"connect", IORING_OP_CONNECT, {ECONNREFUSED, ETIMEDOUT, EADDRNOTAVAIL, ENETUNREACH, ENOMEM}, {EINTR}},
    {"close", IORING_OP_CLOSE, {}, {EIO, EINTR, ENOSPC}},
};

class http_faults : public testing::TestWithParam<faulty_kind> {};

INSTANTIATE_TEST_SUITE_P(kinds, http_faults, testing::ValuesIn(kinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(http_faults, at_every_place_cost_one_request_or_none) {
  for (const bool is_told : {true, false}) {
    for (int error : is_told ? GetParam().told : GetParam().unnoticed) {
      for (std::uint64_t nth = 1; nth <= 40; ++nth) {
        SCOPED_TRACE(GetParam().name + (" " + std::to_string(nth) + ": ") + std::generic_category().message(error));
        const auto [struck, failed] = converse_under(test_support::fail_nth(GetParam().opcode, nth, error));
        EXPECT_TRUE(struck || nth > 1) << "a conversation has such operations";
        if (!struck) break;
        EXPECT_LE(failed, is_told ? 1 : 0);
      }
    }
  }
}

}  // namespace
}  // namespace skerry::http_tests
