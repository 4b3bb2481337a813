// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/http/compression.hpp>
#include <skerry/net/http/detail/scan.hpp>

#include <algorithm>
#include <bit>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

namespace skerry::net::http {

namespace {

constexpr std::array<std::string_view, 4> coding_names{"identity", "gzip", "br", "zstd"};

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && detail::is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && detail::is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// A qvalue in thousandths, or nothing.
std::optional<unsigned> parse_weight(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text[1] != '.')) return std::nullopt;
  unsigned weight = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    if (i == 1) continue;
    const char digit = i < text.size() ? text[i] : '0';
    if (digit < '0' || digit > '9') return std::nullopt;
    weight = weight * 10 + static_cast<unsigned>(digit - '0');
  }
  if (weight > 1000) return std::nullopt;
  return weight;
}

}  // namespace

std::string_view to_string(content_coding coding) noexcept { return coding_names[static_cast<std::size_t>(coding)]; }

// ---- negotiation ----

accepted_codings::accepted_codings(std::span<const field> fields) noexcept {
  for (const field& each : fields) {
    if (!same_name(each.name, "Accept-Encoding") || add(each.value)) continue;
    weights_ = {};
    others_.reset();
    return;
  }
}

/// False when the list is malformed.
bool accepted_codings::add(std::string_view list) noexcept {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view element = trimmed(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    if (element.empty()) continue;
    const std::size_t semicolon = std::min(element.find(';'), element.size());
    const std::string_view name = trimmed(element.substr(0, semicolon));
    std::optional<unsigned> weight = 1000;
    if (semicolon < element.size()) {
      const std::string_view parameter = trimmed(element.substr(semicolon + 1));
      weight = same_name(parameter.substr(0, 2), "q=") ? parse_weight(parameter.substr(2)) : std::nullopt;
    }
    if (!weight || name.empty() || !std::ranges::all_of(name, detail::is_token_byte)) return false;
    if (name == "*") others_ = weight;
    if (same_name(name, "x-gzip")) weights_[static_cast<std::size_t>(content_coding::gzip)] = weight;
    for (std::size_t i = 0; i < coding_names.size(); ++i) {
      if (same_name(name, coding_names[i])) weights_[i] = weight;
    }
  }
  return true;
}

std::optional<unsigned> accepted_codings::weight(content_coding coding) const noexcept {
  const auto named = weights_[static_cast<std::size_t>(coding)];
  return named ? named : others_;
}

content_coding accepted_codings::best_of(std::span<const content_coding> offered) const noexcept {
  content_coding best = content_coding::identity;
  // Above 0 is enough to be better than identity when that is as good or not named.
  unsigned beaten = std::max(weights_[static_cast<std::size_t>(best)].value_or(0), 1U) - 1;
  for (const content_coding each : offered) {
    const unsigned its = weight(each).value_or(0);
    if (its <= beaten) continue;
    best = each;
    beaten = its;
  }
  return best;
}

bool accepted_codings::refuse_identity() const noexcept { return weight(content_coding::identity) == 0U; }

// ---- encoders ----

namespace {

/// What a brotli encoder takes memory from. It cannot be reset, only made anew, so its memory is kept instead: one
/// piece that grows to what one encoder took in all. What does not fit yet comes from the heap.
class encoder_memory {
 public:
  encoder_memory() = default;
  encoder_memory(const encoder_memory&) = delete;
  encoder_memory& operator=(const encoder_memory&) = delete;
  ~encoder_memory() { skerry::detail::unpoison(memory_.get(), size_); }

  static void* take(void* self, std::size_t bytes) noexcept { return static_cast<encoder_memory*>(self)->take(bytes); }
  static void give_back(void* self, void* at) noexcept { static_cast<encoder_memory*>(self)->give_back(at); }
  /// After the encoder is gone.
  void reset() {
    if (taken_ > size_) {
      skerry::detail::unpoison(memory_.get(), size_);
      size_ = 0;
      memory_ = std::make_unique_for_overwrite<std::byte[]>(taken_);
      size_ = taken_;
    }
    skerry::detail::poison(memory_.get(), size_);
    used_ = taken_ = 0;
  }

