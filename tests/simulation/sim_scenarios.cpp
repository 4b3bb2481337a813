// SPDX-License-Identifier: Apache-2.0
// Runs one of the scenarios; scenarios.hpp has the usage.
#include <skerry/simulation/campaign.hpp>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <simulation/scenarios.hpp>

int main(int argc, char** argv) {
  const auto known = scenarios::all();
  const std::string_view name = argc > 1 ? argv[1] : "";
  const auto found = std::ranges::find(known, name, &scenarios::scenario::name);
  if (found == known.end()) {
    std::fprintf(stderr, "usage: %s SCENARIO [--seeds N]; the scenarios are", argv[0]);
    for (const scenarios::scenario& each : known) std::fprintf(stderr, " %s", each.name);
    std::fprintf(stderr, "\n");
    return 2;
  }
  const std::string replay = std::string(argv[0]) + ' ' + found->name;
  std::vector<const char*> line{replay.c_str()};
  line.insert(line.end(), argv + 2, argv + argc);
  return skerry::sim::main(static_cast<int>(line.size()), line.data(), found->make());
}
