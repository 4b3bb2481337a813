// SPDX-License-Identifier: Apache-2.0
#pragma once

/// compression: bodies made smaller for clients that can read them so.
///
///     net::http::router r;
///     r.use(net::http::compress());
///     r.get("/", [](request&) { return response::text(std::string(100'000, 'a')); });
///
/// What is compressed: a body by value of a type that shrinks (text, JSON, JavaScript, XML and what is made of them),
/// within the bounds, unless its handler has encoded or digested it (Content-Encoding, Content-Range, Content-Digest,
/// Repr-Digest) or forbids it with `Cache-Control: no-transform`. The last is for what holds a secret next to something
/// that the peer chose: by the length of the compressed whole it can be guessed.
///
/// By what: of the codings that the client gives the greatest weight, the first of the server's. A client that does not
/// say, or says something malformed, gets the body as it is. So does one that refuses even that and leaves nothing that
/// is offered: an answer is more use to it than 406.
///
/// HEAD gets the fields of GET, Content-Length included, at the cost of GET. A response that could have been compressed
/// says `Vary: Accept-Encoding`, compressed or not; so do 304, whatever it is about, and 206, which are otherwise
/// passed on. A strong ETag becomes a weak one, since it names other bytes, and Accept-Ranges goes, since ranges count
/// them.
///
/// Streamed bodies pass as they are: an encoder for each would hold hundreds of kilobytes for as long as the client
/// likes, and either delay what was written or flush it, which costs what it gains for the short pieces that are
/// streamed.
///
/// Affinity: the shard of its router. The encoders, one of each kind, are the shard's; they are made when first used.
/// Limits:   bytes_max bounds how long a shard compresses and looks at nothing else. A KiB of JSON takes about 4 µs
///           with zstd, 12 µs with brotli and 18 µs with gzip at the default levels, so the default bound stands for
///           2.5 ms. The three encoders of a shard then keep 4 MiB in all; a response's new body is from the heap.
/// Errors:   std::invalid_argument for options that make no sense, when it is made. An encoder that fails leaves the
///           body as it is.
/// Source:   RFC 9110 section 12.5.3.

#include <skerry/net/http/message.hpp>
#include <skerry/net/http/router.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace skerry::net::http {

enum class content_coding : std::uint8_t { identity, gzip, br, zstd };
std::string_view to_string(content_coding coding) noexcept;

/// What a request says in Accept-Encoding.
class accepted_codings {
 public:
  explicit accepted_codings(std::span<const field> fields) noexcept;

  /// Of those with the greatest weight the first; identity when that weighs more, or none is accepted.
  content_coding best_of(std::span<const content_coding> offered) const noexcept;
  /// identity;q=0, or *;q=0 and no word of identity.
  bool refuse_identity() const noexcept;

 private:
  bool add(std::string_view list) noexcept;
  std::optional<unsigned> weight(content_coding coding) const noexcept;

  std::array<std::optional<unsigned>, 4> weights_{};  // in thousandths
  std::optional<unsigned> others_;                    // of "*"
};

inline constexpr std::array all_codings{content_coding::zstd, content_coding::br, content_coding::gzip};

/// Whether bodies of this media type get smaller: text, and what is made of it.
bool shrinks(std::string_view type) noexcept;

struct compression_options {
  std::vector<content_coding> codings{all_codings.begin(), all_codings.end()};
  std::size_t bytes_min = 1024;        ///< shorter bodies fit into a packet or two anyway
  std::size_t bytes_max = 128 * 1024;  ///< longer bodies would hold the shard up
  int zstd_level = 3;                  ///< 1 to 19
  int brotli_quality = 4;              ///< 0 to 11
  int gzip_level = 5;                  ///< 1 to 9
};
middleware compress(compression_options options = compression_options());

}  // namespace skerry::net::http
