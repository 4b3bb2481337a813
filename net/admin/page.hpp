// SPDX-License-Identifier: Apache-2.0
#pragma once

/// page: the page at `/` of the admin endpoint. One text that fetches /shards, /hops and /tasks of its own origin once
/// a second and nothing else; without scripts it says where the figures are.

#include <string_view>

namespace skerry::net::admin {

extern const std::string_view page_html;

}  // namespace skerry::net::admin
