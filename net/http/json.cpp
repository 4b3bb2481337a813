// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/json.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace skerry::net::http::detail {

void require_json(const request& r) {
  std::string_view type = r.header("Content-Type").value_or("");
  type = type.substr(0, type.find(';'));
  type = type.substr(0, type.find_last_not_of(" \t") + 1);
  constexpr std::string_view suffix = "+json";
  const bool ends_so = type.size() > suffix.size() && same_name(type.substr(type.size() - suffix.size()), suffix);
  if (!ends_so && !same_name(type, "application/json")) throw http_error(415, "body: Content-Type is application/json");
}

void refuse_json(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte == 0 ? 0 : byte - 1);  // nlohmann counts from 1
  const auto line = 1 + std::ranges::count(before, '\n');
  const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;
  throw http_error(400, fmt::format("body: is no JSON from line {}, column {} on", line, column));
}

/// "[json.exception.out_of_range.403] key 'name' not found": without the part that only nlohmann's manual explains.
void refuse_json(std::string_view what) {
  const std::size_t tag = what.find("] ");
  if (tag != std::string_view::npos) what.remove_prefix(tag + 2);
  throw http_error(400, fmt::format("body: {}", what));
}

}  // namespace skerry::net::http::detail
