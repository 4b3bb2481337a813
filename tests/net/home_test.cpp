// SPDX-License-Identifier: Apache-2.0
/// What belongs to a shard, touched on another: received buffers and channels stop the process in every build, the rest
/// in debug builds, and names the task that made it, too.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/net/http/client.hpp>
#include <skerry/net/http/server.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/pool.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/generator/generator.hpp>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <sys/socket.h>

namespace skerry {
namespace {

using test_support::loopback;
using test_support::raw_peer;
using test_support::run_shards;

/// Runs `touch` on shard 1 with what the task "owner" has made on shard 0.
template <class T, class Touch>
void touch_elsewhere(T (*make)(), Touch) {
  run_shards(2, [make]() -> task<> {
    auto body = [make]() -> task<> {
      T owned = make();
      co_await submit_to(1, [](borrowed<T> theirs) -> task<> { co_await Touch{}(*theirs); }, borrowed(owned));
    };
    co_await spawn(body, "owner");
  });
}

TEST(home, a_channel_is_used_where_it_was_made) {
  const std::string where = "only on the shard that made it\n.*shard 1, task \"submit_to\"";
  using ints = std::unique_ptr<channel<int>>;
  const auto make = [] { return std::make_unique<channel<int>>(1); };
  const auto send = [](ints& theirs) -> task<> { co_await theirs->send(1); };
  const auto receive = [](ints& theirs) -> task<> {
    theirs->try_recv();
    co_return;
  };
  const auto close = [](ints& theirs) -> task<> {
    theirs->close();
    co_return;
  };
  EXPECT_DEATH(touch_elsewhere<ints>(make, send), where);
  EXPECT_DEATH(touch_elsewhere<ints>(make, receive), where);
  EXPECT_DEATH(touch_elsewhere<ints>(make, close), where);
}

/// The bytes that a peer has sent, received on shard 0 by the task "owner".
template <class Touch>
void touch_buffer_on(shard_id where, Touch) {
  run_shards(2, [where]() -> task<> {
    const auto body = [where]() -> task<> {
      net::listener listening(loopback());
      raw_peer peer(listening.where());
      std::optional<net::stream> ours = co_await listening.accept();
      co_await peer.send("x");
      buffer bytes = co_await ours->read();
      co_await submit_to(where, [](borrowed<buffer> theirs) { Touch{}(*theirs); }, borrowed(bytes));
    };
    co_await spawn(body, "owner");
  });
}

TEST(home, a_buffer_is_shared_and_dropped_where_it_was_received) {
  const std::string where = "a buffer is copied and dropped on the shard that received it\n.*shard 1";
  const auto copy = [](buffer& theirs) { const buffer second = theirs; };
  const auto drop = [](buffer& theirs) { const buffer taken = std::move(theirs); };
  const auto cut = [](buffer& theirs) { (void)theirs.slice(0, 1); };
  touch_buffer_on(0, copy);
  touch_buffer_on(0, drop);
  touch_buffer_on(0, cut);
  EXPECT_DEATH(touch_buffer_on(1, copy), where);
  EXPECT_DEATH(touch_buffer_on(1, drop), where);
  EXPECT_DEATH(touch_buffer_on(1, cut), where);
}

#ifdef SKERRY_HOME_STAMPS

generator<int> numbers() { co_yield 1; }

net::stream a_stream() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
  return net::stream::adopt(ends[0], false);
}

TEST(home, who_touches_what_is_anothers_is_told_with_both_tasks) {
  const std::string made = " belongs to shard 0, where task [0-9]+ \"owner\" made it\n.*shard 1, task \"submit_to\"";
  const auto read = [](net::stream& theirs) -> task<> { co_await theirs.read(); };
  const auto write = [](net::stream& theirs) -> task<> { co_await theirs.write("x"); };
  const auto drop = [](net::stream& theirs) -> task<> {
    const net::stream mine = std::move(theirs);
    co_return;
  };
  EXPECT_DEATH(touch_elsewhere(a_stream, read), "a connection" + made);
  EXPECT_DEATH(touch_elsewhere(a_stream, write), "a connection" + made);
  EXPECT_DEATH(touch_elsewhere(a_stream, drop), "a connection" + made);
  const auto listen = [] { return net::listener(loopback()); };
  const auto accept = [](net::listener& theirs) -> task<> { co_await theirs.accept(); };
  EXPECT_DEATH(touch_elsewhere<net::listener>(listen, accept), "a listener" + made);
  const auto bind = [] { return net::datagram_socket(loopback()); };
  const auto receive = [](net::datagram_socket& theirs) -> task<> { co_await theirs.receive(); };
  EXPECT_DEATH(touch_elsewhere<net::datagram_socket>(bind, receive), "a socket or pipe" + made);
  const auto next = [](generator<int>& theirs) -> task<> { co_await theirs.next(); };
  EXPECT_DEATH(touch_elsewhere(numbers, next), "a generator" + made);
}

TEST(home, clients_resolvers_and_pools_are_used_by_the_shard_that_made_them) {
  const std::string made = " belongs to shard 0, where task [0-9]+ \"owner\" made it\n.*shard 1, task \"submit_to\"";
  using net::http::client;
  const auto make_client = [] { return std::make_unique<client>(); };
  const auto ask = [](std::unique_ptr<client>& theirs) -> task<> { co_await theirs->get("http://127.0.0.1:1/"); };
  EXPECT_DEATH(touch_elsewhere<std::unique_ptr<client>>(make_client, ask), "an HTTP client" + made);
  using net::dns::resolver;
  const auto make_resolver = [] { return std::make_unique<resolver>(); };
  const auto resolve = [](std::unique_ptr<resolver>& theirs) -> task<> { co_await theirs->resolve("localhost", 1); };
  const auto forget = [](std::unique_ptr<resolver>& theirs) -> task<> {
    theirs->forget();
    co_return;
  };
  const auto drop = [](auto& theirs) -> task<> {
    theirs.reset();
    co_return;
  };
  EXPECT_DEATH(touch_elsewhere<std::unique_ptr<resolver>>(make_resolver, resolve), "a resolver" + made);
  EXPECT_DEATH(touch_elsewhere<std::unique_ptr<resolver>>(make_resolver, forget), "a resolver" + made);
  EXPECT_DEATH(touch_elsewhere<std::unique_ptr<resolver>>(make_resolver, drop), "a resolver" + made);
  using ints = std::unique_ptr<net::pool<int>>;
  const auto make_pool = [] { return std::make_unique<net::pool<int>>([]() -> task<int> { co_return 1; }); };
  const auto acquire = [](ints& theirs) -> task<> { co_await theirs->acquire(); };
  const auto clear = [](ints& theirs) -> task<> {
    theirs->clear();
    co_return;
  };
  EXPECT_DEATH(touch_elsewhere<ints>(make_pool, acquire), "a pool" + made);
  EXPECT_DEATH(touch_elsewhere<ints>(make_pool, clear), "a pool" + made);
  EXPECT_DEATH(touch_elsewhere<ints>(make_pool, drop), "a pool" + made);
}

/// A request to a server whose handler is given, from shard 0, and what comes.
template <class Handler, class Use>
void ask_server(Handler, Use) {
  run_shards(2, []() -> task<> {
    const auto body = []() -> task<> {
      net::http::client asking;
      net::server s = co_await net::http::start_server(loopback(), [] { return net::http::handler(Handler{}); });
      net::http::outgoing request(net::http::method::post, "http://" + s.where().text() + "/");
      net::http::client_response answer = co_await asking.send(std::move(request).body("text/plain", "x"));
      co_await Use{}(answer);
      app::shutdown();
    };
    co_await spawn(body, "owner");
  });
}

shard_id other_shard() { return (this_shard_id() + 1) % shard_count(); }

TEST(home, bodies_of_http_are_read_and_written_by_the_shard_that_has_the_connection) {
  const std::string made = " belongs to shard [01], where task [0-9]+ \".*\" made it\n.*shard [01], task \"submit_to\"";
  using namespace net::http;
  const auto plain = [](request&) -> task<response> { co_return response::text("x"); };
  const auto read_all = [](client_response& answer) -> task<> { co_await answer.read_all(); };
  const auto read_elsewhere = [](client_response& answer) -> task<> {
    const auto read = [](borrowed<client_response> theirs) -> task<> { co_await theirs->read(); };
    co_await submit_to(1, read, borrowed(answer));
  };
  const auto reads_elsewhere = [](request& r) -> task<response> {
    const auto read = [](borrowed<request> theirs) -> task<> { co_await theirs->read(); };
    co_await submit_to(other_shard(), read, borrowed(r));
    co_return response::text("x");
  };
  const auto writes_elsewhere = [](request&) -> task<response> {
    const auto write_body = [](body_writer& out) -> task<> {
      const auto write = [](borrowed<body_writer> theirs) -> task<> { co_await theirs->write("x"); };
      co_await submit_to(other_shard(), write, borrowed(out));
    };
    co_return response::stream("text/plain", write_body);
  };
  ask_server(plain, read_all);
  EXPECT_DEATH(ask_server(plain, read_elsewhere), "an HTTP response" + made);
  EXPECT_DEATH(ask_server(reads_elsewhere, read_all), "an HTTP request" + made);
  EXPECT_DEATH(ask_server(writes_elsewhere, read_all), "an HTTP response" + made);
}

#endif

}  // namespace
}  // namespace skerry
