// SPDX-License-Identifier: Apache-2.0
#pragma once

/// client: asks HTTP servers, over connections that are kept and used again.
///
///     task<std::string> temperature(http::client& c) {
///       http::client_response answer = co_await c.get("http://192.0.2.7:8080/temperature");
///       co_return co_await answer.read_all();                    // or piece by piece: answer.read()
///     }
///     task<unsigned> store(http::client& c, std::string item) {
///       http::outgoing request(http::method::put, "http://192.0.2.7:8080/items/1");
///       request.header("Authorization", "Bearer x").body("application/json", std::move(item));
///       http::client_response answer = co_await c.send(std::move(request));
///       co_return answer.status();
///     }
///
/// A client belongs to one shard. The host of a URL is an IP address or a name, which the shard's resolver looks up
/// (net/dns/resolver.hpp). `https` is refused.
///
/// With `proxy` set every request goes to that HTTP proxy and names its whole URL (RFC 9112 section 3.2.2); it looks
/// names up. A proxy that does not reach a server says so by status 502 or 504.
///
/// A connection carries one request at a time, and the next one after the response was read to its end. Who drops a
/// response early, or is cancelled, closes its connection. A server may close an idle connection just when a request is
/// on its way: if no byte of an answer came, the method is idempotent and the body not streamed, the request goes out
/// once more on a fresh connection. A request is sent whole before its answer is read, unless the connection breaks.
///
/// Whoever sets `retries_max` has more patience: what fails before an answer is asked again after a while, and so is
/// what is answered by 429, 502, 503 or 504. That goes for idempotent methods without a streamed body; for all others
/// as long as no byte was sent, so when no connection could be had. Not asked again is what would fail again: a
/// response that breaks the protocol, a name that is not there. The pauses double from `retry_delay` to
/// `retry_delay_max`, and of each a random half is waited, so that many clients do not come back together. A
/// `Retry-After` makes a pause longer, but not longer than `retry_delay_max`: a server that asks for more gets its
/// answer passed on, and so does one whose pause would end after `request_timeout`.
///
/// Redirects (301, 302, 303, 307, 308) are followed: 303 asks with GET, as do 301 and 302 for what was POST; otherwise
/// method and body stay, and a response that would need a streamed body again is given to the caller. Authorization,
/// Cookie and Host go to the same address and port only. Interim responses (1xx) are skipped.
///
/// A large body need not go to a server that does not want it: after `expect_continue` the head goes alone, with
/// `Expect: 100-continue`, and the body when the server says so or after `continue_timeout`, for some never do. An
/// answer that comes before keeps the body back and ends the connection. A redirect is followed then with a streamed
/// body, too, and 417 is asked again without the field.
///
/// A streamed request may end with trailers (`body_writer::trailer`), which a `Trailer` field may announce; nobody says
/// beforehand whether the server looks at them. Who wants those of a response asks by `TE: trailers`.
///
/// Affinity:     the shard that made it, for client and responses.
/// Ownership:    a client outlives its requests and responses (asserted) and ends before its shard does: a local of
///               main or part of a sharded service, no resource.
/// Errors:       std::system_error: the connection could not be had or broke; protocol_error, derived from it, for a
///               response that breaks the protocol; timeout_error for what took too long; too_many_symbolic_link_levels
///               for redirects past their limit; message_size for a body past the limit of read_all; resolve_error
///               for a name. For URLs protocol_not_supported (https) or invalid_argument. A status is no error.
/// Cancellation: at once, wherever the request is; its connection is closed, a place somebody waits for goes to him.
/// Limits:       client_options; who finds no free place waits in turn, for `connect_timeout` in all.

#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/http/detail/head_reader.hpp>
#include <skerry/net/http/message.hpp>
#include <skerry/net/http/response.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace skerry::net::http {

