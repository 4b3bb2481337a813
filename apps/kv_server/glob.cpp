// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <utility>

#include <kv_server/glob.hpp>

namespace kv_server {
namespace {

unsigned char folded(char c, bool ignore_case) noexcept {
  auto byte = static_cast<unsigned char>(c);
  return ignore_case && byte >= 'A' && byte <= 'Z' ? static_cast<unsigned char>(byte + 32) : byte;
}

/// Whether `c` is in the class whose `[` is at pattern[at]; moves `at` behind the class.
bool class_matches(std::string_view pattern, std::size_t& at, unsigned char c, bool ignore_case) noexcept {
  ++at;
  bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  for (;; ++at) {
    if (at >= pattern.size()) break;  // unclosed: it ends here
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
      ++at;
      if (folded(pattern[at], ignore_case) == c) found = true;
    } else if (pattern[at] == ']') {
      ++at;
      break;
    } else if (pattern.size() - at >= 3 && pattern[at + 1] == '-') {
      unsigned char low = folded(pattern[at], ignore_case);
      unsigned char high = folded(pattern[at + 2], ignore_case);
      if (low > high) std::swap(low, high);
      if (c >= low && c <= high) found = true;
      at += 2;
    } else if (folded(pattern[at], ignore_case) == c) {
      found = true;
    }
  }
  return found != negated;
}

/// Whether the pattern's next piece, which is not a star, fits one byte; moves `at` behind it.
bool piece_matches(std::string_view pattern, std::size_t& at, char text, bool ignore_case) noexcept {
  unsigned char c = folded(text, ignore_case);
  if (pattern[at] == '?') {
    ++at;
    return true;
  }
  if (pattern[at] == '[') return class_matches(pattern, at, c, ignore_case);
  if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
  return folded(pattern[at++], ignore_case) == c;
}

/// Adds to `steps` the bytes of the pattern it looks at, each time it does.
bool matches(std::string_view pattern, std::string_view text, bool ignore_case, std::uint64_t& steps) noexcept {
  constexpr std::size_t no_star = static_cast<std::size_t>(-1);
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t behind_star = no_star;  // where the pattern goes on behind the last star
  std::size_t star_end = 0;           // the text the last star covers ends here
  while (t < text.size()) {
    const std::size_t before = p;
    ++steps;
    if (p < pattern.size() && pattern[p] == '*') {
      while (p < pattern.size() && pattern[p] == '*') ++p;
      steps += p - before;
      if (p == pattern.size()) return true;
      behind_star = p;
      star_end = t;
    } else if (p < pattern.size() && piece_matches(pattern, p, text[t], ignore_case)) {
      steps += p - before;
      ++t;
    } else if (behind_star != no_star) {
      steps += p - before;
      p = behind_star;
      t = ++star_end;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view text, std::uint64_t* steps) noexcept {
  std::uint64_t taken = 0;
  const bool fits = matches(pattern, text, false, taken);
  if (steps != nullptr) *steps += taken;
  return fits;
}

bool glob_matches_ignoring_case(std::string_view pattern, std::string_view text) noexcept {
  std::uint64_t taken = 0;
  return matches(pattern, text, true, taken);
}

}  // namespace kv_server
