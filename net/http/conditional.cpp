// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/http/conditional.hpp>
#include <skerry/net/http/date.hpp>
#include <skerry/net/http/detail/scan.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <fmt/core.h>
#include <openssl/evp.h>

namespace skerry::net::http {

// ---- tags ----

namespace {

/// A shard's hash. To look an algorithm up takes locks that all threads share, so it is done once.
class sha256 {
 public:
  using digest = std::array<unsigned char, 32>;

  sha256() {
    if (!algorithm_ || !context_) throw std::bad_alloc();
  }
  digest of(std::string_view bytes) {
    digest made;
    const bool done = ::EVP_DigestInit_ex2(context_.get(), algorithm_.get(), nullptr) == 1 &&
                      ::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1 &&
                      ::EVP_DigestFinal_ex(context_.get(), made.data(), nullptr) == 1;
    if (!done) throw std::bad_alloc();
    return made;
  }

 private:
  struct freed {
    void operator()(EVP_MD* algorithm) const noexcept { ::EVP_MD_free(algorithm); }
    void operator()(EVP_MD_CTX* context) const noexcept { ::EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD, freed> algorithm_{::EVP_MD_fetch(nullptr, "SHA256", nullptr)};
  std::unique_ptr<EVP_MD_CTX, freed> context_{::EVP_MD_CTX_new()};
};

sha256& this_sha256() {
  sha256* found = resources().find<sha256>();
  return found != nullptr ? *found : resources().emplace<sha256>();
}

struct parsed_tag {
  bool weak = false;
  std::string_view opaque;  // with its quotes
};

bool skip_blanks_and(std::string_view& text, char also) noexcept {
  bool seen = false;
  while (!text.empty() && (detail::is_blank(text.front()) || text.front() == also)) {
    seen |= text.front() == also;
    text.remove_prefix(1);
  }
  return seen;
}

/// Takes a tag off the front of `text`; nothing when there is none.
std::optional<parsed_tag> take_tag(std::string_view& text) noexcept {
  std::string_view rest = text;
  parsed_tag tag;
  tag.weak = rest.starts_with("W/");
  if (tag.weak) rest.remove_prefix(2);
  if (!rest.starts_with('"')) return std::nullopt;
  const std::size_t end = rest.find('"', 1);
  if (end == std::string_view::npos) return std::nullopt;
  tag.opaque = rest.substr(0, end + 1);
  if (std::ranges::any_of(tag.opaque, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; })) {
    return std::nullopt;
  }
  text = rest.substr(end + 1);
  return tag;
}

bool same_strong(const parsed_tag& a, const parsed_tag& b) noexcept {
  return !a.weak && !b.weak && a.opaque == b.opaque;
}
bool same_weak(const parsed_tag& a, const parsed_tag& b) noexcept { return a.opaque == b.opaque; }

enum class list_verdict : std::uint8_t { absent, no_match, match, malformed };

/// Whether a field that lists tags, or says "*", names the one there is.
template <class Same>
list_verdict compare(const request& r, std::string_view name, std::string_view current, Same same) noexcept {
  const std::optional<parsed_tag> now = take_tag(current);
  list_verdict seen = list_verdict::absent;
  for (const field& each : r.head().fields) {
    if (!same_name(each.name, name)) continue;
    if (seen == list_verdict::absent) seen = list_verdict::no_match;
    std::string_view rest = each.value;
    if (rest == "*") {
      if (now) seen = list_verdict::match;
      continue;
    }
    // A tag is in front or behind a comma; commas may be many and with nothing between them.
    for (bool front = true; (skip_blanks_and(rest, ',') || front) && !rest.empty(); front = false) {
      const std::optional<parsed_tag> tag = take_tag(rest);
      if (!tag) return list_verdict::malformed;
      if (now && same(*tag, *now)) seen = list_verdict::match;
    }
    if (!rest.empty()) return list_verdict::malformed;
  }
  return seen;
}

std::optional<std::chrono::sys_seconds> date_of(std::string_view text) noexcept {
  return parse_date(text, std::chrono::sys_seconds(std::chrono::floor<std::chrono::seconds>(clock::wall())));
}

bool is_read(const request& r) noexcept { return r.method() == method::get || r.method() == method::head; }

}  // namespace

std::string entity_tag(std::string_view bytes) {
  const sha256::digest digest = this_sha256().of(bytes);
  std::string tag = "\"";
  for (std::size_t i = 0; i < 16; ++i) fmt::format_to(std::back_inserter(tag), "{:02x}", digest[i]);
  return tag += '"';
}

std::optional<unsigned> failed_precondition(const request& r, std::string_view tag) noexcept {
  const list_verdict must = compare(r, "If-Match", tag, same_strong);
  if (must == list_verdict::no_match || must == list_verdict::malformed) return 412;
  if (compare(r, "If-None-Match", tag, same_weak) != list_verdict::match) return std::nullopt;
  return is_read(r) ? 304 : 412;
}

std::optional<unsigned> failed_precondition(const request& r, std::string_view tag,
                                            std::chrono::sys_seconds modified) noexcept {
  if (!r.header("If-Match")) {
    const auto unmodified_since = r.header("If-Unmodified-Since");
    const auto when = unmodified_since ? date_of(*unmodified_since) : std::nullopt;
    if (when && modified > *when) return 412;
  }
  const std::optional<unsigned> failed = failed_precondition(r, tag);
  if (failed || r.header("If-None-Match") || !is_read(r)) return failed;
  const auto modified_since = r.header("If-Modified-Since");
  const auto when = modified_since ? date_of(*modified_since) : std::nullopt;
  if (when && modified <= *when) return 304;
  return std::nullopt;
}

middleware etag() {
  return [](request& r, next go_on) -> task<response> {
    response made = co_await go_on(r);
    const bool spared = r.method() == method::head && made.bytes().empty();
    if (!is_read(r) || made.status() != 200 || !made.by_value() || spared) co_return made;
    if (!made.header("ETag")) made.header("ETag", entity_tag(made.bytes()));
    const std::optional<unsigned> failed = failed_precondition(r, *made.header("ETag"));
    if (!failed) co_return made;
    if (*failed == 412) co_return problem(412, "what is there has another tag");
    made.status(304).body("", "");  // what describes the body goes with it
    made.drop_header("Content-Encoding");
    co_return made;
  };
}

// ---- ranges ----

namespace {

/// A number off the front of `text`; too large ones become the largest.
std::optional<std::uint64_t> take_number(std::string_view& text) noexcept {
  constexpr std::uint64_t most = UINT64_MAX / 16;
  std::uint64_t number = 0;
  const std::size_t size = std::min(text.find_first_not_of("0123456789"), text.size());
  if (size == 0) return std::nullopt;
  for (const char digit : text.substr(0, size)) {
    number = std::min(most, number * 10 + static_cast<std::uint64_t>(digit - '0'));
  }
  text.remove_prefix(size);
  return number;
}

/// The one range of `text` in a body of `size` bytes, not cut to its end; first >= size when it has none of them.
/// Nothing when it is malformed, in another unit, or several.
std::optional<byte_range> parse_range(std::string_view text, std::uint64_t size) noexcept {
  constexpr std::string_view unit = "bytes=";
  if (!same_name(text.substr(0, unit.size()), unit)) return std::nullopt;
  text.remove_prefix(unit.size());
  skip_blanks_and(text, ',');
  const std::optional<std::uint64_t> first = take_number(text);
  if (!text.starts_with('-')) return std::nullopt;
  text.remove_prefix(1);
  const std::optional<std::uint64_t> last = take_number(text);
  skip_blanks_and(text, ',');
  if (!text.empty() || (!first && !last) || (first && last && *last < *first)) return std::nullopt;
  byte_range range;
  range.last = first && last ? *last : size - 1;
  range.first = first ? *first : size - std::min(*last, size);
  return range;
}

/// Whether the client's part belongs to what there is now.
bool continues(const request& r, std::string_view ours, std::optional<std::chrono::sys_seconds> modified) noexcept {
  const auto sent = r.header("If-Range");
  if (!sent) return true;
  std::string_view theirs = *sent;
  const auto tag = take_tag(theirs), now = take_tag(ours);
  if (!now) return false;
  if (tag) return theirs.empty() && same_strong(*tag, *now);
  return modified && !now->weak && date_of(theirs) == modified;
}

response part_of(const request& r, response&& made) {
  const std::string_view whole = made.bytes();
  const std::optional<byte_range> range = asked_range(r, whole.size(), made.header("ETag").value_or(""));
  if (!range) return std::move(made);
  if (range->first >= whole.size()) {
    return problem(416, "there are fewer bytes").header("Content-Range", fmt::format("bytes */{}", whole.size()));
  }
  const std::uint64_t last = range->last;
  made.header("Content-Range", fmt::format("bytes {}-{}/{}", range->first, last, whole.size()));
  made.status(206).body(made.type(), std::string(whole.substr(range->first, last - range->first + 1)));
  return std::move(made);
}

}  // namespace

std::optional<byte_range> asked_range(const request& r, std::uint64_t size, std::string_view tag,
                                      std::optional<std::chrono::sys_seconds> modified) noexcept {
  const auto asked = r.header("Range");
  if (r.method() != method::get || !asked || size == 0 || !continues(r, tag, modified)) return std::nullopt;
  std::optional<byte_range> range = parse_range(*asked, size);
  if (range) range->last = std::min(range->last, size - 1);
  return range;
}

middleware byte_ranges() {
  return [](request& r, next go_on) -> task<response> {
    response made = co_await go_on(r);
    const bool spared = r.method() == method::head && made.bytes().empty();
    if (!is_read(r) || made.status() != 200 || !made.by_value() || spared) co_return made;
    if (!made.header("Accept-Ranges")) made.header("Accept-Ranges", "bytes");
    co_return part_of(r, std::move(made));
  };
}

}  // namespace skerry::net::http
