// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/percent.hpp>

namespace skerry::net::http {

namespace {

/// -1 for what is no hexadecimal digit.
int digit_of(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// Takes one character off the front of a text that is not empty; '\0' for an escape that is refused. A NUL that is not
/// escaped is refused with it: no parser lets one through.
char take(std::string_view& text, uri_part where) noexcept {
  const char first = text.front();
  if (first != '%') {
    text.remove_prefix(1);
    return first == '+' && where == uri_part::query ? ' ' : first;
  }
  if (text.size() < 3) return '\0';
  const int high = digit_of(text[1]);
  const int low = digit_of(text[2]);
  text.remove_prefix(3);
  return high < 0 || low < 0 ? '\0' : static_cast<char>(high << 4 | low);
}

}  // namespace

bool is_escaped(std::string_view text, uri_part where) noexcept {
  return text.find_first_of(where == uri_part::query ? std::string_view("%+\0", 3) : std::string_view("%\0", 2)) !=
         std::string_view::npos;
}

std::optional<std::string> percent_decode(std::string_view text, uri_part where) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const char c = take(text, where);
    if (c == '\0') return std::nullopt;
    out += c;
  }
  return out;
}

bool decodes_to(std::string_view text, std::string_view plain, uri_part where) noexcept {
  for (const char expected : plain) {
    if (text.empty()) return false;
    const char c = take(text, where);
    if (c == '\0' || c != expected) return false;
  }
  return text.empty();
}

}  // namespace skerry::net::http