 private:
  void* take(std::size_t bytes) noexcept {
    bytes = std::max<std::size_t>((bytes + 15) / 16, 1) * 16;
    taken_ += bytes;
    if (bytes > size_ - used_) return from_heap(bytes);
    std::byte* at = memory_.get() + used_;
    used_ += bytes;
    skerry::detail::unpoison(at, bytes);
    return at;
  }
  static void* from_heap(std::size_t bytes) noexcept try {
    return ::operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  void give_back(void* at) const noexcept {
    const auto* byte = static_cast<const std::byte*>(at);
    const bool kept = !std::less<>()(byte, memory_.get()) && std::less<>()(byte, memory_.get() + size_);
    if (!kept) ::operator delete(at);
  }

  std::unique_ptr<std::byte[]> memory_;
  std::size_t size_ = 0;
  std::size_t used_ = 0;
  std::size_t taken_ = 0;  // since reset; beyond size_ from the heap
};

/// A shard's encoders. Nothing suspends while one works, so one of each is enough.
class encoders {
 public:
  encoders() = default;
  encoders(const encoders&) = delete;
  encoders& operator=(const encoders&) = delete;
  ~encoders() {
    if (gzip_) ::deflateEnd(gzip_.get());
  }

  /// The bytes encoded, until the next call; empty when that failed.
  std::string_view encode(content_coding coding, std::string_view bytes, const compression_options& options) {
    const std::size_t room = bytes.size() + bytes.size() / 8 + 1024;  // more than any of them adds at worst
    if (out_.size() < room) out_.resize(room);
    std::size_t size = 0;
    switch (coding) {
      case content_coding::identity: break;
      case content_coding::gzip: size = gzip(bytes, options.gzip_level); break;
      case content_coding::br: size = brotli(bytes, options.brotli_quality); break;
      case content_coding::zstd: size = zstd(bytes, options.zstd_level); break;
    }
    return std::string_view(out_).substr(0, size);
  }

