// SPDX-License-Identifier: Apache-2.0
#pragma once

/// glob: whether a key matches a pattern as Redis' KEYS understands it.
///
///     *        any bytes, also none            [abc] [a-z]   one of them; the ends of a range may come in either order
///     ?        one byte                        [^abc]        one byte that is none of them
///     \x       x itself, also inside [ ]       anything else is itself
///
/// An unclosed `[` ends with the pattern; a lone `\` at the end is itself. Bytes, not characters.
///
/// The rule it enforces: time is bounded by pattern x text and the stack by a constant, whatever the pattern. When a
/// piece between stars does not fit, only the last star gives way by one byte: earlier ones never need to, because a
/// shorter match of theirs leaves the rest at least as much text as any longer one.
///
/// Affinity: any thread. Errors: none, every byte string is a pattern.

#include <cstdint>
#include <string_view>

namespace kv_server {

/// Adds to `steps`, if it is given, what the answer took: at most 2 x (pattern + 1) x (text + 1).
bool glob_matches(std::string_view pattern, std::string_view text, std::uint64_t* steps = nullptr) noexcept;

/// Letters of either case are the same; for names, not for keys.
bool glob_matches_ignoring_case(std::string_view pattern, std::string_view text) noexcept;

}  // namespace kv_server
