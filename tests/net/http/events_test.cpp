// SPDX-License-Identifier: Apache-2.0
/// Server-sent events: what goes over the wire, and that nothing sent can be taken for something else.

#include <skerry/framework/task/combine.hpp>
#include <skerry/net/http/events.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <net/http/ask.hpp>
#include <net/http/serving.hpp>
#include <sys/socket.h>

namespace skerry::http_tests {
namespace {

using namespace net::http;
using skerry::test_support::no_body;

/// Keeps what is written; suspends before each write as a slow peer makes it.
class kept_body final : public body_writer {
 public:
  task<> write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size() / 2);
    co_await yield();
    if (stuck) co_await event().wait();
    text.append(reinterpret_cast<const char*>(bytes.data()) + bytes.size() / 2, bytes.size() - bytes.size() / 2);
  }
  task<> flush() override { co_return; }

  std::string text;
  bool stuck = false;
};

/// What `produce` makes of an events response.
std::string sent_by(event_producer produce) {
  kept_body body;
  response made = events(std::move(produce));
  EXPECT_EQ(made.type(), "text/event-stream");
  EXPECT_EQ(made.field_lines(), "Cache-Control: no-store\r\n");
  block_on([&]() -> task<> { co_await (*made.streamed())(body); });
  return body.text;
}
std::string sent(server_event e) {
  return sent_by([e](event_writer& out) -> task<> { co_await out.send(e); });
}

TEST(events, have_a_line_for_each_field) {
  server_event all("now");
  all.name = "time";
  all.id = "7";
  all.retry = 1500ms;
  EXPECT_EQ(sent(all), "event: time\nid: 7\nretry: 1500\ndata: now\n\n");
  EXPECT_EQ(sent("now"), "data: now\n\n");
  EXPECT_EQ(sent(""), "data: \n\n") << "an event with empty data";
  server_event no_event;
  no_event.id = "";
  EXPECT_EQ(sent(no_event), "id: \n\n") << "no event, but no id from now on";
}

/// The lines as a browser reads them (HTML, 9.2.6): CR, LF and CRLF end one.
std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' || text[i] == '\n') {
      if (text[i] == '\r' && text.substr(i + 1).starts_with('\n')) ++i;
      lines.emplace_back();
    } else {
      lines.back() += text[i];
    }
  }
  lines.pop_back();
  return lines;
}

TEST(events, line_breaks_in_data_forge_nothing) {
  for (const std::string_view data : {"a\nb", "a\rb", "a\r\nb"}) EXPECT_EQ(sent(data), "data: a\ndata: b\n\n");
  EXPECT_EQ(sent("\n"), "data: \ndata: \n\n");
  EXPECT_EQ(sent("a\n\revent: x"), "data: a\ndata: \ndata: event: x\n\n");
  constexpr std::string_view bytes = "\r\n: e";
  const std::string text = sent_by([&](event_writer& out) -> task<> {
    for (std::size_t n = 0; n < 5 * 5 * 5 * 5; ++n) {
      std::string data;
      for (std::size_t rest = n, i = 0; i < 4; ++i, rest /= 5) data += bytes[rest % 5];
      co_await out.send(std::string_view(data));
    }
  });
  std::size_t ends = 0;
  for (const std::string& line : lines_of(text)) {
    if (line.empty()) ++ends;
    EXPECT_TRUE(line.empty() || line.starts_with("data: ")) << line;
  }
  EXPECT_EQ(ends, 5u * 5 * 5 * 5);
}

TEST(events, a_name_or_id_of_several_lines_is_refused_and_nothing_sent) {
  for (const std::string_view bad : {std::string_view("a\nb"), std::string_view("a\rb"), std::string_view("a\0b", 3)}) {
    const std::string text = sent_by([bad](event_writer& out) -> task<> {
      server_event e("x");
      e.id = bad;
      bool refused = false;
      try {
        co_await out.send(e);
      } catch (const std::invalid_argument&) {
        refused = true;
      }
      EXPECT_TRUE(refused);
      e.id.reset();
      e.name = bad;
      EXPECT_THROW(co_await out.send(e), std::invalid_argument);
      co_await out.comment("data: 1\n\rid: 2");
    });
    EXPECT_EQ(text, ": data: 1\n: \n: id: 2\n\n");
  }
}

TEST(events, of_several_tasks_go_out_whole) {
  const std::string text = sent_by([](event_writer& out) -> task<> {
    co_await when_all(out.send("first"), out.send("second"), out.comment("third"));
  });
  EXPECT_EQ(text, "data: first\n\ndata: second\n\n: third\n\n");
}

TEST(events, after_a_send_that_was_cut_short_the_response_is_a_broken_one) {
  kept_body body;
  body.stuck = true;
  int refused = 0;
  response made = events([&](event_writer& out) -> task<> {
    try {
      co_await with_timeout(1ms, out.send("lost"));
    } catch (const timeout_error&) {
    }
    body.stuck = false;
    try {
      co_await out.send("more");
    } catch (const std::runtime_error&) {
      ++refused;
    }
  });
  EXPECT_THROW(block_on([&]() -> task<> { co_await (*made.streamed())(body); }), std::runtime_error);
  EXPECT_EQ(refused, 1);
  EXPECT_EQ(body.text, "data: ");
}

TEST(last_event_id, is_the_clients_or_empty) {
  request_head head;
  no_body none;
  EXPECT_EQ(last_event_id(request(head, none)), "");
  const std::vector<field> fields{{"last-event-id", "41"}};
  head.fields = fields;
  EXPECT_EQ(last_event_id(request(head, none)), "41");
}