 private:
  std::size_t gzip(std::string_view bytes, int level) {
    if (!gzip_) {
      auto made = std::make_unique<z_stream>();
      constexpr int gzip_window = 15 + 16;
      if (::deflateInit2(made.get(), level, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
      gzip_ = std::move(made);
    }
    ::deflateReset(gzip_.get());
    ::deflateParams(gzip_.get(), level, Z_DEFAULT_STRATEGY);
    gzip_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib does not write there
    gzip_->avail_in = static_cast<uInt>(bytes.size());
    gzip_->next_out = reinterpret_cast<Bytef*>(out_.data());
    gzip_->avail_out = static_cast<uInt>(out_.size());
    return ::deflate(gzip_.get(), Z_FINISH) == Z_STREAM_END ? gzip_->total_out : 0;
  }

  std::size_t brotli(std::string_view bytes, int quality) {
    BrotliEncoderState* state =
        ::BrotliEncoderCreateInstance(encoder_memory::take, encoder_memory::give_back, &memory_);
    if (state == nullptr) return 0;
    const auto window =
        std::clamp(static_cast<int>(std::bit_width(bytes.size())), BROTLI_MIN_WINDOW_BITS, BROTLI_MAX_WINDOW_BITS);
    ::BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, static_cast<std::uint32_t>(quality));
    ::BrotliEncoderSetParameter(state, BROTLI_PARAM_LGWIN, static_cast<std::uint32_t>(window));
    ::BrotliEncoderSetParameter(state, BROTLI_PARAM_SIZE_HINT, static_cast<std::uint32_t>(bytes.size()));
    const auto* in = reinterpret_cast<const std::uint8_t*>(bytes.data());
    auto* out = reinterpret_cast<std::uint8_t*>(out_.data());
    std::size_t in_left = bytes.size(), out_left = out_.size(), size = 0;
    const bool done =
        ::BrotliEncoderCompressStream(state, BROTLI_OPERATION_FINISH, &in_left, &in, &out_left, &out, &size) != 0 &&
        ::BrotliEncoderIsFinished(state) != 0;
    ::BrotliEncoderDestroyInstance(state);
    memory_.reset();
    return done ? size : 0;
  }

  std::size_t zstd(std::string_view bytes, int level) {
    if (!zstd_) zstd_.reset(::ZSTD_createCCtx());
    if (!zstd_) return 0;
    const std::size_t size =
        ::ZSTD_compressCCtx(zstd_.get(), out_.data(), out_.size(), bytes.data(), bytes.size(), level);
    return ::ZSTD_isError(size) != 0 ? 0 : size;
  }

  struct zstd_end {
    void operator()(ZSTD_CCtx* context) const noexcept { ::ZSTD_freeCCtx(context); }
  };
  std::unique_ptr<z_stream> gzip_;
  std::unique_ptr<ZSTD_CCtx, zstd_end> zstd_;
  encoder_memory memory_;
  std::string out_;
};

encoders& this_encoders() {
  encoders* found = resources().find<encoders>();
  return found != nullptr ? *found : resources().emplace<encoders>();
}

}  // namespace

// ---- the middleware ----

bool shrinks(std::string_view type) noexcept {
  type = trimmed(type.substr(0, type.find(';')));
  const std::size_t slash = type.find('/');
  if (slash == std::string_view::npos) return false;
  if (same_name(type.substr(0, slash), "text")) return true;
  const std::string_view of = type.substr(slash + 1);
  const std::string_view suffix = of.substr(std::min(of.rfind('+'), of.size()));
  if (same_name(suffix, "+json") || same_name(suffix, "+xml")) return true;
  constexpr std::array<std::string_view, 5> others{"json", "javascript", "xml", "x-javascript", "wasm"};
  return same_name(type.substr(0, slash), "application") &&
         std::ranges::any_of(others, [of](std::string_view each) { return same_name(each, of); });
}

namespace {

/// Whether the handler has left its body to others.
bool is_free(const response& made) noexcept {
  constexpr std::array<std::string_view, 4> bound{"Content-Encoding", "Content-Range", "Content-Digest", "Repr-Digest"};
  return std::ranges::none_of(bound, [&made](std::string_view name) { return made.header(name).has_value(); });
}

void weaken_tag(response& made) {
  const auto tag = made.header("ETag");
  if (!tag || tag->starts_with("W/")) return;
  const std::string weak = "W/" + std::string(*tag);
  made.drop_header("ETag");
  made.header("ETag", weak);
}

/// A cache updates what it has when the tag is the one it has: weak if it asked so.
void answer_unchanged(const request& r, response& made) {
  made.header("Vary", "Accept-Encoding");
  const std::string weak = "W/" + std::string(made.header("ETag").value_or(""));
  const bool asked = std::ranges::any_of(r.head().fields, [&weak](const field& each) {
    return same_name(each.name, "If-None-Match") && each.value.find(weak) != std::string_view::npos;
  });
  if (asked) weaken_tag(made);
}

void compress_body(const request& r, response& made, const compression_options& options) {
  if (made.status() == 304) return answer_unchanged(r, made);
  const std::size_t size = made.bytes().size();
  if (!shrinks(made.type()) || size == 0 || size > options.bytes_max) return;
  if (made.status() == 206) {
    made.header("Vary", "Accept-Encoding");
    return;
  }
  if (made.header("Cache-Control").value_or("").find("no-transform") != std::string_view::npos || !is_free(made))
    return;
  const accepted_codings accepted(r.head().fields);
  const bool refused = accepted.refuse_identity();
  if (size < options.bytes_min && !refused) return;
  made.header("Vary", "Accept-Encoding");
  const content_coding coding = accepted.best_of(options.codings);
  if (coding == content_coding::identity) return;
  const std::string_view encoded = this_encoders().encode(coding, made.bytes(), options);
  if (encoded.empty() || (encoded.size() >= size && !refused)) return;
  made.body(made.type(), std::string(encoded));
  made.header("Content-Encoding", to_string(coding));
  made.drop_header("Accept-Ranges");
  weaken_tag(made);
}

}  // namespace

middleware compress(compression_options options) {
  const auto within = [](auto value, auto least, auto most) { return value >= least && value <= most; };
  constexpr std::size_t bytes_most = 64 << 20;
  if (!within(options.bytes_max, std::max<std::size_t>(options.bytes_min, 1), bytes_most) ||
      !within(options.zstd_level, 1, 19) || !within(options.brotli_quality, 0, 11) ||
      !within(options.gzip_level, 1, 9)) {
    throw std::invalid_argument(
        "compress: bytes_min is at most bytes_max, that at most 64 MiB, and levels are in range");
  }
  return [options = std::move(options)](request& r, next go_on) -> task<response> {
    response made = co_await go_on(r);
    compress_body(r, made, options);
    co_return made;
  };
}

}  // namespace skerry::net::http
