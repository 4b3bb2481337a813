// SPDX-License-Identifier: Apache-2.0
// The key-value server under simulation.
//
//     sim_kv --seeds 10000          sim_kv --seed 17            (simulation/campaign.hpp has the rest)
#include <skerry/simulation/campaign.hpp>

#include <simulation/scenarios.hpp>

int main(int argc, char** argv) { return skerry::sim::main(argc, argv, scenarios::kv()); }
