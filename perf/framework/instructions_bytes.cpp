// SPDX-License-Identifier: Apache-2.0
// Parsers and formatters.
#include <skerry/framework/task/task.hpp>
#include <skerry/net/http/connection.hpp>
#include <skerry/net/http/request_parser.hpp>
#include <skerry/net/http/response.hpp>
#include <skerry/net/resp/parser.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <framework/instructions_driver.hpp>
#include <net/browser_head.hpp>

namespace {

using namespace skerry;
using perf::counted;
using perf::keep;
using perf::repeat;

task<> http_parse_browser_head(int count) {
  net::http::request_parser parser;
  for (int i = 0; i < count; ++i) {
    keep(parser.parse(std::span(perf::browser_head)));
    keep(parser.head().fields.data());
    parser.reset();
  }
  co_return;
}

/// As a server sends it for a small page.
task<> http_write_head(int count) {
  const net::http::response page = net::http::response::text("Hello").header("Cache-Control", "no-store");
  std::string out;
  for (int i = 0; i < count; ++i) {
    out.clear();
    net::http::detail::write_head(out, page, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "Content-Length: 5\r\n", "");
    keep(out.data());
  }
  co_return;
}

task<> resp_parse_get(int count) {
  std::string command = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n";
  net::resp::request_parser parser;
  std::vector<std::string_view> arguments;
  for (int i = 0; i < count; ++i) {
    arguments.clear();
    keep(parser.parse(std::span<char>(command), arguments));
  }
  co_return;
}

constexpr counted operations[] = {
    {"http_parse_browser_head", repeat<http_parse_browser_head>},
    {"http_write_head", repeat<http_write_head>},
    {"resp_parse_get", repeat<resp_parse_get>},
};

}  // namespace

std::span<const counted> perf::counted_bytes() { return operations; }
