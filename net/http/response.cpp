// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/sync/event.hpp>
#include <skerry/net/http/detail/trailer_section.hpp>
#include <skerry/net/http/response.hpp>

#include <algorithm>
#include <array>
#include <iterator>
#include <stdexcept>

#include <fmt/core.h>

namespace skerry::net::http {

namespace {

/// As the inside of a JSON string.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < ' ') {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

void body_writer::trailer(std::string_view name, std::string_view value) {
  if (!detail::may_trail(name))
    throw std::invalid_argument(fmt::format("{} belongs into a head, not behind a body", name));
  std::string line;
  append_field(line, name, value);
  add_trailer(line);
}

task<> body_writer::draining() {
  event never("drain of server");
  co_await never.wait();
}

response& response::header(std::string_view name, std::string_view value) & {
  constexpr std::array<std::string_view, 3> ours{"content-length", "transfer-encoding", "connection"};
  if (std::ranges::any_of(ours, [name](std::string_view each) { return same_name(each, name); })) {
    throw std::invalid_argument("the server adds Content-Length, Transfer-Encoding and Connection");
  }
  append_field(fields_, name, value);
  return *this;
}

std::optional<std::string_view> response::header(std::string_view name) const noexcept {
  for (std::string_view rest = fields_; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1)) {
    const std::string_view line = rest.substr(0, rest.find('\r'));
    const std::size_t colon = line.find(':');
    if (same_name(line.substr(0, colon), name)) return line.substr(colon + 2);
  }
  return std::nullopt;
}

void response::drop_header(std::string_view name) {
  while (const auto found = header(name)) {
    const auto begin = static_cast<std::size_t>(found->data() - fields_.data()) - name.size() - 2;
    fields_.erase(begin, name.size() + found->size() + 4);
  }
}

response problem(unsigned status, std::string_view detail) {
  return response(status).body("application/problem+json",
                               fmt::format(R"({{"type":"about:blank","title":"{}","status":{},"detail":"{}"}})"
                                           "\n",
                                           reason_of(status), status, escaped(detail)));
}

}  // namespace skerry::net::http
