// SPDX-License-Identifier: Apache-2.0
#pragma once

/// differential: the same bytes for our parsers, for http_parser (strict mode) and for Boost.Beast. What ours accepts
/// the others must read the same way: where the head ends, its fields, how the body is framed, the body itself. What
/// ours refuses the others may accept, that is the point. The other way round each difference stands in a table, with
/// its reason. For a test with seeds, and for a fuzzer.

#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/request_parser.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/beast/http.hpp>
#include <http_parser.h>

namespace skerry::net::http::differential {

/// What a parser makes of one request.
struct reading {
  enum { unfinished, complete, refused } verdict = unfinished;
  std::string error;
  std::size_t head_bytes = 0;
  std::string method;
  std::string target;
  std::vector<std::pair<std::string, std::string>> fields;
  std::optional<std::uint64_t> length;
  bool chunked = false;
  bool keep_alive = false;
  std::string body;             ///< when it was asked for
  std::size_t taken_bytes = 0;  ///< head and body
  bool after_empty_lines = false;

  std::string text() const {
    std::string all = verdict == unfinished ? "unfinished" : verdict == complete ? "complete" : "refused: " + error;
    all += ", head " + std::to_string(head_bytes) + ", all " + std::to_string(taken_bytes) + ", " + method + " " +
           target + ", length " + (length ? std::to_string(*length) : "none") + ", chunked " + std::to_string(chunked) +
           ", keep-alive " + std::to_string(keep_alive) + ", body " + body;
    for (const auto& [name, value] : fields) all.append("\n  ").append(name).append("=").append(value);
    return all;
  }
};

inline std::string trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return std::string(text);
}

inline reading read_with_skerry(std::string_view bytes, bool with_body) {
  reading out;
  request_parser parser;
  verdict found = parser.parse(bytes);
  if (found == verdict::error) {
    out.verdict = reading::refused;
    out.error = parser.error_text();
  }
  if (found != verdict::complete) return out;
  const request_head& head = parser.head();
  out.verdict = reading::complete;
  out.head_bytes = out.taken_bytes = parser.consumed();
  out.after_empty_lines = bytes.starts_with("\r\n");
  out.method = head.method_text;
  out.target = head.target;
  for (const field& f : head.fields) out.fields.emplace_back(f.name, f.value);
  if (head.framing == framing::length) out.length = head.content_length;
  out.chunked = head.framing == framing::chunked;
  out.keep_alive = head.keep_alive;
  if (!with_body || !out.chunked) return out;
  chunked_decoder decoder;
  std::span<const char> input = bytes.substr(out.head_bytes);
  found = verdict::need_more;
  while (!input.empty() && found == verdict::need_more) {
    found = decoder.decode(input);
    out.body.append(decoder.data().begin(), decoder.data().end());
    out.taken_bytes += decoder.consumed();
    input = input.subspan(decoder.consumed());
  }
  out.verdict = found == verdict::complete ? reading::complete
                : found == verdict::error  ? reading::refused
                                           : reading::unfinished;
  out.error = decoder.error_text();
  return out;
}

struct http_parser_user {
  reading out;
  bool with_body;
  bool in_value = true;
  static http_parser_user& of(http_parser* p) { return *static_cast<http_parser_user*>(p->data); }
};

inline reading read_with_http_parser(std::string_view bytes, bool with_body) {
  http_parser_settings settings;
  http_parser_settings_init(&settings);
  settings.on_url = [](http_parser* p, const char* at, std::size_t size) {
    http_parser_user::of(p).out.target.append(at, size);
    return 0;
  };
  settings.on_header_field = [](http_parser* p, const char* at, std::size_t size) {
    auto& user = http_parser_user::of(p);
    if (user.out.verdict == reading::complete) return 0;  // a trailer
    if (std::exchange(user.in_value, false)) user.out.fields.emplace_back();
    user.out.fields.back().first.append(at, size);
    return 0;
  };
  settings.on_header_value = [](http_parser* p, const char* at, std::size_t size) {
    auto& user = http_parser_user::of(p);
    if (user.out.verdict == reading::complete) return 0;
    user.in_value = true;
    user.out.fields.back().second.append(at, size);
    return 0;
  };
  settings.on_headers_complete = [](http_parser* p) {
    auto& user = http_parser_user::of(p);
    user.out.verdict = reading::complete;
    user.out.method = http_method_str(static_cast<http_method>(p->method));
    if ((p->flags & F_CONTENTLENGTH) != 0) user.out.length = p->content_length;
    user.out.chunked = (p->flags & F_CHUNKED) != 0;
    user.out.keep_alive = http_should_keep_alive(p) != 0;
    return user.with_body ? 0 : 2;  // 2: stop here
  };
  settings.on_body = [](http_parser* p, const char* at, std::size_t size) {
    http_parser_user::of(p).out.body.append(at, size);
    return 0;
  };
  settings.on_message_complete = [](http_parser* p) {
    auto& user = http_parser_user::of(p);
    if (user.with_body) http_parser_pause(p, 1);
    user.in_value = false;
    user.out.error = "ended";
    return 0;
  };
  http_parser parser;
  http_parser_init(&parser, HTTP_REQUEST);
  http_parser_user user{{}, with_body};
  parser.data = &user;
  std::size_t taken = http_parser_execute(&parser, &settings, bytes.data(), bytes.size());
  const http_errno error = HTTP_PARSER_ERRNO(&parser);
  const bool ended = user.out.error == "ended";
  user.out.error.clear();
  if (error != HPE_OK && error != HPE_PAUSED) {
    user.out.verdict = reading::refused;
    user.out.error = http_errno_name(error);
  } else if (!ended) {
    user.out.verdict = reading::unfinished;
  }
  user.out.taken_bytes = taken;
  if (!with_body) user.out.head_bytes = taken;
  for (auto& each : user.out.fields) each.second = trimmed(each.second);
  return user.out;
}

