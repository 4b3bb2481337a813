// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/extract.hpp>

#include <stdexcept>

#include <fmt/core.h>

namespace skerry::net::http::detail {

void refuse(std::string_view kind, std::string_view name, std::string_view what) {
  throw http_error(400, fmt::format("{} {}: {}", kind, name, what));
}

std::string_view decoded(request& r, std::string_view kind, std::string_view name, std::string_view text,
                         uri_part where) {
  if (!is_escaped(text, where)) return text;
  std::optional<std::string> plain = percent_decode(text, where);
  if (!plain) refuse(kind, name, "has an escape that is broken or stands for NUL");
  return r.keep(*std::move(plain));
}

std::string_view path_text(request& r, std::string_view name) {
  const auto all = r.parameters();
  const auto found = std::ranges::find(all, name, &path_parameter::name);
  SKERRY_ASSERT(found != all.end(), "a route's pattern has the parameters that its handler takes");
  return decoded(r, "path parameter", name, found->value, uri_part::path);
}

std::optional<std::string_view> query_text(request& r, std::string_view name) {
  std::optional<std::string_view> found;
  for (const query_pair each : query_pairs(r.head().query)) {
    if (!decodes_to(each.name, name, uri_part::query)) continue;
    if (found) refuse("query parameter", name, "is given twice");
    found = each.value;
  }
  if (found) found = decoded(r, "query parameter", name, *found, uri_part::query);
  return found;
}

void require_parameter(std::string_view pattern, std::string_view name) {
  for (const std::string_view suffix : {"}", "...}"}) {
    if (pattern.find(fmt::format("{{{}{}", name, suffix)) != std::string_view::npos) return;
  }
  throw std::invalid_argument(
      fmt::format("the handler of {} takes the path parameter {}, which the pattern has not", pattern, name));
}

}  // namespace skerry::net::http::detail
