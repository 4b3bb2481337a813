// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/message.hpp>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace skerry::net::http {

namespace {

constexpr std::array<std::string_view, 10> method_names{"GET",     "HEAD",    "POST",  "PUT",   "DELETE",
                                                        "CONNECT", "OPTIONS", "TRACE", "PATCH", ""};

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

/// tchar of RFC 9110.
bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_field_value(std::string_view text) noexcept {
  return std::ranges::none_of(text,
                              [](char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f; });
}

}  // namespace

method parse_method(std::string_view text) noexcept {
  const auto* found = std::ranges::find(method_names, text);
  return found == method_names.end() ? method::other : static_cast<method>(found - method_names.begin());
}

std::string_view to_string(method m) noexcept { return method_names[static_cast<std::size_t>(m)]; }

std::string_view reason_of(unsigned status) noexcept {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: break;
  }
  constexpr std::array<std::string_view, 6> classes{
      "", "Continue", "OK", "Multiple Choices", "Bad Request", "Internal Server Error"};
  return status / 100 < classes.size() ? classes[status / 100] : "";
}

bool same_name(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::optional<std::string_view> find(std::span<const field> fields, std::string_view name) noexcept {
  const auto found = std::ranges::find_if(fields, [name](const field& f) { return same_name(f.name, name); });
  if (found == fields.end()) return std::nullopt;
  return found->value;
}

void append_field(std::string& lines, std::string_view name, std::string_view value) {
  if (!is_token(name)) throw std::invalid_argument("the name of a header field is a token");
  if (!is_field_value(value)) throw std::invalid_argument("the value of a header field has no control characters");
  lines.append(name).append(": ").append(value).append("\r\n");
}

}  // namespace skerry::net::http
