// SPDX-License-Identifier: Apache-2.0
#pragma once

/// conditional: answers that depend on what the client has already: 304 for what has not changed, 412 for what has, 206
/// for the part that is missing.
///
///     net::http::router r;
///     r.use(net::http::compress());
///     r.use(net::http::byte_ranges());
///     r.use(net::http::etag());
///     r.get("/", [](request&) { return response::text("what is often asked for and seldom changes"); });
///     r.put("/", [](request& r) -> task<response> {
///       if (const auto refused = net::http::failed_precondition(r, net::http::entity_tag("now"))) {
///         co_return net::http::problem(*refused, "somebody else has changed it");
///       }
///       co_return response(204);
///     });
///
/// In that order a tag names the bytes of the handler. What is unchanged is never compressed; what is compressed has
/// the tag in its weak form, which is good for If-None-Match and nothing else: a range never joins bytes of different
/// codings, since a weak tag in If-Range gets the whole and compressed responses offer no ranges. With compress()
/// innermost all is right as well, and tags and ranges are of the compressed bytes, at the price of compressing first
/// whatever is asked. byte_ranges() is outside of etag() in any case, so that 304 and 412 come before 206 and If-Range
/// finds its tag.
///
/// Affinity: the shard of its router.
/// Limits:   Bodies by value; streams pass. A tag costs about 1 µs per KiB (SHA-256 with the processor's help), at each
///           request for which the handler has not given one, and is worked out without a pause: give large bodies that
///           do not change an ETag of their own. Several ranges are answered with the whole, so no request makes more
///           bytes than the resource has.
/// Errors:   a malformed If-Match fails, any other malformed field counts as not sent. The middleware compares no dates
///           (If-Modified-Since, If-Unmodified-Since, a date in If-Range): what has a tag needs none, and they see no
///           change within a second. With a date If-Range gets the whole. static_files() has dates, and compares them.
/// Source:   RFC 9110 sections 13 and 14.

#include <skerry/net/http/request.hpp>
#include <skerry/net/http/router.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skerry::net::http {

/// A strong tag for these bytes, quotes included: 128 bits of their SHA-256. Not a faster hash without a secret: who
/// can store two bodies under one tag makes caches keep the first. Nor one with a secret, which every server of a
/// service would have to share. std::bad_alloc where the library has not the memory for its state.
std::string entity_tag(std::string_view bytes);

/// What If-Match and If-None-Match make of a request for what has this tag now; empty when there is nothing yet. 412,
/// 304 (GET and HEAD only), or nothing: go on. Handlers that change something ask before they do.
std::optional<unsigned> failed_precondition(const request& r, std::string_view tag) noexcept;

/// The same for what also has a time of its last change. If-Unmodified-Since and If-Modified-Since count where the
/// field for tags that goes before them was not sent.
std::optional<unsigned> failed_precondition(const request& r, std::string_view tag,
                                            std::chrono::sys_seconds modified) noexcept;

struct byte_range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;  ///< included
};

/// The part that a GET asks for of what has `size` bytes, this tag (or none) and this time: `last` lies in it, `first`
/// only when the part is there, else the answer is 416. Nothing where the whole is the answer: no Range, a malformed
/// one, several ranges, or an If-Range that names something else. A date in If-Range has to be exactly `modified`, and
/// counts only beside a strong tag, whose maker has seen to it that the second is over.
std::optional<byte_range> asked_range(const request& r, std::uint64_t size, std::string_view tag,
                                      std::optional<std::chrono::sys_seconds> modified = std::nullopt) noexcept;

/// Tags responses to GET and HEAD that have status 200 and no ETag yet, and answers If-Match and If-None-Match. An
/// empty answer to HEAD gets none, as its handler may just have spared itself the body.
middleware etag();

/// Says Accept-Ranges, and answers GET with one range: 206, or 416 where the body has no such bytes.
middleware byte_ranges();

}  // namespace skerry::net::http
