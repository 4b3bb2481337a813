// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/detail/scan.hpp>
#include <skerry/net/http/detail/trailer_section.hpp>

#include <algorithm>

namespace skerry::net::http {

namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool is_control(char c) noexcept { return detail::control_bytes::has(static_cast<unsigned char>(c)); }

}  // namespace

void chunked_decoder::reset() noexcept { *this = {}; }

verdict chunked_decoder::decode(std::span<const char> input) noexcept {
  SKERRY_ASSERT(place_ != place::over, "a body that is complete or refused is followed by reset()");
  const char* at = input.data();
  const char* const end = at + input.size();
  data_ = {};
  const std::uint32_t trailer_bytes_before = trailer_bytes_;
  bool failed = false;
  while (at != end && place_ != place::over && !failed) {
    if (place_ != place::data) {
      failed = !step(*at++);
      continue;
    }
    if (!data_.empty()) break;  // one run a call
    const std::size_t size = std::min<std::uint64_t>(missing_, static_cast<std::size_t>(end - at));
    data_ = {at, size};
    at += size;
    body_bytes_ += size;
    missing_ -= size;
    if (missing_ == 0) place_ = place::data_cr;
  }
  consumed_ = static_cast<std::size_t>(at - input.data());
  trailer_run_ = trailer_bytes_ - trailer_bytes_before;
  if (failed) place_ = place::over;
  return failed ? verdict::error : place_ == place::over ? verdict::complete : verdict::need_more;
}

bool chunked_decoder::step(char c) noexcept {
  if (place_ >= place::line_begin && ++trailer_bytes_ > trailer_bytes_max)
    return fail(431, "the trailers are too long");
  switch (place_) {
    case place::size_begin:
    case place::size: return read_size(c);
    case place::extension_begin:
    case place::extension_name:
    case place::extension_value_begin:
    case place::extension_value:
    case place::quoted:
    case place::escaped:
    case place::quote_end: return read_extension(c);
    case place::size_end:
      if (c != '\n') return fail(400, "a chunk size that does not end with CR LF");
      place_ = missing_ != 0 ? place::data : place::line_begin;
      return true;
    case place::data_cr:
      if (c != '\r') return fail(400, "a chunk is longer than its size");
      place_ = place::data_lf;
      return true;
    case place::data_lf:
      if (c != '\n') return fail(400, "a chunk that does not end with CR LF");
      place_ = place::size_begin;
      digits_ = line_bytes_ = 0;
      return true;
    case place::line_begin:
      name_size_ = 0;
      if (c == '\r') {
        place_ = place::end;
        return true;
      }
      place_ = place::name;
      return read_name(c);
    case place::name: return read_name(c);
    case place::value:
      if (c == '\r') {
        place_ = place::value_end;
        return true;
      }
      return !is_control(c) || fail(400, "a control byte in a trailer");
    case place::value_end:
      if (c != '\n') return fail(400, "a trailer that does not end with CR LF");
      place_ = place::line_begin;
      return true;
    case place::end:
      if (c != '\n') return fail(400, "a body that does not end with CR LF");
      place_ = place::over;
      return true;
    case place::data:
    case place::over: break;
  }
  return false;
}

bool chunked_decoder::read_size(char c) noexcept {
  const int digit = hex_digit(c);
  if (digit >= 0) {
    if (++digits_ > 16) return fail(400, "a chunk size of more than 16 digits");
    missing_ = missing_ << 4 | static_cast<unsigned>(digit);
    ++line_bytes_;
    place_ = place::size;
    return true;
  }
  if (place_ != place::size || (c != ';' && c != '\r')) return fail(400, "a chunk size that is no hexadecimal number");
  return end_extension(c);
}

// *( ";" token [ "=" ( token / quoted-string ) ] ). What it says does not matter here, but that it ends does: there is
// a parser for which an open quotation goes on in the next line.
bool chunked_decoder::read_extension(char c) noexcept {
  constexpr std::string_view malformed = "a chunk extension that is malformed";
  if (++line_bytes_ > line_bytes_max || ++extension_bytes_ > extension_bytes_max + body_bytes_ / 16) {
    return fail(400, "too many bytes of chunk extensions");
  }
  switch (place_) {
    case place::quoted:
      if (c == '"') place_ = place::quote_end;
      if (c == '\\') place_ = place::escaped;
      return !is_control(c) || fail(400, malformed);
    case place::escaped: place_ = place::quoted; return !is_control(c) || fail(400, malformed);
    case place::extension_begin:
    case place::extension_value_begin:
      if (c == '"' && place_ == place::extension_value_begin) {
        place_ = place::quoted;
        return true;
      }
      place_ = place_ == place::extension_begin ? place::extension_name : place::extension_value;
      return detail::is_token_byte(c) || fail(400, malformed);
    case place::extension_name:
      if (c == '=') {
        place_ = place::extension_value_begin;
        return true;
      }
      [[fallthrough]];
    case place::extension_value:
      if (detail::is_token_byte(c)) return true;
      [[fallthrough]];
    default: return end_extension(c) || fail(400, malformed);
  }
}

// Behind a size or an extension: another extension, or the end of the line.
bool chunked_decoder::end_extension(char c) noexcept {
  place_ = c == ';' ? place::extension_begin : place::size_end;
  return c == ';' || c == '\r';
}

bool chunked_decoder::read_name(char c) noexcept {
  if (detail::is_token_byte(c)) {
    if (name_size_ < name_.size()) name_[name_size_] = c;
    ++name_size_;
    return true;
  }
  if (c != ':' || name_size_ == 0) return fail(400, "a trailer's name is no token");
  if (is_forbidden_name()) return fail(400, "a trailer that belongs into the head");
  if (++trailers_ > trailers_max) return fail(431, "too many trailers");
  place_ = place::value;
  return true;
}

bool chunked_decoder::is_forbidden_name() const noexcept {
  return name_size_ <= name_.size() && !detail::may_trail({name_.data(), name_size_});
}

bool chunked_decoder::fail(unsigned status, std::string_view text) noexcept {
  error_status_ = status;
  error_text_ = text;
  return false;
}

}  // namespace skerry::net::http
