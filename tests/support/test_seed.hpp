// SPDX-License-Identifier: Apache-2.0
#pragma once

/// test_seed: where a random test gets its seed: SKERRY_TEST_SEED if set, else the kernel. Prints the line that replays
/// the test.

#include <skerry/framework/random.hpp>

#include <cstdint>
#include <cstdlib>
#include <iostream>

namespace skerry::test_support {

inline std::uint64_t test_seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : entropy_seed();
  std::cout << "replay with SKERRY_TEST_SEED=" << seed << std::endl;
  return seed;
}

}  // namespace skerry::test_support
