// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/request_parser.hpp>

#include <algorithm>
#include <array>

namespace skerry::net::http {

namespace {

using detail::is_digit;
using detail::is_name;

/// RFC 3986's reg-name but for its percent sign: unreserved and sub-delims.
constexpr std::array<bool, 256> host_bytes = [] {
  std::array<bool, 256> made{};
  for (unsigned c = 0; c < 256; ++c) made[c] = !detail::no_word_bytes::has(static_cast<unsigned char>(c));
  for (char c : {'.', '_', '~', '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '='}) {
    made[static_cast<unsigned char>(c)] = true;
  }
  return made;
}();

bool is_hex_digit(char c) noexcept { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

struct authority {
  std::string_view name;
  std::string_view port;  ///< without its colon
};

/// Reads `uri-host [ ":" port ]`; false when it is anything else, or the host is empty.
bool split_authority(std::string_view text, authority& out) noexcept {
  std::size_t at = 0;
  if (text.starts_with('[')) {
    at = text.find(']');
    if (at == text.npos || at == 1) return false;
    std::string_view address = text.substr(1, at - 1);
    if (!std::ranges::all_of(address, [](char c) { return is_hex_digit(c) || c == ':' || c == '.'; })) return false;
    ++at;
  } else {
    for (;;) {
      while (at < text.size() && host_bytes[static_cast<unsigned char>(text[at])]) ++at;
      if (at == text.size() || text[at] == ':') break;
      if (text[at] != '%' || text.size() - at < 3 || !is_hex_digit(text[at + 1]) || !is_hex_digit(text[at + 2])) {
        return false;
      }
      at += 3;
    }
    if (at == 0) return false;
  }
  out = {text.substr(0, at), {}};
  if (at == text.size()) return true;
  out.port = text.substr(at + 1);
  unsigned port = 0;
  for (char c : out.port) port = port * 10 + static_cast<unsigned>(c - '0');
  return text[at] == ':' && out.port.size() <= 5 && std::ranges::all_of(out.port, is_digit) && port <= 65535;
}

}  // namespace

request_parser::request_parser(const head_limits& limits) : head_reader(limits) {}

void request_parser::reset() noexcept {
  restart();
  head_ = {};
  authority_ = {};
  has_host_ = false;
  expects_continue_ = false;
}

verdict request_parser::parse(std::span<const char> window) noexcept { return read(window); }

void request_parser::move_views(const auto& move) noexcept {
  for (std::string_view* view :
       {&head_.method_text, &head_.target, &head_.path, &head_.query, &head_.host, &authority_}) {
    move(*view);
  }
}

inline bool request_parser::read_own_field(const char* name, std::size_t name_size, std::string_view value) noexcept {
  switch (name_size) {
    case 4: return !is_name(name, "host") || read_host(value);
    case 6: return !is_name(name, "expect") || read_expect(value);
    default: return true;
  }
}

bool request_parser::read_first_line(const line& l) noexcept {
  const char* method_end = detail::token_end(l.begin, l.end);
  if (method_end == l.begin || *method_end != ' ') return fail(400, "the request line does not begin with a method");
  const char* target = method_end + 1;
  const char* target_end = detail::find<detail::no_target_bytes, 64>(target, l.end);
  if (*target_end == '#') return fail(400, "a fragment in the target");
  if (target_end == target || *target_end != ' ') {
    return fail(400, target_end == l.stop ? "the request line has no version" : "the target is not visible ASCII");
  }
  const std::string_view version(target_end + 1, l.stop);
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) || version[6] != '.' ||
      !is_digit(version[7])) {
    return fail(400, "the request line does not end with a version");
  }
  if (version[5] != '1' || version[7] > '1') return fail(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  head_.minor_version = static_cast<std::uint8_t>(version[7] - '0');
  head_.method = parse_method({l.begin, method_end});
  head_.method_text = {l.begin, method_end};
  head_.target = {target, target_end};
  return read_target(head_.target);
}

bool request_parser::read_target(std::string_view target) noexcept {
  authority split;
  if (head_.method == method::connect) {
    if (!split_authority(target, split) || split.port.empty()) return fail(400, "CONNECT needs host:port");
    authority_ = target;
    return true;
  }
  std::string_view path = target;
  if (target[0] == '*' && target.size() == 1) {
    if (head_.method != method::options) return fail(400, "the target * is for OPTIONS");
  } else if (target[0] != '/') {
    std::size_t scheme = is_name(target.substr(0, 7), "http://") ? 7 : is_name(target.substr(0, 8), "https://") ? 8 : 0;
    if (scheme == 0) return fail(400, "the target is neither a path nor an http URL");
    std::size_t authority_end = std::min(target.find_first_of("/?", scheme), target.size());
    std::string_view text = target.substr(scheme, authority_end - scheme);
    if (!split_authority(text, split)) return fail(400, "the target's host is malformed");
    authority_ = text;
    path = target.substr(authority_end);
  }
  std::size_t question = path.find('?');
  if (question != path.npos) {
    head_.query = path.substr(question + 1);
    path = path.substr(0, question);
  }
  head_.path = path;
  return true;
}

bool request_parser::read_expect(std::string_view value) noexcept {
  if (!is_name(value, "100-continue")) return fail(417, "an expectation other than 100-continue");
  expects_continue_ = true;
  return true;
}

bool request_parser::read_host(std::string_view value) noexcept {
  authority split;
  if (has_host_) return fail(400, "Host is repeated");
  if (!split_authority(value, split)) return fail(400, "Host is malformed");
  has_host_ = true;
  head_.host = value;
  return true;
}

// A Host that leaves out the target's port, or spells out the usual one, contradicts nothing.
bool request_parser::same_authority() const noexcept {
  authority target;
  authority host;
  split_authority(authority_, target);
  split_authority(head_.host, host);
  std::string_view usual = "80";
  if (head_.method == method::connect) {
    usual = target.port;
  } else if ((head_.target[4] | 0x20) == 's') {
    usual = "443";
  }
  if (target.port.empty()) target.port = usual;
  if (host.port.empty()) host.port = usual;
  return same_name(target.name, host.name) && target.port == host.port;
}

verdict request_parser::finish(const char* begin, const char* body) noexcept {
  if (!has_host_ && head_.minor_version == 1) return refuse(400, "there is no Host");
  // Behind a CONNECT the tunnel begins at once (RFC 9110 section 9.3.6): who reads a body there disagrees on its end.
  if (head_.method == method::connect && (state_.chunked || head_.content_length != 0)) {
    return refuse(400, "CONNECT with a body");
  }
  if (!authority_.empty()) {
    if (has_host_ && !same_authority()) return refuse(400, "Host is not that of the target");
    if (head_.method != method::connect) head_.host = authority_;
    // The whole server is meant by OPTIONS of a URL without a path (RFC 9110 section 7.1).
    if (head_.path.empty() && head_.method != method::connect) {
      head_.path = head_.method == method::options && head_.query.data() == nullptr ? "*" : "/";
    }
  }
  head_.framing = state_.chunked ? framing::chunked : state_.has_length ? framing::length : framing::none;
  head_.keep_alive = asks_to_keep();
  head_.expects_continue =
      expects_continue_ && head_.minor_version == 1 && (state_.chunked || head_.content_length != 0);
  return end_head(begin, body);
}

}  // namespace skerry::net::http
