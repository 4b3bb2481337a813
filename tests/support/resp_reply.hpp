// SPDX-License-Identifier: Apache-2.0
#pragma once

/// resp_reply: what a server answers in RESP2, read from bytes that may be cut anywhere.
///
/// Affinity: none.
/// Errors:   std::runtime_error for bytes that are no reply: in a test that is the server's fault.

#include <charconv>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kv_test {

struct resp_reply {
  enum class kind : std::uint8_t { simple, error, integer, bulk, null, array };
  kind what = kind::null;
  std::string text;         ///< of simple, error, bulk
  std::int64_t number = 0;  ///< of integer
  std::vector<resp_reply> items{};

  bool operator==(const resp_reply&) const = default;
};

inline std::string describe(const resp_reply& reply) {
  switch (reply.what) {
    case resp_reply::kind::simple: return reply.text;
    case resp_reply::kind::error: return "error " + reply.text;
    case resp_reply::kind::integer: return std::to_string(reply.number);
    case resp_reply::kind::null: return "nothing";
    case resp_reply::kind::bulk:
      if (reply.text.size() <= 40) return '"' + reply.text + '"';
      return '"' + reply.text.substr(0, 30) + "...\" (" + std::to_string(reply.text.size()) + " bytes)";
    case resp_reply::kind::array: break;
  }
  std::string text = "(";
  for (const resp_reply& item : reply.items) text += describe(item) + ' ';
  return text + ')';
}

class reply_parser {
 public:
  /// The next reply, once all of it has come.
  std::optional<resp_reply> take() {
    std::size_t at = 0;
    std::optional<resp_reply> found = read(at);
    if (found) unread_.erase(0, at);
    return found;
  }
  void add(std::string_view bytes) { unread_ += bytes; }
  /// Whether part of a reply has come.
  bool mid_reply() const noexcept { return !unread_.empty(); }

 private:
  std::optional<resp_reply> read(std::size_t& at) const {
    const std::size_t end = unread_.find("\r\n", at);
    if (end == std::string::npos) return std::nullopt;
    const char type = unread_[at];
    const std::string_view line = std::string_view(unread_).substr(at + 1, end - at - 1);
    at = end + 2;
    switch (type) {
      case '+': return resp_reply{resp_reply::kind::simple, std::string(line), 0, {}};
      case '-': return resp_reply{resp_reply::kind::error, std::string(line), 0, {}};
      case ':': return resp_reply{resp_reply::kind::integer, {}, number(line), {}};
      case '$': return read_bulk(number(line), at);
      case '*': return read_array(number(line), at);
      default: throw std::runtime_error("no reply begins like this: " + unread_.substr(0, 80));
    }
  }
  std::optional<resp_reply> read_bulk(std::int64_t size, std::size_t& at) const {
    if (size < 0) return resp_reply{};
    const auto bytes = static_cast<std::size_t>(size);
    if (unread_.size() - at < bytes + 2) return std::nullopt;
    resp_reply reply{resp_reply::kind::bulk, unread_.substr(at, bytes), 0, {}};
    if (unread_.compare(at + bytes, 2, "\r\n") != 0) throw std::runtime_error("a bulk reply has no line end");
    at += bytes + 2;
    return reply;
  }
  std::optional<resp_reply> read_array(std::int64_t count, std::size_t& at) const {
    resp_reply reply;
    if (count >= 0) reply.what = resp_reply::kind::array;
    for (; count > 0; --count) {
      std::optional<resp_reply> item = read(at);
      if (!item) return std::nullopt;
      reply.items.push_back(std::move(*item));
    }
    return reply;
  }
  static std::int64_t number(std::string_view line) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || end != line.data() + line.size()) {
      throw std::runtime_error("no number: " + std::string(line));
    }
    return value;
  }

  std::string unread_;
};

}  // namespace kv_test
