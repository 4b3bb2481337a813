// SPDX-License-Identifier: Apache-2.0
// libFuzzer: on any bytes our parser is at least as strict as http_parser and Boost.Beast, but for the listed reasons.
//
//     differential_fuzz corpus         until it finds something
//     differential_fuzz crash-0123abcd that again
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include <net/http/differential.hpp>

namespace differential = skerry::net::http::differential;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // The corpus is http_fuzz's, whose first byte says how the others are cut.
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (const bool with_body : {false, true}) {
    // Of a body of known length there is nothing to read.
    if (with_body && !differential::read_with_skerry(bytes, false).chunked) break;
    std::map<std::string_view, int> seen;
    const std::string wrong = differential::complaints(bytes, with_body, seen);
    if (wrong.empty()) continue;
    std::fputs(wrong.c_str(), stderr);
    std::abort();
  }
  return 0;
}
