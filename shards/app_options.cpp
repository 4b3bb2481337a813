// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/configuration_error.hpp>
#include <skerry/shards/detail/option_text.hpp>
#include <skerry/shards/detail/standard_options.hpp>

#include <fmt/core.h>

namespace skerry {

// Not an aggregate on purpose: g++ 12 destroys an aggregate temporary inside a co_await operand twice.
app_options::app_options() = default;

void validate(const app_options& options) {
  SKERRY_ASSERT(options.pin <= pin_mode::off, "a pin_mode is one of its three values");
  for (const detail::standard_option& option : detail::standard_options()) {
    std::string why = option.problem(options);
    if (why.empty()) continue;
    throw configuration_error(fmt::format("{} = {}: {}", option.name, detail::printable(option.show(options)), why));
  }
}

placement_request to_placement_request(const app_options& options) {
  placement_request request;
  request.shards = options.shards;
  if (!options.cpuset.empty()) request.cpuset = parse_cpu_list(options.cpuset);
  request.pin = options.pin;
  request.overprovision = options.overprovision;
  return request;
}

}  // namespace skerry