/// Beast's parser without its container.
class beast_parser : public boost::beast::http::basic_parser<true> {
 public:
  reading out;

 private:
  using error_code = boost::beast::error_code;
  using text = boost::beast::string_view;
  void on_request_impl(boost::beast::http::verb, text method, text target, int, error_code&) override {
    out.method = std::string(method);
    out.target = std::string(target);
  }
  void on_response_impl(int, text, int, error_code&) override {}
  void on_field_impl(boost::beast::http::field, text name, text value, error_code&) override {
    if (!is_header_done()) out.fields.emplace_back(name, value);
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(text body, error_code&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, text, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, text body, error_code&) override {
    out.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(error_code&) override {}
};

inline reading read_with_beast(std::string_view bytes, bool with_body) {
  beast_parser parser;
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  boost::beast::error_code error;
  reading& out = parser.out;
  std::size_t at = parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
  if (parser.is_header_done()) {
    out.head_bytes = at;
    if (auto length = parser.content_length()) out.length = *length;
    out.chunked = parser.chunked();
    out.keep_alive = parser.keep_alive();
  }
  while (with_body && !error && !parser.is_done() && at < bytes.size()) {
    at += parser.put(boost::asio::buffer(bytes.data() + at, bytes.size() - at), error);
  }
  out.taken_bytes = at;
  if (error && error != boost::beast::http::error::need_more) {
    out.verdict = reading::refused;
    out.error = error.message();
  } else if (with_body ? parser.is_done() : parser.is_header_done()) {
    out.verdict = reading::complete;
  }
  return out;
}

/// Whether both accept and read the same. Who closes more connections is the stricter.
inline bool agree(const reading& ours, const reading& theirs) {
  return theirs.verdict == reading::complete && theirs.method == ours.method && theirs.target == ours.target &&
         theirs.fields == ours.fields && theirs.length == ours.length && theirs.chunked == ours.chunked &&
         (theirs.keep_alive || !ours.keep_alive) && theirs.body == ours.body &&
         (theirs.head_bytes == 0 || theirs.head_bytes == ours.head_bytes) && theirs.taken_bytes == ours.taken_bytes;
}

/// Something that ours accepts and another refuses, or reads in another way.
struct difference {
  std::string_view parser;
  std::string_view error;  ///< with which it refuses; empty when it reads something else
  bool (*is)(const reading& ours, const reading& theirs);
  std::string_view reason;
};

inline bool always(const reading&, const reading&) { return true; }

inline bool has_longer_transfer_encoding(const reading& ours, const reading&) {
  constexpr std::string_view name = "Transfer-Encoding";
  return std::ranges::any_of(ours.fields, [&](const auto& each) {
    return each.first.size() > name.size() && same_name(std::string_view(each.first).substr(0, name.size()), name);
  });
}

inline bool closes_only(const reading& ours, const reading& theirs) {
  reading kept = theirs;
  kept.keep_alive = true;
  return agree(ours, kept) &&
         std::ranges::any_of(ours.fields, [](const auto& each) { return same_name(each.first, "Connection"); });
}

inline constexpr std::string_view longer_transfer_encoding =
    "http_parser takes a name that only begins with Transfer-Encoding for Transfer-Encoding";

inline constexpr difference listed[] = {
    {"http_parser", "HPE_INVALID_METHOD", always,
     "a method is any token (RFC 9110 section 9.1), http_parser knows a list; an unknown one is the router's matter"},
    {"http_parser", "", has_longer_transfer_encoding, longer_transfer_encoding},
    {"http_parser", "HPE_UNEXPECTED_CONTENT_LENGTH", has_longer_transfer_encoding, longer_transfer_encoding},
    {"http_parser", "HPE_INVALID_TRANSFER_ENCODING", has_longer_transfer_encoding, longer_transfer_encoding},
    {"http_parser", "", closes_only,
     "http_parser misses an option of Connection behind an empty element or in front of a tab; no framing hangs on it"},
    {"Beast", "bad method", [](const reading& ours, const reading&) { return ours.after_empty_lines; },
     "an empty line in front of a request is skipped (RFC 9112 section 2.2): old clients end a body with one"},
};

/// Holds `theirs` against `ours`; gives what is wrong and not listed, or nothing. Counts what is listed by its reason.
inline std::string complaint(std::string_view parser, const reading& ours, const reading& theirs,
                             std::map<std::string_view, int>& seen) {
  const bool finishes_first = ours.verdict == reading::unfinished && theirs.verdict == reading::complete;
  if (!finishes_first && (ours.verdict != reading::complete || agree(ours, theirs))) return {};
  for (const difference& each : listed) {
    if (!finishes_first && each.parser == parser && each.error == theirs.error && each.is(ours, theirs)) {
      ++seen[each.reason];
      return {};
    }
  }
  return std::string("ours is not stricter than ").append(parser) + "\nours:   " + ours.text() +
         "\ntheirs: " + theirs.text() + "\n";
}

/// What is wrong with ours beside both others.
inline std::string complaints(std::string_view bytes, bool with_body, std::map<std::string_view, int>& seen) {
  const reading ours = read_with_skerry(bytes, with_body);
  return complaint("http_parser", ours, read_with_http_parser(bytes, with_body), seen) +
         complaint("Beast", ours, read_with_beast(bytes, with_body), seen);
}

}  // namespace skerry::net::http::differential
