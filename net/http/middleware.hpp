// SPDX-License-Identifier: Apache-2.0
#pragma once

/// middleware: what stands between a router and its handlers.
///
///     net::http::router r;
///     r.use(net::http::request_id());
///     r.use(net::http::access_log());
///     r.use(net::http::exceptions_to_problems());
///     r.use(net::http::time_limit(std::chrono::seconds(10)));
///
/// The first is outermost. `exceptions_to_problems` makes responses of what the handler and the middleware inside it
/// throw; what is outside of it then sees a response always. What is inside sees the exception, and without it the
/// server answers exceptions itself, without the fields that middleware would have added.
///
/// One's own is a function, or a lambda that the router keeps:
///
///     net::http::router r;
///     r.use([](request& q, net::http::next go_on) -> task<response> {
///       response made = co_await go_on(q);
///       made.header("X-Frame-Options", "DENY");
///       co_return made;
///     });
///
/// Affinity:  the shard of its router, and so does what it counts: four shards let through four times the rate.
/// Ownership: lives as long as the router, and so do its captures.
/// Errors:    std::invalid_argument for options that make no sense, when it is made.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/router.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::net::http {

/// Adds X-Request-Id to the response: the request's own when it is 1 to 128 letters, digits and "-_.:+/=", else a new
/// one of 128 random bits. It is a name to search logs by and no secret.
middleware request_id();

/// A line for each response, when it has been made: method, path (as sent), status, microseconds. What a streamed body
/// takes to send is not in them. No line for a handler that was cancelled because its peer left.
middleware access_log();

/// http_error becomes a problem with its status and text; anything else is logged and becomes a 500 that tells nothing.
middleware exceptions_to_problems();

/// 503 when the rest takes longer, and the handler is cancelled; also for a timeout_error of the handler's own that it
/// lets out. A streamed body is not bounded.
middleware time_limit(clock::duration limit);

/// Who may use this from a page of another origin, and for what. A limit of browsers, not of this server: others are
/// answered as ever, without the fields that let the page see it.
struct cors_options {
  std::vector<std::string> origins = {};  ///< "https://example.org", compared as they are; "*" is every one
  std::vector<method> methods = {method::get, method::head, method::post, method::put, method::patch, method::delete_};
  std::vector<std::string> headers = {"Content-Type"};            ///< that a request may have beyond the usual
  std::vector<std::string> exposed = {};                          ///< that the page may read of a response
  bool credentials = false;                                       ///< cookies; not with "*"
  std::chrono::seconds preflight_age = std::chrono::minutes(10);  ///< how long a browser may remember
};
/// Answers preflights itself, with 204. Outside of authentication, which preflights do not carry.
middleware cors(cors_options options);

/// Whether two texts are the same, in a time that depends on the length of `given` alone.
bool same_secret(std::string_view given, std::string_view expected) noexcept;

/// Says whether to let a request pass; the texts live until its task has ended. Compare with `same_secret`.
using password_check = std::move_only_function<task<bool>(std::string_view user, std::string_view password)>;
using token_check = std::move_only_function<task<bool>(std::string_view token)>;

/// Basic authentication (RFC 7617); 401 with WWW-Authenticate otherwise. Over TLS only: the password is readable.
middleware basic_auth(std::string_view realm, password_check check);
/// Bearer tokens in Authorization (RFC 6750); 401 otherwise.
middleware bearer_auth(std::string_view realm, token_check check);

/// `burst` requests at once and `per_second` in the long run, for each key and shard.
struct rate_options {
  double per_second = 10;
  std::uint32_t burst = 20;
  std::size_t keys_max = 4096;  ///< beyond, the key that was used longest ago is forgotten
};
/// Who asks, by the request: an API key, the user. The text lives as long as the request; its first 128 bytes count.
/// Those for whom it is empty share one bucket.
using rate_key = std::move_only_function<std::string_view(request&)>;
/// 429 with Retry-After for what is too much. What it remembers of a key is one point in time (the generic cell rate
/// algorithm of ITU-T I.371, a token bucket that refills without a timer).
middleware rate_limit(rate_options options, rate_key key);

}  // namespace skerry::net::http
