// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/detail/head_reader.hpp>
#include <skerry/net/http/detail/trailer_section.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <stdexcept>

namespace skerry::net::http::detail {

namespace {

constexpr std::array<std::string_view, 33> names_of_heads{"Age",
                                                          "Authorization",
                                                          "Cache-Control",
                                                          "Connection",
                                                          "Content-Encoding",
                                                          "Content-Length",
                                                          "Content-Range",
                                                          "Content-Type",
                                                          "Cookie",
                                                          "Date",
                                                          "Expect",
                                                          "Expires",
                                                          "Host",
                                                          "If-Match",
                                                          "If-Modified-Since",
                                                          "If-None-Match",
                                                          "If-Range",
                                                          "If-Unmodified-Since",
                                                          "Keep-Alive",
                                                          "Location",
                                                          "Max-Forwards",
                                                          "Proxy-Authenticate",
                                                          "Proxy-Authorization",
                                                          "Range",
                                                          "Retry-After",
                                                          "Set-Cookie",
                                                          "TE",
                                                          "Trailer",
                                                          "Transfer-Encoding",
                                                          "Upgrade",
                                                          "Vary",
                                                          "Warning",
                                                          "WWW-Authenticate"};

}  // namespace

bool may_trail(std::string_view name) noexcept {
  return std::ranges::none_of(names_of_heads, [name](std::string_view each) { return same_name(each, name); });
}

bool takes_trailers(std::span<const field> head) noexcept {
  return std::ranges::any_of(head, [](const field& each) {
    if (!same_name(each.name, "TE")) return false;
    for (std::string_view codings = each.value; !codings.empty();) {
      if (same_name(take_element(codings), "trailers")) return true;
    }
    return false;
  });
}

void append_trailer(std::string& lines, std::string_view line) {
  const auto count = static_cast<std::size_t>(std::ranges::count(lines, '\n'));
  if (count == chunked_decoder::trailers_max) throw std::length_error("more trailers than a receiver has to take");
  if (lines.size() + line.size() + line_end_size > chunked_decoder::trailer_bytes_max) {
    throw std::length_error("longer trailers than a receiver has to take");
  }
  lines.append(line);
}

void trailer_section::end() {
  for (std::string_view rest = text_; !rest.starts_with("\r\n");) {
    const std::string_view line = rest.substr(0, rest.find('\r'));
    const std::size_t colon = line.find(':');
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && is_blank(value.front())) value.remove_prefix(1);
    while (!value.empty() && is_blank(value.back())) value.remove_suffix(1);
    fields_.push_back({line.substr(0, colon), value});
    rest.remove_prefix(line.size() + line_end_size);
  }
}

}  // namespace skerry::net::http::detail
