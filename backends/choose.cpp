// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/choose.hpp>
#include <skerry/backends/detail/ring_trial.hpp>
#include <skerry/framework/startup_error.hpp>

#include <fmt/format.h>

namespace skerry {

chosen_backends make_backends(std::string_view name, std::size_t shards, unsigned entries) {
  if (name == "epoll") return {make_epoll_backends(shards, entries), "backend epoll: it was asked for"};
  if (name != "auto" && name != "io_uring") {
    throw startup_error(fmt::format("there is no backend \"{}\"\nuse auto, io_uring or epoll", name));
  }
  try {
    auto rings = make_io_uring_backends(shards, entries);
    const bool bundles = detail::bundles_work(*rings.front());
    for (auto& each : rings) each->bundles = bundles;
    return {std::move(rings),
            name == "auto" ? "backend io_uring: it works here" : "backend io_uring: it was asked for"};
  } catch (const startup_error& refusal) {
    if (name == "io_uring") throw;
    const std::string_view text = refusal.what();
    return {make_epoll_backends(shards, entries), fmt::format("backend epoll: {}", text.substr(0, text.find('\n'))),
            true};
  }
}

}  // namespace skerry
