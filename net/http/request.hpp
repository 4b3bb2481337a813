// SPDX-License-Identifier: Apache-2.0
#pragma once

/// request: what a handler is given.
///
///     task<response> greet(request& r) {
///       co_return response::text("Hello, " + std::string(r.header("User-Agent").value_or("stranger")));
///     }
///     task<response> store(request& r) {
///       std::string body = co_await r.read_all();          // or piece by piece: r.read()
///       co_return response(204);
///     }
///
/// Everything it shows are views into the bytes of the connection; they live until the handler's task has ended.
///
/// A body comes piece by piece and is not kept: what the handler does not read is read and dropped afterwards, or the
/// connection is closed where that would be long. Who does not read is not sent more than the stream's marks hold.
/// Trailers, the fields that may follow a chunked body, are not among its headers: they came after somebody believed
/// those. Names that belong into a head are refused in them.
///
/// Affinity: the shard of the connection. A request does not cross; what another shard needs of it goes by value.
/// Errors:   http_error, which the server answers with its status: 413 for a body past the limit, 400 for a broken one.
///           std::system_error when the connection broke.
/// Limits:   the server's: `body_bytes_max` unless the handler sets another; `server_options` has the rest.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/message.hpp>

#include <array>
#include <cstdint>
#include <forward_list>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace skerry::net::http {

/// What a handler, an extractor or the server itself throws to answer with a status. The text is for the peer.
class http_error : public std::runtime_error {
 public:
  http_error(unsigned status, const std::string& detail) : std::runtime_error(detail), status_(status) {}
  unsigned status() const noexcept { return status_; }

 private:
  unsigned status_;
};

/// Where a request's body comes from: a connection, or a test.
class body_source {
 public:
  /// The next bytes; empty at the end.
  virtual task<buffer> next() = 0;
  /// How long the body may be; what is longer ends in http_error(413).
  virtual void limit(std::uint64_t bytes_max) noexcept = 0;
  /// What came behind the body, once all of it was read.
  virtual std::span<const field> trailers() const noexcept { return {}; }

 protected:
  ~body_source() = default;
};

/// A part of the path that a route's pattern named, percent-encoded as it was sent.
struct path_parameter {
  std::string_view name;
  std::string_view value;
};

class request {
 public:
  static constexpr std::size_t parameters_max = 16;

  request(const request_head& head, body_source& body) noexcept : head_(head), body_(body) {}
  request(const request&) = delete;
  request& operator=(const request&) = delete;

  const request_head& head() const noexcept { return head_; }
  http::method method() const noexcept { return head_.method; }
  std::string_view path() const noexcept { return head_.path; }
  std::optional<std::string_view> header(std::string_view name) const noexcept { return find(head_.fields, name); }

  /// The next bytes of the body; empty at its end.
  task<buffer> read() { return body_.next(); }
  /// The whole body. http_error(413) when it is longer than the limit.
  task<std::string> read_all();
  /// The fields behind a body that was read to its end; until then, and behind one that is not chunked, none. At most
  /// 32 of them, in 8 KiB.
  std::span<const field> trailers() const noexcept { return body_.trailers(); }
  /// Replaces the server's `body_bytes_max` for this request; before the first read.
  void limit_body(std::uint64_t bytes_max) noexcept { body_.limit(bytes_max); }

  /// What the router found in the path; see path_parameter.
  std::span<const path_parameter> parameters() const noexcept { return {parameters_.data(), parameter_count_}; }
  /// For routers. False when there are `parameters_max` already.
  bool add_parameter(path_parameter p) noexcept {
    if (parameter_count_ == parameters_max) return false;
    parameters_[parameter_count_++] = p;
    return true;
  }
  void drop_parameters() noexcept { parameter_count_ = 0; }

  /// Keeps a text as long as the request, for views into what had to be decoded.
  std::string_view keep(std::string text) { return kept_.emplace_front(std::move(text)); }

 private:
  const request_head& head_;
  body_source& body_;
  std::array<path_parameter, parameters_max> parameters_;
  std::size_t parameter_count_ = 0;
  std::forward_list<std::string> kept_;
};

}  // namespace skerry::net::http
