// SPDX-License-Identifier: Apache-2.0
#pragma once

/// router: which handler answers a request, by its method and path.
///
///     net::http::router r;
///     r.use(net::http::access_log());
///     r.get("/", [](request&) { return response::text("Hello"); });
///     r.get("/files/{path...}", send_file);
///     net::http::router items;                          // a group: routes with middleware of their own
///     items.use(net::http::bearer_auth("items", known_token));
///     items.get("/{id}", [](path<"id", std::uint64_t> id) { return response::text(std::to_string(*id)); });
///     r.mount("/items", std::move(items));
///
/// A pattern is made of segments, each a literal, a parameter `{name}` (one segment, not empty) or, as the last one, a
/// wildcard `{name...}` (the rest, also an empty one). From left to right a literal beats a parameter beats a wildcard;
/// where that leads nowhere the next best is tried, also where the route found has not the method. What else differs,
/// "/a" and "/a/" say, is another path.
///
/// Patterns are compared with the path as it was sent, still percent-encoded: an encoded slash is no slash, and
/// parameters are views. "%61" is not "a"; nothing is normalised, so what opens files by a wildcard looks for ".."
/// itself, after decoding.
///
///     path found, method too   the handler; GET's for HEAD when there is none for HEAD
///     path found               OPTIONS: 204 with Allow; other methods: 405 with Allow; ones that HTTP has not: 501
///     path not found           404; "OPTIONS *": 204 with Allow
///
/// Middleware of a router wraps its routes, whenever they are added, the first `use` outermost; that of a mounted
/// router is inside that of the one it is mounted in. Answers without a route (405 and so on) pass the middleware of
/// the best route whose path matches, those to an unknown path that of the outermost router.
///
/// The trie is compressed: a node is a run of literal bytes. A parameter takes exactly one segment, so a node is
/// reached at one position only, and trying all alternatives visits each node at most once.
///
///     "/items/" --- {id} --- "/parts"
///              `--- "new"
///
/// Affinity:  one shard; every shard makes its own.
/// Ownership: handlers and middleware, with their captures, live as long as the router. It outlives the requests it
///            was called with, and is complete before the first.
/// Errors:    std::invalid_argument when a route is added: a malformed pattern; two routes with the same method and the
///            same pattern but for names (both are told); a parameter that the handler takes and the pattern has not
///            (the prefix of `mount` is not the pattern's: ask request::parameters()). What was added before stays.
/// Limits:    request::parameters_max parameters in a pattern. A look-up allocates nothing.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/extract.hpp>
#include <skerry/net/http/message.hpp>
#include <skerry/net/http/request.hpp>
#include <skerry/net/http/response.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry::net::http {

class next;

/// What stands around handlers: looks at the request, calls `next` once, or not at all, looks at the response.
using middleware = std::move_only_function<task<response>(request&, next)>;

namespace detail {

/// Methods as bits.
using method_set = std::uint16_t;
constexpr method_set bit_of(method m) noexcept { return static_cast<method_set>(1U << static_cast<unsigned>(m)); }

struct route_group {
  std::vector<middleware*> around;  // the outermost first
};

struct route {
  http::method method;
  std::string pattern;
  std::vector<std::string> names;
  http::handler handler;
  route_group* group;
};

struct route_node;

}  // namespace detail

/// The rest of the way to the handler. Lives as long as the router.
class next {
 public:
  task<response> operator()(request& r) const;

 private:
  friend class router;
  next(std::span<middleware* const> around, detail::route* last, detail::method_set allowed) noexcept
      : around_(around), last_(last), allowed_(allowed) {}

  std::span<middleware* const> around_;
  detail::route* last_;  // null when no route answers
  detail::method_set allowed_;
};

class router {
 public:
  router();
  ~router();
  router(router&&) noexcept;
  router& operator=(router&&) noexcept;

  /// A handler is task<response>(request&), or what extract.hpp describes. An empty pattern is the place where this
  /// router is mounted, itself.
  template <class Fn>
  router& on(method m, std::string_view pattern, Fn&& fn) {
    add(m, pattern, make_handler(pattern, std::forward<Fn>(fn)), *groups_.front());
    return *this;
  }
  template <class Fn>
  router& get(std::string_view pattern, Fn&& fn) {
    return on(method::get, pattern, std::forward<Fn>(fn));
  }
  template <class Fn>
  router& head(std::string_view pattern, Fn&& fn) {
    return on(method::head, pattern, std::forward<Fn>(fn));
  }
  template <class Fn>
  router& post(std::string_view pattern, Fn&& fn) {
    return on(method::post, pattern, std::forward<Fn>(fn));
  }
  template <class Fn>
  router& put(std::string_view pattern, Fn&& fn) {
    return on(method::put, pattern, std::forward<Fn>(fn));
  }
  template <class Fn>
  router& patch(std::string_view pattern, Fn&& fn) {
    return on(method::patch, pattern, std::forward<Fn>(fn));
  }
  template <class Fn>
  router& delete_(std::string_view pattern, Fn&& fn) {
    return on(method::delete_, pattern, std::forward<Fn>(fn));
  }
  template <class Fn>
  router& options(std::string_view pattern, Fn&& fn) {
    return on(method::options, pattern, std::forward<Fn>(fn));
  }

  /// Takes all routes of `other`, behind `prefix`: a pattern without a wildcard and without a slash at its end; empty
  /// for routes that share nothing but middleware.
  router& mount(std::string_view prefix, router other);
  router& use(middleware m);

  /// All routes, in the order in which they were added, each with its whole pattern: to hold a description against.
  std::vector<std::pair<method, std::string_view>> routes() const;

  /// Answers the request. No coroutine: the task is that of the handler or the outermost middleware. What a handler
  /// throws leaves the call or the task, so both belong into the same `try`.
  task<response> operator()(request& r);

 private:
  struct match;

  void add(method m, std::string_view pattern, handler run, detail::route_group& group);
  static detail::route* find(const detail::route_node& node, std::string_view rest, match& found) noexcept;
  static detail::route* end_at(const detail::route_node& node, match& found) noexcept;

  std::unique_ptr<detail::route_node> root_;
  std::vector<std::unique_ptr<detail::route>> routes_;
  std::vector<std::unique_ptr<middleware>> middleware_;           // of this router and of those mounted in it
  std::vector<std::unique_ptr<detail::route_group>> groups_;      // its own first; the others begin with the same
  detail::method_set methods_ = detail::bit_of(method::options);  // of all routes
};

}  // namespace skerry::net::http
