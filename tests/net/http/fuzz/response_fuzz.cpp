// SPDX-License-Identifier: Apache-2.0
// libFuzzer: any bytes, cut anywhere, are the same response, and nothing is read outside of them. The first byte says
// how they are cut and which method was asked with.
//
//     response_fuzz corpus             until it finds something
//     response_fuzz crash-0123abcd     that again
#include <skerry/net/http/response_parser.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace {

using namespace skerry::net::http;

/// What is read of `bytes` when they come in pieces of `piece`. Each window is a copy exactly as large as it, so that
/// ASan sees reads beyond.
std::string read(std::string_view bytes, std::size_t piece, method asked) {
  response_parser parser({.request_line_bytes_max = 256, .head_bytes_max = 1024, .fields_max = 16});
  parser.reset(asked);
  for (std::size_t end = std::min(piece, bytes.size());; end = std::min(end + piece, bytes.size())) {
    const std::unique_ptr<char[]> window(new char[end]);
    std::ranges::copy(bytes.substr(0, end), window.get());
    const verdict found = parser.parse({window.get(), end});
    if (found == verdict::error) return std::string("refused: ").append(parser.error_text());
    if (found == verdict::complete) {
      const response_head& head = parser.head();
      std::string seen = std::to_string(head.status) + ' ' + std::to_string(head.minor_version) + ' ' +
                         std::to_string(static_cast<int>(head.framing)) + ' ' + std::to_string(head.keep_alive) + ' ' +
                         std::to_string(head.content_length) + ' ' + std::to_string(parser.consumed());
      seen.append(1, '\n').append(head.reason);
      for (const field& each : head.fields) seen.append(1, '\n').append(each.name).append(1, '=').append(each.value);
      return seen;
    }
    if (end == bytes.size()) return "unfinished";
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  constexpr std::array<method, 4> methods{method::get, method::head, method::post, method::put};
  const method asked = methods[data[0] / 64];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (read(bytes, bytes.size(), asked) != read(bytes, 1U + data[0] % 64U, asked)) std::abort();
  return 0;
}
