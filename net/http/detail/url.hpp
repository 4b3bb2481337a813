// SPDX-License-Identifier: Apache-2.0
#pragma once

/// url: what a client has to know of an http URL: whom to connect to, what to call him, what to ask for.
///
/// What a request line cannot carry is refused, as are user names, which would end up in logs; a fragment is left out.
///
/// Affinity: none of its own; pure.
/// Errors:   std::system_error: protocol_not_supported for https and others, invalid_argument for the rest.
/// Source:   RFC 3986 sections 3 and 5, RFC 9110 section 4.2.1.

#include <skerry/net/address.hpp>

#include <string>
#include <string_view>

namespace skerry::net::http::detail {

struct url {
  address to;             ///< no address when the host is a name, which is then what `origin` begins with
  std::string authority;  ///< as given, for Host
  std::string origin;     ///< the same text for the same host and port
  std::string target;     ///< path and query; begins with '/'
};

url parse_url(std::string_view text);
/// What `reference`, a URL or a part of one, means in a response to a request for `base`.
url resolve(const url& base, std::string_view reference);

}  // namespace skerry::net::http::detail
