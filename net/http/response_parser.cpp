// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/response_parser.hpp>

#include <algorithm>

namespace skerry::net::http {

response_parser::response_parser(const head_limits& limits) : head_reader(limits) {}

void response_parser::reset(method asked) noexcept {
  restart();
  head_ = {};
  asked_ = asked;
}

verdict response_parser::parse(std::span<const char> window) noexcept { return read(window); }

bool response_parser::read_first_line(const line& l) noexcept {
  const std::string_view text(l.begin, l.stop);  // "HTTP/1.1 200 OK": 13 bytes before the reason, which may be empty
  if (text.size() < 9 || !text.starts_with("HTTP/") || !detail::is_digit(text[5]) || text[6] != '.' ||
      !detail::is_digit(text[7]) || text[8] != ' ') {
    return fail(400, "the status line does not begin with a version");
  }
  if (text[5] != '1' || text[7] > '1') return fail(400, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  const std::string_view digits = text.substr(9, 3);
  if (text.size() < 13 || text[12] != ' ' || !std::ranges::all_of(digits, detail::is_digit)) {
    return fail(400, "the status line has no status of three digits and a space");
  }
  for (char c : digits) head_.status = head_.status * 10 + static_cast<unsigned>(c - '0');
  if (head_.status < 100 || head_.status > 599) return fail(400, "the status is of no class");
  head_.minor_version = static_cast<std::uint8_t>(text[7] - '0');
  head_.reason = text.substr(13);
  return true;
}

verdict response_parser::finish(const char* begin, const char* body) noexcept {
  // One party would look for a body there and another would not. A length of zero is common and harmless.
  const bool announced = state_.chunked || head_.content_length != 0;
  if (announced && is_bodiless(head_.status) && head_.status != 304) {
    return refuse(400, "a status that has no body announces one");
  }
  if (asked_ == method::head || is_bodiless(head_.status)) {
    head_.framing = framing::none;
  } else if (state_.chunked) {
    head_.framing = framing::chunked;
  } else {
    head_.framing = state_.has_length ? framing::length : framing::until_close;
  }
  head_.keep_alive = asks_to_keep() && head_.framing != framing::until_close;
  return end_head(begin, body);
}

}  // namespace skerry::net::http
