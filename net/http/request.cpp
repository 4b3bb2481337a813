// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/request.hpp>

#include <algorithm>

namespace skerry::net::http {

task<std::string> request::read_all() {
  std::string all;
  if (head_.framing == framing::length) all.reserve(std::min<std::uint64_t>(head_.content_length, 64 * 1024));
  while (true) {
    const buffer piece = co_await read();
    if (piece.empty()) co_return all;
    all.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
}

}  // namespace skerry::net::http
