// SPDX-License-Identifier: Apache-2.0
#pragma once

/// ask: one request to a router, on a shard, and the answer as a server would give it. A body comes through a real
/// stream, cut where the socket cuts it.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/http/request.hpp>
#include <skerry/net/http/response.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/shards/block_on.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/raw_peer.hpp>

namespace skerry::test_support {

struct question {
  explicit question(net::http::method m, std::string_view target, std::vector<net::http::field> fields_sent = {},
                    std::string body_sent = {})
      : fields(std::move(fields_sent)), body(std::move(body_sent)) {
    head.method = m;
    head.method_text = net::http::to_string(m);
    head.target = target;
    head.path = target.substr(0, target.find('?'));
    if (head.path.size() < target.size()) head.query = target.substr(head.path.size() + 1);
    head.content_length = body.size();
    if (!body.empty()) head.framing = net::http::framing::length;
  }

  net::http::request_head head;
  std::vector<net::http::field> fields;
  std::string body;
};

struct answer {
  unsigned status = 0;
  std::string body;
  std::string fields;
};

class no_body final : public net::http::body_source {
 public:
  task<buffer> next() override { co_return buffer(); }
  void limit(std::uint64_t) noexcept override {}
};

class stream_body final : public net::http::body_source {
 public:
  explicit stream_body(net::stream& from) noexcept : from_(from) {}
  task<buffer> next() override {
    ++reads;
    co_return co_await from_.read();
  }
  void limit(std::uint64_t) noexcept override {}

  int reads = 0;

 private:
  net::stream& from_;
};

/// On a shard. What is thrown becomes what the server makes of it.
inline task<answer> answer_to(net::http::router& routes, const question& q, net::http::body_source& body) {
  net::http::request_head head = q.head;
  head.fields = q.fields;
  net::http::request r(head, body);
  answer got;
  try {
    const net::http::response made = co_await routes(r);
    got.status = made.status();
    got.body = made.bytes();
    got.fields = made.field_lines();
  } catch (const net::http::http_error& error) {
    got.status = error.status();
    got.body = error.what();
  }
  co_return got;
}

inline task<answer> ask_on_shard(net::http::router& routes, const question& q) {
  if (q.body.empty()) {
    no_body none;
    co_return co_await answer_to(routes, q, none);
  }
  connected pair = co_await connect_pair();
  const auto send_all = [](raw_peer& to, const std::string& bytes) -> task<> {
    co_await to.send(bytes);
    to.shut_down_output();
  };
  auto sending = spawn(send_all(pair.theirs, q.body));  // no kernel has to hold all of it
  stream_body body(pair.ours);
  answer got = co_await answer_to(routes, q, body);
  sending.abort();
  while (!sending.is_finished()) co_await turn();
  co_return got;
}

inline answer ask(net::http::router& routes, const question& q) { return block_on(ask_on_shard(routes, q)); }

}  // namespace skerry::test_support
