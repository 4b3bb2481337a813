// SPDX-License-Identifier: Apache-2.0
#pragma once

/// url: what a client has to know of an http URL: whom to connect to, what to call him, what to ask for.
///
/// Names are not looked up, so the host is an IP address, unless a proxy will do it. What a request line cannot carry
/// is refused, as are user names, which would end up in logs; a fragment is left out.
///
/// Affinity: none of its own; pure.
/// Errors:   std::system_error: operation_not_supported for a name, protocol_not_supported for https and others,
///           invalid_argument for the rest.
/// Source:   RFC 3986 sections 3 and 5, RFC 9110 section 4.2.1.

#include <skerry/net/address.hpp>

#include <string>
#include <string_view>

namespace skerry::net::http::detail {

struct url {
  address to;             ///< nothing that could be connected to when the host is a name
  std::string authority;  ///< as given, for Host
  std::string origin;     ///< the same text for the same host and port
  std::string target;     ///< path and query; begins with '/'
};

/// Whether the host of a URL may be a name.
enum class hosts : bool { addresses, names_too };

url parse_url(std::string_view text, hosts allowed = hosts::addresses);
/// What `reference`, a URL or a part of one, means in a response to a request for `base`.
url resolve(const url& base, std::string_view reference, hosts allowed = hosts::addresses);

}  // namespace skerry::net::http::detail
