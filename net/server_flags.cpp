// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/server_flags.hpp>

#include <array>
#include <string_view>
#include <utility>

namespace skerry::net {

namespace {

constexpr std::uint64_t highest = server_options::unlimited - 1;

std::uint32_t limit_of(std::uint64_t asked) noexcept {
  return asked == 0 ? server_options::unlimited : static_cast<std::uint32_t>(asked);
}

constexpr std::array<std::pair<std::string_view, accept_policy>, 4> policies{
    {{"reuseport", accept_policy::reuseport},
     {"steered", accept_policy::steered},
     {"round-robin", accept_policy::round_robin},
     {"least-loaded", accept_policy::least_loaded}}};

accept_policy policy_named(std::string_view asked) {
  for (const auto& [name, policy] : policies) {
    if (name == asked) return policy;
  }
  throw startup_error("--accept " + std::string(asked) +
                      ": no such policy; it takes reuseport, steered, round-robin or least-loaded");
}

}  // namespace

server_flags::server_flags(command_line& line, hot_restart restart) {
  line.add_option("max-connections", connections_, "clients served at a time, on all shards together; 0: no limit", 0,
                  highest);
  line.add_option("max-connections-per-address", per_address_,
                  "of one address (an IPv6 /64), on each shard; 0: no limit", 0, highest);
  line.add_option("accepts-per-second", per_second_, "new clients on each shard, on average; 0: no limit", 0, highest);
  line.add_option("accept", policy_,
                  "which shard serves a connection: reuseport (the kernel's hash), steered (that of the CPU of its "
                  "packets), round-robin or least-loaded");
  if (restart == hot_restart::none) return;
  line.add_option("hand-over", hand_over_,
                  "take the port over from the process that serves there, if one does, and hand it over to the next");
}

server_options server_flags::options(server_options given) const {
  given.connections_max = limit_of(connections_);
  given.connections_per_address_max = limit_of(per_address_);
  given.accepts_per_second = limit_of(per_second_);
  if (!policy_.empty()) given.accept = policy_named(policy_);
  given.hand_over = hand_over_;
  return given;
}

}  // namespace skerry::net
