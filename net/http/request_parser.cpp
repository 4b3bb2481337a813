// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/net/http/detail/scan.hpp>
#include <skerry/net/http/request_parser.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

namespace skerry::net::http {

namespace {

constexpr std::size_t line_end_size = 2;
constexpr unsigned empty_lines_max = 2;

/// RFC 3986's reg-name but for its percent sign: unreserved and sub-delims.
constexpr std::array<bool, 256> host_bytes = [] {
  std::array<bool, 256> made{};
  for (unsigned c = 0; c < 256; ++c) made[c] = !detail::no_word_bytes::has(static_cast<unsigned char>(c));
  for (char c : {'.', '_', '~', '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '='}) {
    made[static_cast<unsigned char>(c)] = true;
  }
  return made;
}();

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
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

/// Whether bytes that hold no control byte are `name`, which is in lower case: only letters change with that bit. In
/// two overlapping words, so without a branch per byte.
template <std::size_t Size>
bool is_name(const char* text, const char (&name)[Size]) noexcept {
  using word = std::conditional_t<(Size > 8), std::uint64_t, std::uint32_t>;
  constexpr std::size_t length = Size - 1;
  static_assert(length >= sizeof(word) && length <= 2 * sizeof(word) + 1);
  constexpr auto case_bits = static_cast<word>(0x2020202020202020);
  auto differs = [&](std::size_t at) {
    word a;
    word b;
    std::memcpy(&a, text + at, sizeof(word));
    std::memcpy(&b, name + at, sizeof(word));
    return (a | case_bits) ^ b;
  };
  word difference = differs(0) | differs(length - sizeof(word));
  if constexpr (length > 2 * sizeof(word)) difference |= differs(sizeof(word));
  return difference == 0;
}
template <std::size_t Size>
bool is_name(std::string_view text, const char (&name)[Size]) noexcept {
  return text.size() == Size - 1 && is_name(text.data(), name);
}

/// Takes the first element off a list and the blanks around it.
std::string_view take_element(std::string_view& list) noexcept {
  std::size_t comma = std::min(list.find(','), list.size());
  std::string_view element = list.substr(0, comma);
  list.remove_prefix(std::min(comma + 1, list.size()));
  while (!element.empty() && detail::is_blank(element.front())) element.remove_prefix(1);
  while (!element.empty() && detail::is_blank(element.back())) element.remove_suffix(1);
  return element;
}

}  // namespace

request_parser::request_parser(const head_limits& limits)
    : find_line_end_(detail::best_line_scan()), limits_(limits), fields_(std::make_unique<field[]>(limits.fields_max)) {
  SKERRY_ASSERT(limits.head_bytes_max >= line_end_size, "a head has at least its end");
  // Which of two limits is broken first must not depend on where the bytes were cut.
  limits_.request_line_bytes_max = std::min(limits_.request_line_bytes_max, limits_.head_bytes_max);
}

void request_parser::reset() noexcept {
  state_ = {};
  head_ = {};
  authority_ = {};
  consumed_ = 0;
  error_status_ = 0;
  error_text_ = {};
}

inline bool request_parser::read_field(const line& l) noexcept {
  const char* name_end = detail::token_end(l.begin, l.end);
  if (name_end == l.begin || *name_end != ':') [[unlikely]] {
    if (detail::is_blank(*l.begin)) return fail(400, "a folded line");
    return fail(400, detail::is_blank(*name_end) ? "white space before the colon" : "a field name that is no token");
  }
  if (state_.fields == limits_.fields_max) [[unlikely]]
    return fail(431, "too many fields");
  // Both ends meet a byte that is not blank: the line's carriage return, and the colon.
  const char* value = name_end + 1;
  const char* value_end = l.stop;
  if (*value == ' ') ++value;
  while (detail::is_blank(*value)) [[unlikely]]
    ++value;
  while (detail::is_blank(value_end[-1])) [[unlikely]]
    --value_end;
  if (value_end < value) value_end = value;
  const auto name_size = static_cast<std::size_t>(name_end - l.begin);
  fields_[state_.fields++] = {{l.begin, name_size}, {value, value_end}};
  // White space behind what frames a body is refused: there are parsers for which "chunked\t" is not chunked.
  switch (name_size) {
    case 4: return !is_name(l.begin, "host") || read_host({value, value_end});
    case 6: return !is_name(l.begin, "expect") || read_expect({value, value_end});
    case 10: return !is_name(l.begin, "connection") || read_connection({value, value_end});
    case 14: return !is_name(l.begin, "content-length") || read_content_length({value, l.stop});
    case 17: return !is_name(l.begin, "transfer-encoding") || read_transfer_encoding({value, l.stop});
    default: return true;
  }
}

verdict request_parser::parse(std::span<const char> window) noexcept {
  SKERRY_ASSERT(state_.where != place::over, "a head that is complete or refused is followed by reset()");
  SKERRY_ASSERT(window.size() >= state_.seen, "a window only grows: bytes of an unfinished head were dropped");
  const char* const begin = window.data();
  if (reinterpret_cast<std::uintptr_t>(begin) != window_) follow(begin);
  line l{begin + state_.at, begin + state_.scanned, begin + window.size()};
  state_.seen = window.size();
  for (;; l.begin = l.stop += line_end_size) {
    l.stop = find_line_end_(l.stop, l.end);
    const auto reached = static_cast<std::size_t>(l.stop - begin) - state_.begin;
    const bool first = state_.where == place::request_line;
    if (reached > (first ? limits_.request_line_bytes_max : limits_.head_bytes_max - line_end_size)) [[unlikely]]
      return first ? refuse(414, "the request line is too long") : refuse(431, "the head is too long");
    if (l.end - l.stop < 2 || std::memcmp(l.stop, "\r\n", 2) != 0) [[unlikely]]
      return stop_short(l, begin);
    if (l.begin == l.stop) {
      if (!first) return finish(begin, l.stop + line_end_size);
      if (++state_.empty_lines > empty_lines_max) return refuse(400, "empty lines instead of a request");
      state_.begin += line_end_size;
    } else if (first) {
      if (!read_request_line(l)) return verdict::error;
      state_.where = place::fields;
    } else if (!read_field(l)) {
      return verdict::error;
    }
  }
}

// Where a line does not end as it should: the window ends, or the wrong byte stands there.
verdict request_parser::stop_short(const line& l, const char* begin) noexcept {
  if (l.stop != l.end) {
    if (*l.stop == '\n') return refuse(400, "a line feed without a carriage return");
    if (*l.stop != '\r') return refuse(400, "a control byte in the head");
    if (l.end - l.stop > 1) return refuse(400, "a carriage return without a line feed");
  }
  state_.at = static_cast<std::size_t>(l.begin - begin);
  state_.scanned = static_cast<std::size_t>(l.stop - begin);
  return verdict::need_more;
}

// What has been read of this head lies elsewhere now. Whoever moved the bytes has done more work than this.
void request_parser::follow(const char* begin) noexcept {
  auto move = [&](std::string_view& view) {
    if (view.data() == nullptr) return;
    view = {begin + (reinterpret_cast<std::uintptr_t>(view.data()) - window_), view.size()};
  };
  for (std::string_view* view :
       {&head_.method_text, &head_.target, &head_.path, &head_.query, &head_.host, &authority_}) {
    move(*view);
  }
  for (field& f : std::span(fields_.get(), state_.fields)) {
    move(f.name);
    move(f.value);
  }
  window_ = reinterpret_cast<std::uintptr_t>(begin);
}

bool request_parser::read_request_line(const line& l) noexcept {
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
  state_.expects_continue = true;
  return true;
}

bool request_parser::read_host(std::string_view value) noexcept {
  authority split;
  if (state_.has_host) return fail(400, "Host is repeated");
  if (!split_authority(value, split)) return fail(400, "Host is malformed");
  state_.has_host = true;
  head_.host = value;
  return true;
}

bool request_parser::read_content_length(std::string_view value) noexcept {
  if (state_.has_length) return fail(400, "Content-Length is repeated");
  if (state_.chunked) return fail(400, "both Content-Length and Transfer-Encoding");
  if (value.empty() || !std::ranges::all_of(value, is_digit)) return fail(400, "Content-Length is not a number");
  constexpr std::uint64_t length_max = std::numeric_limits<std::int64_t>::max();  // sums with it fit into 64 bits
  std::uint64_t length = 0;
  for (char c : value) {
    auto digit = static_cast<std::uint64_t>(c - '0');
    if (length > (length_max - digit) / 10) return fail(400, "Content-Length is too large");
    length = length * 10 + digit;
  }
  head_.content_length = length;
  state_.has_length = true;
  return true;
}

bool request_parser::read_transfer_encoding(std::string_view value) noexcept {
  if (head_.minor_version == 0) return fail(400, "Transfer-Encoding in HTTP/1.0");
  if (state_.has_length) return fail(400, "both Content-Length and Transfer-Encoding");
  if (value.empty() || !detail::is_token_byte(value.back())) return fail(400, "Transfer-Encoding is malformed");
  do {
    std::string_view coding = take_element(value);
    if (state_.chunked) return fail(400, "chunked is not the last transfer coding, or repeated");
    if (coding.empty() || !std::ranges::all_of(coding, detail::is_token_byte)) {
      return fail(400, "Transfer-Encoding is malformed");
    }
    if (!is_name(coding, "chunked")) return fail(501, "a transfer coding other than chunked");
    state_.chunked = true;
  } while (!value.empty());
  return true;
}

bool request_parser::read_connection(std::string_view value) noexcept {
  if (is_name(value, "keep-alive")) return state_.keep_alive = true;  // what browsers send
  while (!value.empty()) {
    std::string_view option = take_element(value);
    if (!std::ranges::all_of(option, detail::is_token_byte)) return fail(400, "Connection is malformed");
    if (is_name(option, "close")) state_.close = true;
    if (is_name(option, "keep-alive")) state_.keep_alive = true;
  }
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
  if (!state_.has_host && head_.minor_version == 1) return refuse(400, "there is no Host");
  if (!authority_.empty()) {
    if (state_.has_host && !same_authority()) return refuse(400, "Host is not that of the target");
    if (head_.method != method::connect) head_.host = authority_;
    // The whole server is meant by OPTIONS of a URL without a path (RFC 9110 section 7.1).
    if (head_.path.empty() && head_.method != method::connect) {
      head_.path = head_.method == method::options && head_.query.data() == nullptr ? "*" : "/";
    }
  }
  head_.framing = state_.chunked ? framing::chunked : state_.has_length ? framing::length : framing::none;
  head_.keep_alive = !state_.close && (head_.minor_version == 1 || state_.keep_alive);
  head_.expects_continue =
      state_.expects_continue && head_.minor_version == 1 && (state_.chunked || head_.content_length != 0);
  head_.fields = {fields_.get(), state_.fields};
  consumed_ = static_cast<std::size_t>(body - begin);
  state_.where = place::over;
  return verdict::complete;
}

verdict request_parser::refuse(unsigned status, std::string_view text) noexcept {
  fail(status, text);
  return verdict::error;
}

bool request_parser::fail(unsigned status, std::string_view text) noexcept {
  error_status_ = status;
  error_text_ = text;
  state_.where = place::over;
  return false;
}

}  // namespace skerry::net::http
