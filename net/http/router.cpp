// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/net/http/router.hpp>

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include <fmt/core.h>

namespace skerry::net::http {

namespace detail {

/// Where `literal` has been read behind the parent's. The children's literals differ in their first byte; those of
/// `parameter` and `wildcard` are empty.
struct route_node {
  std::string literal;
  std::vector<std::unique_ptr<route_node>> children;
  std::unique_ptr<route_node> parameter;
  std::unique_ptr<route_node> wildcard;
  method_set methods = 0;  // that end here
  std::array<route*, static_cast<std::size_t>(method::other)> routes{};
};

}  // namespace detail

namespace {

using detail::bit_of;
using detail::method_set;
using detail::route_node;

[[noreturn]] void refuse_pattern(std::string_view pattern, std::string_view why) {
  throw std::invalid_argument(fmt::format("the pattern {}: {}", pattern, why));
}

enum class piece_kind : std::uint8_t { literal, parameter, wildcard };

struct piece {
  piece_kind kind;
  std::string_view text;  // the bytes, or the name
};

bool is_name(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

/// Whether a path as it is sent may have that byte.
bool is_path_byte(char c) noexcept { return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '}'; }

std::vector<piece> pieces_of(std::string_view pattern) {
  if (!pattern.empty() && pattern.front() != '/') refuse_pattern(pattern, "it begins with a slash");
  std::vector<piece> pieces;
  for (std::string_view rest = pattern; !rest.empty();) {
    if (!pieces.empty() && pieces.back().kind == piece_kind::wildcard) {
      refuse_pattern(pattern, "nothing follows a wildcard");
    }
    const std::size_t brace = rest.find('{');
    if (brace != 0) {
      const std::string_view literal = rest.substr(0, brace);
      if (!std::ranges::all_of(literal, is_path_byte)) {
        refuse_pattern(pattern, "a literal is written as paths are sent, with escapes for what those cannot hold");
      }
      if (!pieces.empty() && literal.front() != '/') refuse_pattern(pattern, "a parameter is a whole segment");
      pieces.push_back({piece_kind::literal, literal});
      rest.remove_prefix(literal.size());
      continue;
    }
    if (pieces.empty() || !pieces.back().text.ends_with('/')) refuse_pattern(pattern, "a parameter is a whole segment");
    const std::size_t end = rest.find('}');
    if (end == std::string_view::npos) refuse_pattern(pattern, "a brace is not closed");
    std::string_view name = rest.substr(1, end - 1);
    const bool wildcard = name.ends_with("...");
    if (wildcard) name.remove_suffix(3);
    if (!is_name(name)) refuse_pattern(pattern, "a parameter's name is made of letters, digits, '_' and '-'");
    pieces.push_back({wildcard ? piece_kind::wildcard : piece_kind::parameter, name});
    rest.remove_prefix(end + 1);
  }
  return pieces;
}

/// The node behind `text`, which a node is split for where need be.
route_node& descend(route_node& from, std::string_view text) {
  route_node* node = &from;
  while (!text.empty()) {
    const auto found =
        std::ranges::find(node->children, text.front(), [](const auto& each) { return each->literal[0]; });
    if (found == node->children.end()) {
      node = node->children.emplace_back(std::make_unique<route_node>()).get();
      node->literal = text;
      break;
    }
    const std::string& literal = (*found)->literal;
    const auto shared = static_cast<std::size_t>(std::ranges::mismatch(literal, text).in1 - literal.begin());
    if (shared < literal.size()) {
      auto upper = std::make_unique<route_node>();
      upper->literal = literal.substr(0, shared);
      (*found)->literal.erase(0, shared);
      upper->children.push_back(std::move(*found));
      *found = std::move(upper);
    }
    node = found->get();
    text.remove_prefix(shared);
  }
  return *node;
}

route_node& made(std::unique_ptr<route_node>& node) {
  if (!node) node = std::make_unique<route_node>();
  return *node;
}

std::string allow_of(method_set methods) {
  if ((methods & bit_of(method::get)) != 0) methods |= bit_of(method::head);
  methods |= bit_of(method::options);
  std::string allow;
  for (auto m = method::get; m != method::other; m = static_cast<method>(static_cast<unsigned>(m) + 1)) {
    if ((methods & bit_of(m)) == 0) continue;
    if (!allow.empty()) allow += ", ";
    allow += to_string(m);
  }
  return allow;
}

/// The answer where no route is.
task<response> answer_without_route(http::method asked, method_set allowed) {
  if (allowed == 0) co_return problem(404, "nothing is here");
  if (asked == method::options) co_return response(204).header("Allow", allow_of(allowed));
  if (asked == method::other) co_return problem(501, "this server does not know the method");
  co_return problem(405, "not by this method").header("Allow", allow_of(allowed));
}

}  // namespace

/// What a look-up has found so far.
struct router::match {
  http::method asked;
  std::array<std::string_view, request::parameters_max> values;
  std::size_t count = 0;
  method_set allowed = 0;                        // of the paths that matched without the method
  const detail::route_group* nearest = nullptr;  // of the best of those
};

router::router() : root_(std::make_unique<route_node>()) { groups_.push_back(std::make_unique<detail::route_group>()); }
router::~router() = default;
router::router(router&&) noexcept = default;
router& router::operator=(router&&) noexcept = default;

void router::add(method m, std::string_view pattern, handler run, detail::route_group& group) {
  if (m == method::other || m == method::connect) refuse_pattern(pattern, "its method is one of HTTP's with a path");
  std::vector<std::string> names;
  route_node* node = root_.get();
  for (const piece& each : pieces_of(pattern)) {
    if (each.kind == piece_kind::literal) {
      node = &descend(*node, each.text);
      continue;
    }
    node = &made(each.kind == piece_kind::parameter ? node->parameter : node->wildcard);
    if (std::ranges::find(names, each.text) != names.end())
      refuse_pattern(pattern, "two parameters have the same name");
    if (names.size() == request::parameters_max) refuse_pattern(pattern, "it has too many parameters");
    names.emplace_back(each.text);
  }
  detail::route*& place = node->routes[static_cast<std::size_t>(m)];
  if (place != nullptr) {
    throw std::invalid_argument(
        fmt::format("the route {0} {1} matches the same paths as {0} {2}", to_string(m), pattern, place->pattern));
  }
  routes_.push_back(std::make_unique<detail::route>(m, std::string(pattern), std::move(names), std::move(run), &group));
  place = routes_.back().get();
  node->methods |= bit_of(m);
  methods_ |= bit_of(m);
}

router& router::mount(std::string_view prefix, router other) {
  if (prefix.ends_with('/')) refuse_pattern(prefix, "a router is mounted at a path without a slash at its end");
  const std::vector<middleware*>& own = groups_.front()->around;
  for (auto& group : other.groups_) group->around.insert(group->around.begin(), own.begin(), own.end());
  std::ranges::move(other.groups_, std::back_inserter(groups_));
  std::ranges::move(other.middleware_, std::back_inserter(middleware_));
  for (auto& each : other.routes_) {
    add(each->method, std::string(prefix) + each->pattern, std::move(each->handler), *each->group);
  }
  return *this;
}

router& router::use(middleware m) {
  SKERRY_ASSERT(m != nullptr, "middleware is a function");
  middleware_.push_back(std::make_unique<middleware>(std::move(m)));
  const auto inside = static_cast<std::ptrdiff_t>(groups_.front()->around.size());
  for (auto& group : groups_) group->around.insert(group->around.begin() + inside, middleware_.back().get());
  return *this;
}

std::vector<std::pair<method, std::string_view>> router::routes() const {
  std::vector<std::pair<method, std::string_view>> all;
  for (const auto& each : routes_) all.emplace_back(each->method, each->pattern);
  return all;
}

detail::route* router::end_at(const route_node& node, match& found) noexcept {
  if (node.methods == 0) return nullptr;
  detail::route* first = nullptr;
  for (detail::route* each : node.routes) {
    if (each != nullptr && first == nullptr) first = each;
  }
  if (found.asked != method::other) {
    if (detail::route* exact = node.routes[static_cast<std::size_t>(found.asked)]) return exact;
    if (detail::route* body_less = node.routes[static_cast<std::size_t>(method::get)]) {
      if (found.asked == method::head) return body_less;
    }
  }
  if (found.nearest == nullptr) found.nearest = first->group;
  found.allowed |= node.methods;
  return nullptr;
}

detail::route* router::find(const route_node& node, std::string_view rest, match& found) noexcept {
  if (rest.empty()) {
    if (detail::route* here = end_at(node, found)) return here;
  } else {
    for (const auto& child : node.children) {
      if (child->literal[0] != rest.front()) continue;
      if (!rest.starts_with(child->literal)) break;
      if (detail::route* below = find(*child, rest.substr(child->literal.size()), found)) return below;
      break;
    }
    const std::size_t size = std::min(rest.find('/'), rest.size());
    if (node.parameter && size > 0) {
      found.values[found.count++] = rest.substr(0, size);
      if (detail::route* below = find(*node.parameter, rest.substr(size), found)) return below;
      --found.count;
    }
  }
  if (!node.wildcard) return nullptr;
  found.values[found.count++] = rest;
  if (detail::route* here = end_at(*node.wildcard, found)) return here;
  --found.count;
  return nullptr;
}

task<response> router::operator()(request& r) {
  match found;
  found.asked = r.method();
  detail::route* route = find(*root_, r.path(), found);
  r.drop_parameters();
  if (route != nullptr) {
    SKERRY_ASSERT(found.count == route->names.size(), "a path has as many parameters as the pattern it matches");
    for (std::size_t i = 0; i < found.count; ++i) r.add_parameter({route->names[i], found.values[i]});
    return next(route->group->around, route, 0)(r);
  }
  if (r.path() == "*" && found.asked == method::options) found.allowed = methods_;
  const detail::route_group& group = found.nearest != nullptr ? *found.nearest : *groups_.front();
  return next(group.around, nullptr, found.allowed)(r);
}

task<response> next::operator()(request& r) const {
  if (!around_.empty()) return (*around_.front())(r, next(around_.subspan(1), last_, allowed_));
  if (last_ != nullptr) return last_->handler(r);
  return answer_without_route(r.method(), allowed_);
}

}  // namespace skerry::net::http
