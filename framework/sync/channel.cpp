// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/sync/channel.hpp>

namespace skerry {

unbounded_channels::unbounded_channels(std::uint64_t bytes_max)
    : bytes_max_(bytes_max),
      room_("channel send", bytes_max),
      items_shown_(this_shard().metrics->add(
          items_, {.name = "skerry_unbounded_channel_items", .help = "Items in the shard's unbounded channels."})),
      bytes_shown_(this_shard().metrics->add_gauge([this] { return static_cast<std::int64_t>(bytes()); },
                                                   {.name = "skerry_unbounded_channel_bytes",
                                                    .help = "Bytes of the items in the shard's unbounded channels.",
                                                    .unit = observe::unit::bytes})) {}

unbounded_channels& unbounded_channels::of_this_shard() {
  auto* found = resources().find<unbounded_channels>();
  return found != nullptr ? *found : resources().emplace<unbounded_channels>();
}

}  // namespace skerry
