// SPDX-License-Identifier: Apache-2.0
#pragma once

/// key_hash: where a key lives. One seeded 64-bit hash, computed once by the shard that parsed the command.
///
/// The upper half is for choosing the shard, the lower half for choosing the bucket on it: the two must not use the
/// same bits, or a shard's keys would fill only some of its buckets. Seeded by the application's own seed, so that
/// nobody outside can choose keys that collide.
///
/// Words are folded with a 64x64 to 128 bit multiplication whose halves are xored, which costs a few cycles per 16
/// bytes; the last 16 bytes may overlap the ones before, which spares a loop over single bytes.
///
/// Affinity: any thread. Source: the folded multiplication of wyhash and umash, in a construction of our own.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace kv_server {

namespace detail {
__extension__ using wide = unsigned __int128;

inline std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
  wide product = static_cast<wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}
template <class Word>
std::uint64_t load(const char* at) noexcept {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return word;
}
}  // namespace detail

inline std::uint64_t key_hash(std::string_view key, std::uint64_t seed) noexcept {
  // Odd, half of the bits set, from the fractions of square roots.
  constexpr std::uint64_t k0 = 0x6a09e667f3bcc909, k1 = 0xbb67ae8584caa73b, k2 = 0x3c6ef372fe94f82b;
  const char* at = key.data();
  std::size_t size = key.size();
  std::uint64_t state = detail::fold(seed ^ k0, size ^ k1);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (size > 16) {
    std::size_t left = size;
    for (; left > 16; left -= 16, at += 16) {
      state = detail::fold(detail::load<std::uint64_t>(at) ^ k1, detail::load<std::uint64_t>(at + 8) ^ state);
    }
    first = detail::load<std::uint64_t>(key.data() + size - 16);
    last = detail::load<std::uint64_t>(key.data() + size - 8);
  } else if (size >= 8) {
    first = detail::load<std::uint64_t>(at);
    last = detail::load<std::uint64_t>(at + size - 8);
  } else if (size >= 4) {
    first = detail::load<std::uint32_t>(at);
    last = detail::load<std::uint32_t>(at + size - 4);
  } else if (size > 0) {
    first = static_cast<unsigned char>(at[0]) | std::uint64_t{static_cast<unsigned char>(at[size / 2])} << 8 |
            std::uint64_t{static_cast<unsigned char>(at[size - 1])} << 16;
  }
  return detail::fold(k2 ^ size, detail::fold(first ^ k2, last ^ state) ^ state);
}

}  // namespace kv_server
