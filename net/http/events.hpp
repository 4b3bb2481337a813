// SPDX-License-Identifier: Apache-2.0
#pragma once

/// events: server-sent events, text that a page receives as it happens (EventSource).
///
///     response ticks(request& r) {
///       return net::http::events([after = std::string(net::http::last_event_id(r))](auto& out) -> task<> {
///         net::http::server_event tick("two\nlines");
///         tick.id = "8";
///         if (after != "8") co_await out.send(tick);
///         while (true) {
///           co_await sleep_for(std::chrono::minutes(5));
///           co_await out.send("tick");
///         }
///       });
///     }
///
/// The producer outlives its handler, so it takes what it needs of the request by value. When it ends, so does the
/// response, and a browser asks again, with the last id it has seen; 204 tells it to stop.
///
/// When a drain of the server or of the app begins, the producer is cancelled where it waits, after the event that it
/// is sending; the response ends in order, and browsers come again, to whoever serves then.
///
/// Where nothing is sent for a while a comment goes out, which clients skip: it keeps proxies and the server's own
/// handler_timeout from ending the connection, and finds out that a client has left.
///
/// Affinity:     the connection's shard. Several tasks may send; each event goes out whole.
/// Limits:       send suspends while the peer is slow, and write_timeout ends the connection of one that stands still.
///               There is no queue: who must not wait for a peer sends from a task of its own.
/// Errors:       std::invalid_argument for an id or a name that would forge other fields; nothing is sent then. Line
///               breaks in data (CR, LF, CRLF) and comments begin another line of the same. std::system_error when the
///               connection broke.
/// Cancellation: a send that is cancelled while it writes leaves half an event. Every send after it throws
///               std::runtime_error and the response ends as a broken one.
/// Source:       HTML Living Standard, section 9.2.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/request.hpp>
#include <skerry/net/http/response.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace skerry::net::http {

/// Views that live until `send` returns.
struct server_event {
  server_event() noexcept {}  // user-provided, so that it is no aggregate, which g++ 12 destroys twice in co_await
  server_event(std::string_view text) noexcept : data(text) {}
  server_event(const char* text) noexcept : data(text) {}

  std::optional<std::string_view> data;            ///< without it there is no event; id and retry count all the same
  std::string_view name;                           ///< empty: "message"
  std::optional<std::string_view> id;              ///< what Last-Event-ID will say; empty: nothing
  std::optional<std::chrono::milliseconds> retry;  ///< how long a client waits before it connects again
};

class event_writer {
 public:
  explicit event_writer(body_writer& to) noexcept : to_(to) {}
  event_writer(const event_writer&) = delete;
  event_writer& operator=(const event_writer&) = delete;

  task<> send(server_event e);
  task<> comment(std::string_view text);

  /// For `events`: waits until nobody writes, and lets nobody write from then on.
  task<> end();
  /// Whether anything was written since it was asked last.
  bool was_used() noexcept { return std::exchange(used_, false); }

 private:
  task<> write(std::string text);
  void check_whole() const;

  body_writer& to_;
  mutex turn_;
  units end_;  // of turn_
  bool used_ = false;
  bool writing_ = false;  // left behind by a write that was cut short
};

using event_producer = std::move_only_function<task<>(event_writer&)>;

/// text/event-stream with `Cache-Control: no-store`. After one to two times `keep_alive` of silence comes a comment;
/// zero: never.
response events(event_producer produce, clock::duration keep_alive = std::chrono::seconds(15));

/// The id that the client saw last; empty when it comes for the first time.
inline std::string_view last_event_id(const request& r) noexcept { return r.header("Last-Event-ID").value_or(""); }

}  // namespace skerry::net::http
