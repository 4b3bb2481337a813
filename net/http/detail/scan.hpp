// SPDX-License-Identifier: Apache-2.0
#pragma once

/// scan: where a run of harmless bytes ends, many bytes at a time.
///
/// A *set* says at which bytes a scan stops, twice: for one byte, and for sixteen at once with the instructions that
/// every x86-64 has. find_slowly() uses the first, find() the second; other CPUs have only the first. Ends of lines, on
/// which most of the time goes, have a third way for CPUs with AVX2, chosen when a parser is made. A test compares them
/// on every byte at every place and on random texts. Nothing is read outside of [at, end).
///
/// What that does to a browser's request (http_parser_perf): 64 bytes a step, so that most lines end in the first,
/// took a tenth off sixteen bytes a step, whose number of steps cannot be foretold; AVX2 took another fifth, with a
/// call per line that is not inlined (medians of seven runs in turn: 309 ns without, 246 ns with).
///
/// Affinity: none. Values only.

#include <array>
#include <bit>
#include <cstdint>
#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace skerry::net::http::detail {

/// What may not be inside a line: control bytes and DEL, but for the tab.
struct control_bytes {
  static constexpr bool has(unsigned char c) noexcept { return (c < 0x20 && c != '\t') || c == 0x7f; }
#ifdef __SSE2__
  static __m128i has(__m128i c) noexcept {
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(c, _mm_set1_epi8(0x1f)), c);
    __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8('\t')), low);
    return _mm_or_si128(control, _mm_cmpeq_epi8(c, _mm_set1_epi8(0x7f)));
  }
#endif
};

/// What may not be in a request target: everything but visible ASCII, and the mark of a fragment.
struct no_target_bytes {
  static constexpr bool has(unsigned char c) noexcept { return c <= 0x20 || c >= 0x7f || c == '#'; }
#ifdef __SSE2__
  static __m128i has(__m128i c) noexcept {
    __m128i low = _mm_cmplt_epi8(c, _mm_set1_epi8(0x21));  // signed: bytes from 0x80 on are below
    __m128i other = _mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8(0x7f)), _mm_cmpeq_epi8(c, _mm_set1_epi8('#')));
    return _mm_or_si128(low, other);
  }
#endif
};

/// What is not a letter, a digit or '-', which is all that names have in practice.
struct no_word_bytes {
  static constexpr bool has(unsigned char c) noexcept {
    return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-');
  }
#ifdef __SSE2__
  static __m128i has(__m128i c) noexcept {
    // x in [first, first + n) exactly if x - first - 128, read as signed, is below n - 128.
    auto within = [](__m128i x, char first, int n) {
      __m128i moved = _mm_sub_epi8(x, _mm_set1_epi8(static_cast<char>(first + 128)));
      return _mm_cmplt_epi8(moved, _mm_set1_epi8(static_cast<char>(n - 128)));
    };
    __m128i letter = within(_mm_or_si128(c, _mm_set1_epi8(0x20)), 'a', 26);
    __m128i rest = _mm_or_si128(within(c, '0', 10), _mm_cmpeq_epi8(c, _mm_set1_epi8('-')));
    return _mm_xor_si128(_mm_or_si128(letter, rest), _mm_set1_epi8(-1));
  }
#endif
};

template <class Set>
const char* find_slowly(const char* at, const char* end) noexcept {
  while (at != end && !Set::has(static_cast<unsigned char>(*at))) ++at;
  return at;
}

#ifdef __SSE2__
/// One bit for each of `Count` bytes: whether it is in the set.
template <class Set, int Count>
inline std::uint64_t mask_of(const char* at) noexcept {
  std::uint64_t mask = 0;
  for (int i = 0; i < Count; i += 16) {
    __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + i));
    mask |= std::uint64_t{static_cast<unsigned>(_mm_movemask_epi8(Set::has(bytes)))} << i;
  }
  return mask;
}
#endif

/// The first byte of the set, or `end`. `Block`: how many bytes to look at together; one that holds most runs whole
/// spares the branch that cannot be foretold.
template <class Set, int Block>
inline const char* find(const char* at, const char* end) noexcept {
#ifdef __SSE2__
  const char* const first = at;
  for (; end - at >= Block; at += Block) {
    if (std::uint64_t found = mask_of<Set, Block>(at); found != 0) return at + std::countr_zero(found);
  }
  for (; Block > 16 && end - at >= 16; at += 16) {
    if (std::uint64_t found = mask_of<Set, 16>(at); found != 0) return at + std::countr_zero(found);
  }
  if (end - first >= 16) {  // the last sixteen again, for those not looked at
    std::uint64_t found = mask_of<Set, 16>(end - 16) >> (16 - (end - at));
    return found != 0 ? at + std::countr_zero(found) : end;
  }
#endif
  return find_slowly<Set>(at, end);
}

/// The end of a line, as find<control_bytes> says; of the two that exist the better one for this CPU.
using line_scan = const char* (*)(const char* at, const char* end) noexcept;
inline const char* find_line_end(const char* at, const char* end) noexcept { return find<control_bytes, 64>(at, end); }

#ifdef __x86_64__
[[gnu::target("avx2,bmi")]] inline const char* find_line_end_avx2(const char* at, const char* end) noexcept {
  auto mask = [](const char* from) __attribute__((target("avx2,bmi"))) {
    __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(c, _mm256_set1_epi8(0x1f)), c);
    __m256i control = _mm256_andnot_si256(_mm256_cmpeq_epi8(c, _mm256_set1_epi8('\t')), low);
    control = _mm256_or_si256(control, _mm256_cmpeq_epi8(c, _mm256_set1_epi8(0x7f)));
    return std::uint64_t{static_cast<std::uint32_t>(_mm256_movemask_epi8(control))};
  };
  for (; end - at >= 64; at += 64) {
    if (std::uint64_t found = mask(at) | mask(at + 32) << 32; found != 0) return at + std::countr_zero(found);
  }
  return find_line_end(at, end);
}
inline line_scan best_line_scan() noexcept {
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("bmi") != 0 ? find_line_end_avx2 : find_line_end;
}
#else
inline line_scan best_line_scan() noexcept { return find_line_end; }
#endif

/// The bytes of RFC 9110's token: of methods and field names.
inline constexpr std::array<bool, 256> token_bytes = [] {
  std::array<bool, 256> made{};
  for (unsigned c = 0; c < 256; ++c) made[c] = !no_word_bytes::has(static_cast<unsigned char>(c));
  for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '.', '^', '_', '`', '|', '~'}) {
    made[static_cast<unsigned char>(c)] = true;
  }
  return made;
}();

inline bool is_token_byte(char c) noexcept { return token_bytes[static_cast<unsigned char>(c)]; }

/// Where the token that begins at `at` ends. There must be a byte before `end` that is in no token.
inline const char* token_end(const char* at, const char* end) noexcept {
  at = find<no_word_bytes, 16>(at, end);
  while (is_token_byte(*at)) ++at;
  return at;
}

inline bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

}  // namespace skerry::net::http::detail