struct client_options {
  head_limits head;                                    ///< of a response; beyond: protocol_error
  std::uint32_t connections_max = 1024;                ///< open, idle ones included
  std::uint32_t connections_per_host_max = 64;         ///< for an address and port
  std::uint32_t idle_per_host_max = 16;                ///< kept; a further one is closed
  std::uint32_t redirects_max = 10;                    ///< in a row; 0 follows none
  std::uint32_t retries_max = 0;                       ///< of one request, see above; 0 gives the first failure
  std::chrono::milliseconds retry_delay{100};          ///< the first pause, at most
  std::chrono::milliseconds retry_delay_max{10'000};   ///< the longest
  std::chrono::milliseconds idle_timeout{30'000};      ///< then an idle connection is closed
  std::chrono::milliseconds connect_timeout{10'000};   ///< for a place and a connection
  std::chrono::milliseconds write_timeout{30'000};     ///< for the server to take 64 KiB of the request
  std::chrono::milliseconds continue_timeout{1'000};   ///< for the word to send a body that waits for it; then it goes
  std::chrono::milliseconds response_timeout{60'000};  ///< for the first byte after the request, or an interim response
  std::chrono::milliseconds head_timeout{10'000};      ///< from the first byte of a head to its last
  std::chrono::milliseconds body_timeout{30'000};      ///< silence in a body, while somebody reads it
  std::optional<std::chrono::milliseconds> request_timeout;  ///< for all, redirects and the body included
  std::optional<address> proxy;                              ///< whom to ask for everything
  std::string proxy_authorization;                           ///< what he wants as Proxy-Authorization; empty: nothing
};

/// A response that is no HTTP, is past the limits of `head`, or ended early.
class protocol_error : public std::system_error {
 public:
  explicit protocol_error(const std::string& what)
      : std::system_error(std::make_error_code(std::errc::protocol_error), what) {}
};

namespace detail {
class client_exchange;
class connection_pool;
}  // namespace detail

/// A request to be sent. The client adds Host, if there is none, and what frames the body.
class outgoing {
 public:
  using producer = response::producer;

  /// Any method but `connect` and `other`; std::invalid_argument for those.
  outgoing(http::method method, std::string url);

  /// Adds a field. std::invalid_argument for what HTTP cannot carry, and for fields that are the client's: those that
  /// frame the body, Connection (which goes with a TE), Expect (see expect_continue) and Upgrade.
  outgoing& header(std::string_view name, std::string_view value) &;
  outgoing&& header(std::string_view name, std::string_view value) && { return std::move(header(name, value)); }
  outgoing& body(std::string_view type, std::string bytes) &;
  outgoing&& body(std::string_view type, std::string bytes) && { return std::move(body(type, std::move(bytes))); }
  /// A body whose length nobody knows yet, written by `write_body`, once; chunked.
  outgoing& stream(std::string_view type, producer write_body) &;
  outgoing&& stream(std::string_view type, producer write_body) && {
    return std::move(stream(type, std::move(write_body)));
  }
  /// The body, if there is one, waits until the server wants it, see above.
  outgoing& expect_continue() & noexcept {
    expects_continue_ = true;
    return *this;
  }
  outgoing&& expect_continue() && noexcept { return std::move(expect_continue()); }

  http::method method() const noexcept { return method_; }
  const std::string& url() const noexcept { return url_; }

 private:
  friend class client;
  friend class detail::client_exchange;
  void become_get();
  void forget_fields(std::span<const std::string_view> names);

  http::method method_;
  std::string url_;
  std::vector<std::string> lines_;  ///< the fields, each with its line end
  std::variant<std::string, producer> body_;
  bool expects_continue_ = false;
};

/// What a server answered: status and fields, then the body as it comes.
class client_response {
 public:
  client_response(client_response&&) noexcept;
  client_response& operator=(client_response&&) noexcept;
  ~client_response();

  const response_head& head() const noexcept;
  unsigned status() const noexcept { return head().status; }
  std::span<const field> fields() const noexcept { return head().fields; }
  std::optional<std::string_view> header(std::string_view name) const noexcept { return find(fields(), name); }

  /// The next bytes of the body; empty at its end.
  task<buffer> read();
  /// The rest of the body. Longer than `bytes_max`: std::system_error (message_size), and the connection is closed.
  task<std::string> read_all(std::uint64_t bytes_max = 1 << 20);
  /// The fields behind a chunked body that was read to its end; until then none. At most 32 of them, in 8 KiB; names
  /// that belong into a head are a protocol_error.
  std::span<const field> trailers() const noexcept;

 private:
  friend class client;
  explicit client_response(std::unique_ptr<detail::client_exchange> exchange) noexcept;

  std::unique_ptr<detail::client_exchange> exchange_;
};

class client {
 public:
  explicit client(const client_options& options = client_options());
  ~client();

  /// Gives the response once its head is there.
  task<client_response> send(outgoing request);
  task<client_response> get(std::string url) { return send(outgoing(method::get, std::move(url))); }

 private:
  std::unique_ptr<detail::connection_pool> pool_;
};

}  // namespace skerry::net::http
