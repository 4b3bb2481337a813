// SPDX-License-Identifier: Apache-2.0
// The compile-fail test helper itself: case 0 compiles, each other case is refused in the words that its test expects.
#include <skerry/framework/assert.hpp>

#if CASE == 1
static_assert(sizeof(int) == 1, "a sentence that names the fix");
#elif CASE == 2
#include <skerry/nowhere/nothing.hpp>
#endif
