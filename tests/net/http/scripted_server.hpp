// SPDX-License-Identifier: Apache-2.0
#pragma once

/// scripted_server: a server that says what a test wants, right or wrong, and what tests of the client ask it with.

#include <skerry/framework/task/group.hpp>
#include <skerry/net/http/client.hpp>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/serving.hpp>

namespace skerry::http_tests {

using net::http::client;
using net::http::client_options;
using net::http::client_response;
using net::http::method;
using net::http::outgoing;
using net::http::protocol_error;
using test_support::text_of;

inline std::string url_of(const address& at, std::string_view path) {
  return "http://" + at.text() + std::string(path);
}

/// Status and body: "200 Hello".
inline task<std::string> answer_of(task<client_response> asked) {
  client_response answer = co_await std::move(asked);
  const std::string body = co_await answer.read_all();
  co_return std::to_string(answer.status()) + " " + body;
}

/// Why it failed; success is no error.
template <class T>
task<std::error_code> failure_of(task<T> doomed) {
  try {
    co_await std::move(doomed);
  } catch (const std::system_error& failed) {
    co_return failed.code();
  }
  co_return std::error_code();
}

/// A head whose body waits for "100 Continue".
inline bool asks_first(std::string_view request) { return request.ends_with("Expect: 100-continue\r\n\r\n"); }

/// A server of one connection after the other, or many: what it says is the test's matter.
class scripted_server {
 public:
  /// What is sent for the head of a request, and what becomes of the connection then.
  struct reply {
    reply(std::string text, bool ends = false, bool waits = false) : bytes(std::move(text)), close(ends), hang(waits) {}
    /// Of a request that asks first: not the word to go on, nor silence.
    bool is_final() const { return !bytes.empty() && !bytes.starts_with("HTTP/1.1 1"); }
    std::string bytes;
    bool close;
    bool hang;
  };
  using script = std::function<reply(const std::string& request)>;

  explicit scripted_server(script says) : says_(std::move(says)), running_(spawn(run(), "scripted server")) {}
  ~scripted_server() { running_.abort(); }

  std::string url(std::string_view path) const { return url_of(listening_.where(), path); }
  address where() const { return listening_.where(); }

  int accepted = 0;
  int ended = 0;  ///< connections
  bool drips = false;
  std::vector<std::string> requests;

 private:
  task<> run() {
    auto body = [this](group& g) -> task<> {
      while (true) {
        std::optional<net::stream> accepted_one = co_await listening_.accept();
        if (!accepted_one) co_return;
        ++accepted;
        g.spawn(talk(std::move(*accepted_one)));
      }
    };
    co_await with_group(body);
  }
  task<> talk(net::stream peer) {
    try {
      co_await answer_requests(peer);
    } catch (const std::system_error&) {
      // The client has left.
    }
    ++ended;
  }
  task<> answer_requests(net::stream& peer) {
    std::string got;
    bool head_is_known = false;
    while (true) {
      while (!is_whole(got, head_is_known)) {
        const buffer bytes = co_await peer.read();
        if (bytes.empty()) co_return;
        got += text_of(bytes);
      }
      requests.push_back(std::exchange(got, {}));
      const reply r = says_(requests.back());
      head_is_known = asks_first(requests.back()) && !r.is_final();
      if (head_is_known) got = requests.back();
      if (drips) {
        for (char c : r.bytes) {
          co_await peer.write(std::string_view(&c, 1));
          co_await turn();
        }
      } else {
        co_await peer.write(r.bytes);
      }
      if (r.hang) co_await never_.wait();
      if (r.close) co_return;
    }
  }

  /// Whether a head has come, and the body that it announces unless it asks first.
  static bool is_whole(std::string_view got, bool head_is_known) {
    const std::size_t head = got.find("\r\n\r\n");
    if (head == got.npos) return false;
    if (!head_is_known && asks_first(got)) return true;
    if (got.contains("Transfer-Encoding: chunked\r\n")) return got.ends_with("\r\n0\r\n\r\n");
    constexpr std::string_view field = "Content-Length: ";
    const std::size_t at = got.find(field);
    const std::size_t body = at < head ? std::stoul(std::string(got.substr(at + field.size(), 10))) : 0;
    return got.size() - head - 4 >= body;
  }

  script says_;
  net::listener listening_{loopback()};
  event never_;
  join_handle<> running_;
};
using reply = scripted_server::reply;

inline reply ok(const std::string& body) {
  return {"HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body};
}

/// A shard with time that the test moves. Frames, buffers and endpoints are asserted to be back at its end.
inline void on_a_shard(std::function<task<>(manual_clock&)> body) {
  manual_clock time;
  app_options quiet = quiet_options(1);
  quiet.log_level = "off";
  const std::ptrdiff_t before = test_support::open_descriptors();
  run_shards(
      quiet,
      [&]() -> task<> {
        co_await body(time);
        app::shutdown();
      },
      time);
  EXPECT_EQ(test_support::open_descriptors(), before);
}

inline task<> turns(int count) {
  for (int i = 0; i < count; ++i) co_await turn();
}

}  // namespace skerry::http_tests
