// SPDX-License-Identifier: Apache-2.0
#pragma once

/// run_with: one shard whose kernel fails as a plan says, alone in the process.
///
/// Affinity: the thread of the test, which becomes the shard.

#include <functional>
#include <string>

#include <gtest/gtest.h>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>

namespace skerry::test_support {

/// Runs `body` on a shard whose kernel follows `plan`, which leaves no descriptor behind; tells whether the plan made
/// anything fail.
inline bool run_with(const fault_plan& plan, const std::function<task<>()>& body,
                     const std::string& log_level = "warning") {
  bool struck = false;
  const fault_plan noticing = [&](const submission& what, std::uint64_t nth) {
    fault planned = plan(what, nth);
    struck |= planned.error != 0;
    return planned;
  };
  const std::ptrdiff_t before = open_descriptors();
  run_alone(body, make_faulty_backends(1, noticing, 1), log_level);
  EXPECT_EQ(open_descriptors(), before);
  return struck;
}

}  // namespace skerry::test_support
