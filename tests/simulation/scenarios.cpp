// SPDX-License-Identifier: Apache-2.0
#include <simulation/scenarios.hpp>

namespace scenarios {

std::span<const scenario> all() {
  static constexpr scenario list[] = {
      {"primitives", primitives, 1000}, {"timers", timers, 1000},
      {"mailbox", mailbox, 1000},       {"accept", accept, 1000},
      {"drain", drain, 1000},           {"kv", kv, 1000},
      {"kv_bulk", kv_bulk, 1000},       {"shutdown", shutdown, 10'000},
      {"channels", channels, 1000},     {"http", http, 1000},
      {"pools", pools, 1000},           {"watch", watch, 1000},
  };
  return list;
}

}  // namespace scenarios
