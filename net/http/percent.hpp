// SPDX-License-Identifier: Apache-2.0
#pragma once

/// percent: the text behind the escapes of a path or a query, and the pairs of a query.
///
/// Strict: an escape is two hexadecimal digits, and the one of NUL is refused, because what handles the text later may
/// end it there. Bytes above 0x7f pass, also where they are no UTF-8.
///
/// Affinity: none of its own; pure.
/// Source:   RFC 3986; '+' for a space as HTML forms send it (WHATWG URL, application/x-www-form-urlencoded).

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

namespace skerry::net::http {

/// In a query '+' is a space, in a path it is itself.
enum class uri_part : std::uint8_t { path, query };

/// Whether decoding would change the text, or refuse it.
bool is_escaped(std::string_view text, uri_part where) noexcept;

/// Nothing when an escape is broken or stands for NUL.
std::optional<std::string> percent_decode(std::string_view text, uri_part where);

/// Whether `text` decodes to `plain`. Allocates nothing; a broken escape equals nothing.
bool decodes_to(std::string_view text, std::string_view plain, uri_part where) noexcept;

/// One of `name=value`, both still encoded. Without '=' the value is empty.
struct query_pair {
  std::string_view name;
  std::string_view value;
};

/// The pairs of a query in their order, cut at '&'; empty ones are left out. Allocates nothing.
///
///     for (net::http::query_pair each : net::http::query_pairs("page=2&sort=name")) fields += each.name;
class query_pairs {
 public:
  class iterator {
   public:
    using value_type = query_pair;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(std::string_view query) noexcept : rest_(query) { ++*this; }
    query_pair operator*() const noexcept {
      const std::size_t equals = pair_.find('=');
      if (equals == std::string_view::npos) return {pair_, {}};
      return {pair_.substr(0, equals), pair_.substr(equals + 1)};
    }
    iterator& operator++() noexcept {
      pair_ = {};
      while (pair_.empty() && !rest_.empty()) {
        const std::size_t end = rest_.find('&');
        pair_ = rest_.substr(0, end);
        rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
      }
      return *this;
    }
    iterator operator++(int) noexcept {
      iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(std::default_sentinel_t) const noexcept { return pair_.empty(); }

   private:
    std::string_view pair_;
    std::string_view rest_;
  };

  explicit query_pairs(std::string_view query) noexcept : query_(query) {}
  iterator begin() const noexcept { return iterator(query_); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::string_view query_;
};

}  // namespace skerry::net::http