/// Events until `let_go` is set; told when its frame goes.
task<response> ticks(request& r) {
  co_return events([after = std::string(last_event_id(r))](event_writer& out) -> task<> {
    witness seen;
    co_await out.send(std::string_view(after));
    co_await resource<world>().let_go.wait();
    co_await out.send("last");
    seen.ended = true;
  });
}

void with_ticks(std::function<task<>(const address&, manual_clock&)> talk) {
  manual_clock time;
  app_options quiet = quiet_options(1);
  quiet.log_level = "off";
  run_shards(
      quiet,
      [&]() -> task<> {
        resources().emplace<world>();
        const address at = co_await net::http::serve(loopback(), [] { return handler(ticks); });
        co_await talk(at, time);
        app::shutdown();
      },
      time);
}

constexpr std::string_view subscribe =
    "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nLast-Event-ID: 8\r\n\r\n";

TEST(events, reach_a_client_at_once_and_silence_is_broken) {
  with_ticks([](const address& at, manual_clock& time) -> task<> {
    raw_peer peer(at);
    co_await peer.send(subscribe);
    const std::string first = co_await receive_until(peer, "data: 8\n\n\r\n");
    EXPECT_EQ(status_line(first), "HTTP/1.1 200 OK");
    EXPECT_EQ(count(first, "Content-Type: text/event-stream\r\n"), 1u);
    EXPECT_EQ(count(first, "Cache-Control: no-store\r\n"), 1u);
    time.pass(15s);  // not silent since the start
    for (int i = 0; i < 4; ++i) co_await turn();
    for (int i = 0; i < 20; ++i) {
      time.pass(15s);  // five minutes in all, more than any limit of the server
      const std::string comment = co_await receive_until(peer, "\n\n\r\n");
      EXPECT_EQ(comment, "4\r\n: \n\n\r\n");
    }
    resource<world>().let_go.set();
    const std::string last = co_await receive_until(peer, "0\r\n\r\n");
    EXPECT_EQ(last, "c\r\ndata: last\n\n\r\n0\r\n\r\n");
    EXPECT_EQ(resource<world>().cancelled, 0);
  });
}

TEST(events, end_in_order_when_the_app_drains) {
  with_ticks([](const address& at, manual_clock&) -> task<> {
    raw_peer peer(at), pipelining(at), half_closed(at);
    for (raw_peer* each : {&peer, &pipelining, &half_closed}) {
      co_await each->send(subscribe);
      co_await receive_until(*each, "data: 8\n\n\r\n");
    }
    co_await pipelining.send(subscribe);
    ::shutdown(half_closed.fd(), SHUT_WR);
    for (int i = 0; i < 20; ++i) co_await turn();
    EXPECT_EQ(resource<world>().cancelled, 0) << "neither what comes nor the peer's end is a drain";
    app::shutdown();
    for (raw_peer* each : {&peer, &half_closed}) {
      const std::string last = co_await each->receive_all();
      EXPECT_EQ(last, "0\r\n\r\n");
    }
    const std::string last = co_await receive_until(pipelining, "0\r\n\r\n");
    EXPECT_TRUE(last.starts_with("0\r\n\r\n")) << last;
    EXPECT_GE(resource<world>().cancelled, 3);
  });
}

TEST(events, end_in_order_when_their_server_drains) {
  manual_clock time;
  const auto talk = []() -> task<> {
    resources().emplace<world>();
    net::server serving = co_await net::http::start_server(loopback(), [] { return handler(ticks); });
    raw_peer peer(serving.where());
    co_await peer.send(subscribe);
    co_await receive_until(peer, "data: 8\n\n\r\n");
    const net::drain_result end = co_await serving.drain(1h);
    EXPECT_EQ(end.finished, 1u);
    EXPECT_EQ(end.cancelled, 0u);
    const std::string last = co_await peer.receive_all();
    EXPECT_EQ(last, "0\r\n\r\n");
    app::shutdown();
  };
  run_shards(quiet_options(1), talk, time);
}

/// Sends one event that no socket buffer holds, and waits.
task<response> large_tick(request&) {
  co_return events([](event_writer& out) -> task<> {
    witness seen;
    const std::string large = numbered_bytes(3'000'000);
    co_await out.send(std::string_view(large));
    resource<world>().let_go.set();
    co_await event().wait();
  });
}

TEST(events, a_drain_cuts_no_event_in_two) {
  manual_clock time;
  const auto talk = []() -> task<> {
    resources().emplace<world>();
    const address at = co_await net::http::serve(loopback(), [] { return handler(large_tick); });
    raw_peer peer(at, 128 * 1024);
    co_await peer.send(subscribe);
    std::string got = co_await peer.receive(100);
    app::shutdown();
    for (int i = 0; i < 20; ++i) co_await turn();
    EXPECT_FALSE(resource<world>().let_go.is_set()) << "the event is on its way";
    EXPECT_EQ(resource<world>().cancelled, 0);
    got += co_await peer.receive_all();
    EXPECT_TRUE(got.ends_with("\n\n\r\n0\r\n\r\n"));
    EXPECT_GT(got.size(), 3'000'000u);
    EXPECT_EQ(resource<world>().cancelled, 1);
  };
  run_shards(quiet_options(1), talk, time);
}

TEST(events, end_when_the_client_leaves) {
  with_ticks([](const address& at, manual_clock& time) -> task<> {
    {
      raw_peer peer(at);
      co_await peer.send(subscribe);
      co_await receive_until(peer, "data: 8\n\n\r\n");
    }
    while (resource<world>().cancelled == 0) {
      time.pass(15s);
      co_await turn();
    }
  });
}

}  // namespace
}  // namespace skerry::http_tests
