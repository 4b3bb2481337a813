// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/detail/scan.hpp>
#include <skerry/net/http/detail/url.hpp>
#include <skerry/net/http/message.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <system_error>

#include <fmt/core.h>

namespace skerry::net::http::detail {

namespace {

[[noreturn]] void refuse(std::errc code, std::string_view text, std::string_view why) {
  throw std::system_error(std::make_error_code(code), fmt::format("the URL {}: {}", text, why));
}

/// Without its fragment; only bytes that a request line can carry.
std::string_view checked(std::string_view text) {
  text = text.substr(0, text.find('#'));
  if (std::ranges::any_of(text, [](char c) { return no_target_bytes::has(static_cast<unsigned char>(c)); })) {
    throw std::system_error(std::make_error_code(std::errc::invalid_argument), "a URL is visible ASCII");
  }
  return text;
}

/// The path of `target` without its "." and ".." (RFC 3986 section 5.2.4).
std::string without_dots(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  std::string out;
  for (std::size_t at = 0; at < path.size();) {  // at a '/'
    const std::size_t end = std::min(path.find('/', at + 1), path.size());
    const std::string_view segment = path.substr(at, end - at);
    const bool dots = segment == "/." || segment == "/..";
    if (segment == "/..") out.resize(std::min(out.rfind('/'), out.size()));
    if (!dots) out += segment;
    if (dots && end == path.size()) out += '/';
    at = end;
  }
  return out.append(target.substr(path.size()));
}

/// Letters, digits, '-', '.' and '_', with a port from 1 to 65535 behind them; the origin of such an authority.
std::optional<std::string> origin_of_name(std::string_view authority) {
  const std::size_t colon = std::min(authority.find(':'), authority.size());
  std::string origin(authority.substr(0, colon));
  for (char& c : origin) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool known = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    if (!known) return std::nullopt;
  }
  std::uint16_t port = 80;
  if (colon != authority.size()) {
    const std::string_view digits = authority.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0) return std::nullopt;
  }
  if (origin.empty()) return std::nullopt;
  return origin + ':' + std::to_string(port);
}

}  // namespace

url parse_url(std::string_view given) {
  const std::string_view text = checked(given);
  const std::size_t scheme = text.find("://");
  if (scheme == text.npos) refuse(std::errc::invalid_argument, text, "it does not begin with http://");
  if (same_name(text.substr(0, scheme), "https")) {
    refuse(std::errc::protocol_not_supported, text, "there is no TLS yet, only http is spoken");
  }
  if (!same_name(text.substr(0, scheme), "http")) {
    refuse(std::errc::protocol_not_supported, text, "only http is spoken");
  }
  const std::size_t begin = scheme + 3;
  const std::size_t end = std::min(text.find_first_of("/?", begin), text.size());
  url made;
  made.authority = text.substr(begin, end - begin);
  if (made.authority.contains('@')) refuse(std::errc::invalid_argument, "", "it has a user name or password");
  const bool has_port = made.authority.rfind(':') + 1 > made.authority.rfind(']') + 1;  // npos + 1 is 0
  const auto to = address::parse(has_port ? made.authority : made.authority + ":80");
  const bool is_address = to && !made.authority.contains('%');
  if (is_address) {
    made.to = *to;
    made.origin = to->text();
  } else {
    const auto origin = origin_of_name(made.authority);
    if (!origin) refuse(std::errc::invalid_argument, text, "its host is no name or IP address with a port");
    made.origin = *origin;
  }
  if (end == text.size() || text[end] == '?') made.target = "/";
  made.target += text.substr(end);
  return made;
}

url resolve(const url& base, std::string_view given) {
  const std::string_view reference = checked(given);
  const std::size_t colon = reference.find(':');
  if (colon < reference.find_first_of("/?")) return parse_url(reference);
  if (reference.starts_with("//")) return parse_url("http:" + std::string(reference));
  url made = base;
  if (reference.empty()) return made;
  const std::string_view path = std::string_view(base.target).substr(0, base.target.find('?'));
  if (reference[0] == '/') {
    made.target = reference;
  } else if (reference[0] == '?') {
    made.target = std::string(path).append(reference);
  } else {
    made.target = std::string(path.substr(0, path.rfind('/') + 1)).append(reference);
  }
  made.target = without_dots(made.target);
  return made;
}

}  // namespace skerry::net::http::detail
