// SPDX-License-Identifier: Apache-2.0
#pragma once

/// response: what a handler answers with.
///
///     response hello() {
///       return response::text("Hello");  // 200, text/plain
///     }
///     response gone() {
///       return response(410).header("Cache-Control", "no-store");
///     }
///     response ticks() {
///       return response::stream("text/event-stream", [](body_writer& out) -> task<> {
///         for (int i = 0; i < 10; ++i) {
///           co_await out.write("data: tick\n\n");
///           co_await sleep_for(std::chrono::seconds(1));
///         }
///       });
///     }
///     response summed() {
///       return response::stream("text/csv", [](body_writer& out) -> task<> {
///         co_await out.write("a;b\n");
///         out.trailer("X-Checksum", "4d2");  // known only now
///       }).header("Trailer", "X-Checksum");
///     }
///
/// The server adds Date, Content-Length or Transfer-Encoding, and Connection where it says something; it leaves bodies
/// out where HTTP has none (HEAD, 204, 304).
///
/// Trailers go to those who said `TE: trailers`, behind a body whose length nobody knew. To all others they are left
/// out, and a `Trailer` field that announces them too, as RFC 9110 section 6.5.1 has it: nothing may depend on them.
///
/// Affinity: the connection's shard. Crosses to none; a handler that asks another shard makes its response at home.
/// Errors:   std::invalid_argument for a name or value that HTTP cannot carry (a line break in a value would forge
///           fields), and for the three fields that are the server's.
/// Limits:   none of its own; a body by value is held until the peer has taken it.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/message.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace skerry::net::http {

class request;

/// Where a streamed body goes.
class body_writer {
 public:
  /// Takes the bytes; suspends while the peer is slow. They must live until it returns.
  virtual task<> write(std::span<const std::byte> bytes) = 0;
  /// Waits until the kernel has everything.
  virtual task<> flush() = 0;
  task<> write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  /// A field to be sent behind the body, where the peer takes such. std::invalid_argument for what HTTP cannot carry,
  /// and for names that belong into a head (of framing, routing, conditions, credentials, cookies, dates and content);
  /// std::length_error for more than 32, or than 8 KiB in all.
  void trailer(std::string_view name, std::string_view value);
  /// Waits until the server is to end: a body that would go on for hours ends then, or it holds up the drain. Never
  /// returns where nothing drains. One task at a time waits.
  virtual task<> draining();

 protected:
  ~body_writer() = default;

 private:
  /// A line, checked. A writer that has no place for it drops it.
  virtual void add_trailer(std::string_view) {}
};

class response {
 public:
  /// Writes the body; lives until the task it made has ended.
  using producer = std::move_only_function<task<>(body_writer&)>;

  explicit response(unsigned status = 200) noexcept : status_(status) {}

  static response text(std::string body) { return response().body("text/plain; charset=utf-8", std::move(body)); }
  /// For literals: `body` lives for ever and is not copied.
  static response literal(std::string_view type, std::string_view body) {
    response made;
    made.type_ = type;
    made.body_ = body;
    return made;
  }
  static response json(std::string body) { return response().body("application/json", std::move(body)); }
  /// A body whose length nobody knows yet: chunked, or to the end of the connection for HTTP/1.0. `type` lives for
  /// ever.
  static response stream(std::string_view type, producer write_body) {
    response made;
    made.type_ = type;
    made.body_ = std::move(write_body);
    return made;
  }

  /// A body of `size` bytes, which the producer writes: with Content-Length, and the connection goes on after it. Fewer
  /// end the connection, so that the peer sees that it is not whole; more are not sent, the write throws
  /// std::length_error.
  static response stream(std::string_view type, std::uint64_t size, producer write_body) {
    response made;
    made.stream_body(type, size, std::move(write_body));
    return made;
  }
  response& stream_body(std::string_view type, std::uint64_t size, producer write_body) & {
    type_ = type;
    body_ = std::move(write_body);
    streamed_size_ = size;
    return *this;
  }

  response& body(std::string_view type, std::string bytes) & {
    streamed_size_.reset();
    type_ = type;
    body_ = std::move(bytes);
    return *this;
  }
  response&& body(std::string_view type, std::string bytes) && { return std::move(body(type, std::move(bytes))); }
  response& status(unsigned code) & noexcept {
    status_ = code;
    return *this;
  }
  response&& status(unsigned code) && noexcept { return std::move(status(code)); }
  /// Adds a field.
  response& header(std::string_view name, std::string_view value) &;
  response&& header(std::string_view name, std::string_view value) && { return std::move(header(name, value)); }
  /// Takes all fields of that name away.
  void drop_header(std::string_view name);
  /// The connection ends after this response.
  response& close() & noexcept {
    close_ = true;
    return *this;
  }

  unsigned status() const noexcept { return status_; }
  std::string_view type() const noexcept { return type_; }
  /// All fields added, each with its line end.
  std::string_view field_lines() const noexcept { return fields_; }
  /// The first field of that name that was added, or nothing; until fields change.
  std::optional<std::string_view> header(std::string_view name) const noexcept;
  bool closes() const noexcept { return close_; }
  /// The body's bytes; empty for a streamed one.
  std::string_view bytes() const noexcept {
    if (const auto* owned = std::get_if<std::string>(&body_)) return *owned;
    if (const auto* literal = std::get_if<std::string_view>(&body_)) return *literal;
    return {};
  }
  producer* streamed() noexcept { return std::get_if<producer>(&body_); }
  /// Of a streamed body whose size is known.
  std::optional<std::uint64_t> streamed_size() const noexcept { return streamed_size_; }
  bool by_value() const noexcept { return !std::holds_alternative<producer>(body_); }

 private:
  unsigned status_;
  bool close_ = false;
  std::string_view type_;
  std::string fields_;
  std::variant<std::string_view, std::string, producer> body_;
  std::optional<std::uint64_t> streamed_size_;
};

/// What answers requests. It lives as long as its server or router, and so do its captures.
using handler = std::move_only_function<task<response>(request&)>;

/// A problem document for people and programs (RFC 9457): application/problem+json with status, title and detail.
response problem(unsigned status, std::string_view detail);

}  // namespace skerry::net::http
