// SPDX-License-Identifier: Apache-2.0
#pragma once

/// long_test: what `scripts/test --long` makes longer.

#include <cstdlib>

namespace skerry::test {

inline bool is_long_run() { return std::getenv("SKERRY_LONG_TESTS") != nullptr; }

/// How many rounds of a random test: twenty times as many in a long run.
inline int rounds(int usual) { return is_long_run() ? 20 * usual : usual; }

}  // namespace skerry::test
