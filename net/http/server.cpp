// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/server.hpp>

namespace skerry::net::http::detail {

/// Without a body, which is right whatever the request is that nobody has read.
net::server_options refusing_by_503() {
  net::server_options options;
  options.refusal =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";
  options.refusal_after_question = true;
  return options;
}

}  // namespace skerry::net::http::detail
