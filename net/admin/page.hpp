// SPDX-License-Identifier: Apache-2.0
#pragma once

/// page: the page at `/` of the admin endpoint. One text that fetches /shards, /hops, /histograms and /tasks of its own
/// origin once a second, /trace when somebody records, and nothing else; without scripts it goes on to /text.

#include <string_view>

namespace skerry::net::admin {

extern const std::string_view page_html;    ///< up to its script
extern const std::string_view page_script;  ///< from there to the end

}  // namespace skerry::net::admin
